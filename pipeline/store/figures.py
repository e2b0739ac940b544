"""Figures over a store: people per hour, ways between cameras, stays in zones. Unique people, not tracks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.formats.grouping import grouped
from pipeline.store.records import Where
from pipeline.store.store import Store
from pipeline.zones.people import Key, PersonVisit, person_visits
from pipeline.zones.watch import Visit, visits_of_tracks
from tracker import Site

CROSSED = "crossed"  # the kind of events of lines


@dataclass(frozen=True)
class HourRow:
    """People of one hour over all cameras: ``people`` seen, of them ``new`` for the first time in the time asked for."""

    start: float
    end: float
    people: int
    new: int


@dataclass(frozen=True)
class FlowRow:
    """``count`` times one of ``people`` came from camera ``start`` to camera ``end``, in ``median_time`` seconds between leaving and appearing.

    The time is negative where both see a person at once.
    """

    start: str
    end: str
    count: int
    people: int
    median_time: float


@dataclass(frozen=True, eq=False)
class Seen:
    """The sightings with an identity, (n,) each, by identity and start: ``identity``, ``camera`` number, ``start`` and ``end`` in seconds since 1970."""

    identity: np.ndarray
    camera: np.ndarray
    start: np.ndarray
    end: np.ndarray


def seen(store: Store, where: Where) -> Seen:
    """The sightings that ``where`` chooses. Their times end where those of ``where`` do."""
    with store.sightings._choosing(where) as (condition, values):
        rows = store.db.rows(
            f"SELECT s.identity, s.camera, s.start, s.end FROM sightings s WHERE s.identity IS NOT NULL AND {condition}", values
        )
    table = np.array(rows, np.float64).reshape(-1, 4)
    identity, camera, start, end = table[np.lexsort((table[:, 2], table[:, 0]))].T
    low, high = -np.inf if where.start is None else where.start, np.inf if where.end is None else where.end
    return Seen(identity.astype(np.int64), camera.astype(np.int64), start.clip(low, high), end.clip(low, high))


def hourly(found: Seen, bucket: float = 3600.0, most: int = 24 * 366) -> list[HourRow]:
    """Unique people per ``bucket`` seconds, from the first hour with people to the last; at most the last ``most``."""
    if not len(found.identity):
        return []
    first, last = (found.start // bucket).astype(np.int64), (found.end // bucket).astype(np.int64)
    newest = int(last.max())
    oldest = max(int(first.min()), newest - most + 1)
    shown = last >= oldest
    long = last[shown] - np.maximum(first[shown], oldest) + 1
    steps = np.arange(int(long.sum())) - np.repeat(np.cumsum(long) - long, long)
    hour = np.repeat(np.maximum(first[shown], oldest), long) + steps
    pairs = np.unique(np.stack([hour, np.repeat(found.identity[shown], long)], 1), axis=0)  # by hour
    people = np.bincount(pairs[:, 0] - oldest, minlength=newest - oldest + 1)
    who, at = np.unique(pairs[:, 1], return_index=True)
    known = np.isin(who, found.identity[first < oldest])
    new = np.bincount(pairs[at[~known], 0] - oldest, minlength=newest - oldest + 1)
    return [
        HourRow((oldest + at) * bucket, (oldest + at + 1) * bucket, count, fresh)
        for at, (count, fresh) in enumerate(zip(people.tolist(), new.tolist(), strict=True))
    ]


def flows(store: Store, found: Seen) -> list[FlowRow]:
    """How people went from camera to camera: consecutive sightings, by start. Most frequent first."""
    names = {number: name for name, number in store.db.rows("SELECT name, id FROM cameras")}
    step = np.flatnonzero((found.identity[1:] == found.identity[:-1]) & (found.camera[1:] != found.camera[:-1]))
    ways = np.stack([found.camera[step], found.camera[step + 1]], 1)
    times = found.start[step + 1] - found.end[step]
    rows = []
    pairs, which = np.unique(ways, axis=0, return_inverse=True)
    for (start, end), (_, mine) in zip(pairs.tolist(), grouped(which.ravel()), strict=True):
        people = len(np.unique(found.identity[step[mine]]))
        rows.append(FlowRow(names[start], names[end], len(mine), people, float(np.median(times[mine]))))
    return sorted(rows, key=lambda row: (-row.count, row.start, row.end))


def place_visits(store: Store, where: Where, gaps: Mapping[str, float]) -> list[PersonVisit]:
    """The visits of zones and the crossings of lines of people in the store, as they were counted when they were written."""
    found = [visit for visit in store.sightings.zone_visits(where.zone, where.start, where.end) if visit.left is not None]
    crossed = store.events.query(where.start, where.end, where.cameras, (CROSSED,))
    ids = {visit.sighting for visit in found} | {event.sighting for event in crossed if event.sighting is not None}
    if not ids:
        return []
    kept = Where(where.cameras, sightings=tuple(ids), without_tag=where.without_tag)
    about = {one.id: one for one in store.sightings.query(kept)}
    identity_of: dict[Key, int] = {(one.camera, one.id): one.identity for one in about.values() if one.identity is not None}
    visits = [
        Visit("zone", visit.zone, about[visit.sighting].camera, visit.sighting, visit.entered, visit.left)
        for visit in found
        if visit.sighting in about and visit.left is not None
    ]
    visits += [
        Visit(
            "line",
            str(event.data.get("place", "")),
            event.camera or "",
            event.sighting,
            event.time,
            event.time,
            event.data.get("direction"),
        )
        for event in crossed
        if event.sighting in about and event.sighting is not None
    ]
    return person_visits(visits, identity_of, gaps)


def count_zones(store: Store, site: Site, progress: Callable[[int, int], bool] = lambda done, of: True) -> tuple[int, int]:
    """Count the visits of all sightings in the zones and lines of ``site`` anew, from their recorded paths.

    What was counted with other zones goes. ``progress(done, of)``: told of sightings, and ends it where it returns False. Returns the numbers
    of visits and crossings. Sightings whose path is no longer kept have none.
    """
    places = {name: place for name, place in site.cameras.items() if place.zones or place.lines}
    sizes = {camera.name: camera.size for camera in store.sightings.cameras()}
    with store.writing():
        store.db.connection.execute("DELETE FROM visits")
        store.db.connection.execute("DELETE FROM events WHERE kind = ?", (CROSSED,))
    todo = store.sightings.ids(Where(tuple(name for name in places if name in sizes))).tolist() if set(places) & set(sizes) else []
    totals = [0, 0]
    for begin in range(0, len(todo), 200):
        if not progress(begin, len(todo)):
            break
        with store.writing():
            for one in store.sightings.query(Where(sightings=tuple(todo[begin : begin + 200]))):
                path = store.sightings.path(one.id)
                place = places[one.camera]
                for visit in visits_of_tracks(one.camera, place, [(one.id, path.times, path.boxes)], 0.0, sizes.get(one.camera)):
                    if visit.kind == "zone":
                        store.sightings.visit(one.id, visit.place, visit.start, visit.end)
                    else:
                        store.events.add(
                            CROSSED, visit.start, one.camera, one.id, None, f"{one.id}:{visit.place}:{visit.start:.3f}", place=visit.place,
                            direction=visit.direction,
                        )  # fmt: skip
                    totals[visit.kind == "line"] += 1
    progress(len(todo), len(todo))
    return totals[0], totals[1]
