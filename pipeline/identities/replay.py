"""Replay recorded runs through the on-line linker: tracklets grow as they did."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import writing
from pipeline.formats.events import linker_line
from pipeline.formats.tracklet import update_until
from pipeline.identities.recorded import RecordedTracklets, calibrated
from pipeline.identities.steps import LinkerSteps
from tracker import AssociationSettings, Event, Identities, Linker, LinkerSettings, Site, TrackletUpdate, apply_events
from tracker.linking.evidence import probability


class Growing:
    """Recorded tracklets as if they grew now."""

    def __init__(self, recorded: RecordedTracklets, site: Site) -> None:
        self._recorded = recorded
        offsets = {name: place.offset for name, place in site.cameras.items()}
        tracklets = recorded.tracklets
        self.offsets = np.array([offsets.get(name, 0.0) for name in tracklets.cameras.tolist()])
        self._order = np.argsort(tracklets.start + self.offsets, kind="stable")
        self._begins = (tracklets.start + self.offsets)[self._order]
        self._came, self._alive = 0, dict[int, float]()  # rows that grow, and the time up to which they were told

    @property
    def alive(self) -> bool:
        return bool(self._alive)

    @property
    def next_begin(self) -> float:
        """When the next tracklet begins, by the site's clock; inf where none is left."""
        return float(self._begins[self._came]) if self._came < len(self._begins) else math.inf

    def until(self, time: float) -> Iterator[TrackletUpdate]:
        """What has come since the last call, up to ``time`` of the site's clock."""
        tracklets = self._recorded.tracklets
        come = int(np.searchsorted(self._begins, time, side="right"))
        self._alive |= dict.fromkeys(self._order[self._came : come].tolist(), -np.inf)
        self._came = max(self._came, come)
        for row, told in list(self._alive.items()):
            path, boxes = tracklets.paths[row] if tracklets.paths is not None else np.zeros((0, 3)), self._recorded.boxes[row]
            camera, track = str(tracklets.cameras[row]), int(tracklets.tracks[row])
            update = update_until(camera, track, path[:, 0], boxes, self._recorded.growth[row], time - self.offsets[row])
            if update is not None and update.end > told:
                self._alive[row] = update.end
                yield update
            if update is not None and update.end >= tracklets.end[row]:
                del self._alive[row]


def link(
    recorded: RecordedTracklets, site: Site, settings: LinkerSettings, association: AssociationSettings
) -> tuple[Identities, list[Event]]:
    """The final identities of all tracklets, and the linker's events."""
    linker, growing = Linker(site, settings, calibrated(association, recorded.calibration)), Growing(recorded, site)
    steps, events = LinkerSteps(linker, growing.until), list[Event]()
    tracklets = recorded.tracklets
    if len(tracklets):
        now, end = growing.next_begin, float((tracklets.end + growing.offsets).max())
        while now <= end + settings.lateness:
            events += steps.advance(now)
            now = now + settings.step if growing.alive else max(now + settings.step, growing.next_begin)
        events += steps.finish(end)
    ids = apply_events({}, events)
    odds_of = {(event.camera, event.track): event.odds for event in events if event.kind != "merged"}
    odds = np.array([odds_of[key] for key in recorded.keys])
    numbers = np.array([ids[key] for key in recorded.keys], np.int64)
    return Identities(numbers, probability(odds), np.zeros((0, 2), np.int64), np.zeros(0)), events


def write_events(path: Path, events: Sequence[Event]) -> None:
    """Write one line of JSON per event. Raises OutputError if the file cannot be written."""
    with writing(path), path.open("w", encoding="utf-8") as file:
        for event in events:
            file.write(linker_line(event) + "\n")
