"""Events of tracks: ``track_started`` and ``track_ended``, long tracks that are written in parts once each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from pipeline.engine.camera_run import CameraRun
from pipeline.formats.tracklet import Tracklet
from pipeline.live.events import EventLog
from pipeline.sinks.sink import Sink


@dataclass
class _Known:
    start: float
    end: float


class TrackEvents(Sink):
    """Compares what the ``cameras`` track with what was told before. A sink of each camera, for tracks that end between two looks."""

    def __init__(self, events: EventLog, cameras: Mapping[str, CameraRun]) -> None:
        self._events, self._cameras = events, cameras
        self._known: dict[tuple[str, int], _Known] = {}

    def finish(self, tracklet: Tracklet) -> None:
        self._seen(tracklet.camera, tracklet.track, float(tracklet.times[0]), float(tracklet.times[-1]))

    def forget(self, keys: Iterable[tuple[str, int]]) -> None:
        """Tell nothing more of tracks (camera, track)."""
        for key in keys:
            self._known.pop(key, None)

    def tell(self) -> None:
        """Write what has begun and ended since the last call."""
        growing = set()
        for name, camera in self._cameras.items():
            for track, start, end in camera.builder.spans():
                growing.add((name, track))
                if start is not None:
                    self._seen(name, track, start, end)
        for key in sorted(self._known.keys() - growing):
            known = self._known.pop(key)
            values = {"camera": key[0], "track": key[1], "start": round(known.start, 3), "end": round(known.end, 3)}
            self._events.write("track_ended", known.end, **values)

    def _seen(self, camera: str, track: int, start: float, end: float) -> None:
        known = self._known.get((camera, track))
        if known is None:
            self._known[camera, track] = _Known(start, end)
            self._events.write("track_started", start, camera=camera, track=track)
        else:
            known.end = max(known.end, end)
