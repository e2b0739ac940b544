"""Zones and lines of one camera, frame by frame: tests by supervision, events with hysteresis. The same code serves files and live cameras."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from tracker.site import CameraPlace, Line, Zone

Kind = Literal["zone", "line"]
Direction = Literal["in", "out"]


@dataclass(frozen=True)
class Visit:
    """A track's stay in a zone, or its crossing of a line (``end`` is ``start``, and it has a ``direction``). Times in seconds."""

    kind: Kind
    place: str
    camera: str
    track: int
    start: float
    end: float
    direction: Direction | None = None

    @property
    def dwell(self) -> float:
        return self.end - self.start


@dataclass(frozen=True)
class ZoneEvent:
    """What happened at ``time`` (seconds): ``entered``, ``left`` with the visit's ``dwell``, or ``crossed``."""

    kind: Literal["entered", "left", "crossed"]
    time: float
    visit: Visit

    def as_dict(self) -> dict[str, Any]:
        """The event's fields for a log, without ``kind`` and ``time``."""
        visit = self.visit
        values: dict[str, Any] = {"place": visit.place, "camera": visit.camera, "track": visit.track}
        if self.kind == "left":
            values["dwell"] = round(visit.dwell, 3)
        if self.kind == "crossed":
            values["direction"] = visit.direction
        return values


@dataclass
class _Stay:
    """A track in a zone: inside since ``start``, last seen inside at ``last``; ``told`` once it lasted long enough to count."""

    start: float
    last: float
    told: bool = False


class ZoneWatch:
    """The zones and lines of one camera.

    ``offset``: seconds added to all times; default: the place's clock offset. ``size``: width and height of the image in px; feet beyond its
    border count at the border, as in the site's areas.
    """

    def __init__(self, camera: str, place: CameraPlace, offset: float | None = None, size: tuple[int, int] | None = None) -> None:
        import supervision as sv  # takes over a second to import, so only if there are zones

        self.camera, self.size, self._sv = camera, size, sv
        self._offset = place.offset if offset is None else offset
        self._zones = [(name, zone, sv.PolygonZone(_corners(zone))) for name, zone in place.zones.items()]
        self._lines = dict(place.lines)
        self._stays: dict[tuple[str, int], _Stay] = {}
        self._sides: dict[tuple[str, int], Any] = {}  # a LineZone per track: it would forget a track that other tracks outlast in a gap

    def step(self, time: float, ids: np.ndarray, boxes: np.ndarray) -> list[ZoneEvent]:
        """The events of one frame at ``time`` seconds: track ``ids`` (n,), ``boxes`` (n, 4) x1, y1, x2, y2 px. Frames come in time order."""
        time += self._offset
        tracks, feet = np.asarray(ids, np.int64).tolist(), self._feet(np.asarray(boxes, np.float64).reshape(-1, 4))
        found = self._sv.Detections(xyxy=np.c_[feet, feet]) if tracks else self._sv.Detections.empty()
        events: list[ZoneEvent] = []
        for name, zone, test in self._zones:
            events += self._zone(name, zone, time, dict(zip(tracks, test.trigger(found).tolist(), strict=True)))
        for name, line in self._lines.items():
            for track, foot, beside in zip(tracks, feet, _beside(line, feet).tolist(), strict=True):
                direction = self._cross(name, line, track, foot, beside)
                if direction is not None:
                    events.append(ZoneEvent("crossed", time, Visit("line", name, self.camera, track, time, time, direction)))
        return events

    def end(self, tracks: Iterable[int] | None = None) -> list[ZoneEvent]:
        """These tracks have ended (None: all): whoever is still in a zone leaves it when they were last seen in it."""
        gone = None if tracks is None else set(tracks)
        self._sides = {} if gone is None else {key: side for key, side in self._sides.items() if key[1] not in gone}
        keys = [key for key in self._stays if gone is None or key[1] in gone]
        return [event for name, track in keys for event in self._leave(name, track)]

    def _feet(self, boxes: np.ndarray) -> np.ndarray:
        feet = np.c_[(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]]
        return feet.clip(0, np.inf if self.size is None else np.array(self.size) - 1.0)

    def _cross(self, name: str, line: Line, track: int, foot: np.ndarray, beside: bool) -> Direction | None:
        """Whether the track has crossed the line now. A track that leaves the stretch beside the line is forgotten: it may walk around."""
        if not beside:
            self._sides.pop((name, track), None)
            return None
        sv = self._sv
        test = self._sides.get((name, track))
        if test is None:
            ends = sv.Point(*line.start), sv.Point(*line.end)
            test = self._sides[name, track] = sv.LineZone(*ends, (sv.Position.BOTTOM_CENTER,), line.min_frames)
        entered, left = test.trigger(sv.Detections(xyxy=np.r_[foot, foot][None], tracker_id=np.array([track])))
        return "in" if entered[0] else "out" if left[0] else None

    def _zone(self, name: str, zone: Zone, time: float, inside: Mapping[int, bool]) -> list[ZoneEvent]:
        events: list[ZoneEvent] = []
        for (place, track), stay in list(self._stays.items()):
            if place == name and not inside.get(track) and time - stay.last > zone.max_gap:
                events += self._leave(name, track)
        for track, is_in in inside.items():
            if not is_in:
                continue
            if (name, track) in self._stays and time - self._stays[name, track].last > zone.max_gap:  # not seen meanwhile
                events += self._leave(name, track)
            stay = self._stays.setdefault((name, track), _Stay(time, time))
            stay.last = time
            if not stay.told and time - stay.start >= zone.min_stay:
                stay.told = True
                events.append(ZoneEvent("entered", stay.start, Visit("zone", name, self.camera, track, stay.start, time)))
        return events

    def _leave(self, name: str, track: int) -> list[ZoneEvent]:
        stay = self._stays.pop((name, track))
        if not stay.told:
            return []
        return [ZoneEvent("left", stay.last, Visit("zone", name, self.camera, track, stay.start, stay.last))]


