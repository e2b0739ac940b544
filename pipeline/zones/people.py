"""Visits of people instead of tracks, and the rows of a report: unique people, entries, crossings, dwell, occupancy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from pipeline.zones.watch import Direction, Kind, Visit
from tracker.site import Site

Key = tuple[str, int]  # camera and track
MERGE_GAP = 1.0  # seconds, for lines, and for zones without a gap of their own


@dataclass(frozen=True)
class PersonVisit:
    """A person's stay in a zone of the site over all its cameras and tracks, or their crossing of a line. Times in seconds."""

    kind: Kind
    place: str
    identity: int
    start: float
    end: float
    cameras: tuple[str, ...]
    direction: Direction | None = None

    @property
    def dwell(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class PlaceRow:
    """A row of the report: one place from ``start`` to ``end`` seconds.

    ``people``: unique people seen in it. Zones: ``entered`` and ``left`` in this time, ``dwell_median`` and ``dwell_max`` (seconds) of the
    visits that ended in it, ``occupancy_mean`` (over time) and ``occupancy_max``. Lines: crossings ``into`` and ``out``. None: not measured.
    """

    kind: Kind
    place: str
    start: float
    end: float
    people: int
    entered: int | None = None
    left: int | None = None
    into: int | None = None
    out: int | None = None
    dwell_median: float | None = None
    dwell_max: float | None = None
    occupancy_mean: float | None = None
    occupancy_max: int | None = None


def gaps(site: Site) -> dict[str, float]:
    """The longest ``max_gap`` of each zone of the site, by name, in seconds."""
    found: dict[str, float] = {}
    for place in site.cameras.values():
        for name, zone in place.zones.items():
            found[name] = max(found.get(name, 0.0), zone.max_gap)
    return found


def person_visits(visits: Iterable[Visit], identity_of: Mapping[Key, int], gaps: Mapping[str, float] | None = None) -> list[PersonVisit]:
    """Join the visits of a person's tracks: stays in one zone that overlap, or follow within the zone's ``gaps`` (seconds; default: ``MERGE_GAP``), are one; so is the same
    crossing seen by several cameras. Visits of tracks without identity are left out. By start.
    """
    known = [(visit.kind, visit.place, identity_of[key], visit) for visit in visits if (key := (visit.camera, visit.track)) in identity_of]
    known.sort(key=lambda item: (*item[:3], item[3].direction or "", item[3].start, item[3].end))
    out: list[PersonVisit] = []
    for (kind, place, identity, direction), group in groupby(known, key=lambda item: (*item[:3], item[3].direction)):
        start = end = None
        cameras: set[str] = set()
        for *_, visit in group:
            if end is not None and start is not None and visit.start - end > (gaps or {}).get(place, MERGE_GAP):
                out.append(PersonVisit(kind, place, identity, start, end, tuple(sorted(cameras)), direction))
                start, end, cameras = None, None, set()
            start = visit.start if start is None else start
            end = visit.end if end is None else max(end, visit.end)
            cameras.add(visit.camera)
        assert start is not None and end is not None
        out.append(PersonVisit(kind, place, identity, start, end, tuple(sorted(cameras)), direction))
    return sorted(out, key=lambda visit: (visit.start, visit.end, visit.place, visit.identity))


def occupancy(visits: Sequence[PersonVisit]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) times in seconds and (n,) number of people from each time on, for the visits of one zone. Leaving comes before entering."""
    changes = sorted([(visit.start, 1) for visit in visits] + [(visit.end, -1) for visit in visits])
    if not changes:
        return np.zeros(0), np.zeros(0, np.int64)
    times = np.array([time for time, _ in changes])
    counts = np.cumsum([change for _, change in changes])
    last = np.r_[times[1:] != times[:-1], True]
    return times[last], counts[last]


def place_rows(visits: Iterable[PersonVisit], bucket: float = 3600.0) -> list[PlaceRow]:
    """Report rows per place and ``bucket`` seconds (from multiples of it), for every bucket between a place's first and last visit."""
    rows: list[PlaceRow] = []
    ordered = sorted(visits, key=lambda visit: (visit.kind, visit.place, visit.start))
    for (kind, place), group in groupby(ordered, key=lambda visit: (visit.kind, visit.place)):
        mine = list(group)
        first, last = int(mine[0].start // bucket), int(max(visit.end for visit in mine) // bucket)
        for number in range(first, last + 1):
            start, end = number * bucket, (number + 1) * bucket
            here = [visit for visit in mine if visit.start < end and visit.end >= start]
            rows.append(_line_row(place, start, end, here) if kind == "line" else _zone_row(place, start, end, here))
    return rows


def _line_row(place: str, start: float, end: float, here: Sequence[PersonVisit]) -> PlaceRow:
    within = [visit for visit in here if start <= visit.start < end]
    into = sum(visit.direction == "in" for visit in within)
    return PlaceRow("line", place, start, end, len({visit.identity for visit in within}), into=into, out=len(within) - into)


def _zone_row(place: str, start: float, end: float, here: Sequence[PersonVisit]) -> PlaceRow:
    dwells = [visit.dwell for visit in here if start <= visit.end < end]
    held = sum(min(visit.end, end) - max(visit.start, start) for visit in here)
    times, counts = occupancy(here)
    began = np.searchsorted(times, start, side="right") - 1
    during = counts[(times >= start) & (times < end)]
    before = int(counts[began]) if began >= 0 else 0
    return PlaceRow(
        "zone",
        place,
        start,
        end,
        len({visit.identity for visit in here}),
        entered=sum(start <= visit.start < end for visit in here),
        left=len(dwells),
        dwell_median=float(np.median(dwells)) if dwells else None,
        dwell_max=max(dwells, default=None),
        occupancy_mean=held / (end - start),
        occupancy_max=max([before, *during.tolist()]),
    )
