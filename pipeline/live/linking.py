"""Identities while the cameras run: growing tracks become updates of the on-line linker, its decisions become events."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict

from pipeline.engine.camera_run import CameraRun
from pipeline.formats.tracklet import PATH_POINTS, Tracklet, feet_path
from pipeline.live.events import EventLog
from pipeline.sinks.sink import Sink
from tracker import Event, Linker, TrackletUpdate

log = logging.getLogger(__name__)


class LiveLinking(Sink):
    """Feeds ``linker`` from all cameras. It is a sink of each of them, for the tracks that end; growing tracks are read once per step."""

    def __init__(self, linker: Linker, events: EventLog) -> None:
        self.linker, self.events = linker, events
        self._starts: dict[tuple[str, int], float] = {}
        self._late = 0

    def finish(self, tracklet: Tracklet) -> None:
        start = self._starts.get((tracklet.camera, tracklet.track), float(tracklet.times[0]))
        end, weight = float(tracklet.times[-1]), tracklet.quality * tracklet.embeddings_count
        path = feet_path(tracklet.times[-PATH_POINTS:], tracklet.boxes[-PATH_POINTS:])
        self.linker.add([TrackletUpdate(tracklet.camera, tracklet.track, start, end, tracklet.embedding, weight, path)])

    def step(self, cameras: Mapping[str, CameraRun], now: float) -> None:
        """Tell the linker how tracks have grown, and log what it decides. ``now``: wall time, seconds since 1970."""
        for camera in cameras.values():
            for update in camera.builder.updates(self.linker.settings.step):
                self._starts.setdefault(update.key, update.start)
                self.linker.add([update])
        self._log(self.linker.advance(now))
        if self.linker.late > self._late:
            log.warning("%d updates came after their tracklet was settled", self.linker.late - self._late)
            self._late = self.linker.late

    def _log(self, decided: list[Event]) -> None:
        for event in decided:
            values = asdict(event)
            self.events.write(values.pop("kind"), values.pop("time"), key=event.key, **values)
        if decided:
            alive = self.linker.identities.keys()
            self._starts = {key: start for key, start in self._starts.items() if key in alive}