def _corners(zone: Zone) -> np.ndarray:
    return np.round(np.array(zone.polygon)).astype(np.int64)


def _beside(line: Line, feet: np.ndarray) -> np.ndarray:
    """(n,) bool: which of ``feet`` (n, 2) are between the perpendiculars at the line's ends."""
    start = np.array(line.start)
    way = np.array(line.end) - start
    along = (feet - start) @ way
    inside: np.ndarray = (along >= 0) & (along <= way @ way)
    return inside


def finished(events: Iterable[ZoneEvent]) -> list[Visit]:
    """The visits that are over, and the crossings, in the order of ``events``."""
    return [event.visit for event in events if event.kind != "entered"]


def visits_of_tracks(
    camera: str,
    place: CameraPlace,
    tracks: Iterable[tuple[int, np.ndarray, np.ndarray]],
    offset: float | None = None,
    size: tuple[int, int] | None = None,
) -> list[Visit]:
    """The visits and crossings of finished tracks of one camera: (track id, times (k,) seconds, boxes (k, 4) px) each. By start."""
    every = [(track, np.asarray(times, np.float64), np.asarray(boxes, np.float32).reshape(-1, 4)) for track, times, boxes in tracks]
    if not every or not (place.zones or place.lines):
        return []
    watch = ZoneWatch(camera, place, offset, size)
    ids = np.concatenate([np.full(len(times), track, np.int64) for track, times, _ in every])
    times, boxes = np.concatenate([times for _, times, _ in every]), np.concatenate([boxes for *_, boxes in every])
    order = np.argsort(times, kind="stable")
    ids, times, boxes = ids[order], times[order], boxes[order]
    starts = np.flatnonzero(np.r_[True, np.diff(times) > 0])
    events: list[ZoneEvent] = []
    for begin, end in zip(starts.tolist(), [*starts[1:].tolist(), len(times)], strict=True):
        events += watch.step(float(times[begin]), ids[begin:end], boxes[begin:end])
    events += watch.end()
    return sorted(finished(events), key=lambda visit: (visit.start, visit.end, visit.place, visit.track))
