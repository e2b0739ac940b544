"""Zone events of live cameras: a sink per camera that has zones or lines."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pipeline.live.events import EventLog
from pipeline.sinks.sink import Sink
from pipeline.sources.frame import Frame
from pipeline.zones.watch import ZoneEvent, ZoneWatch
from tracker import Tracks
from tracker.site import CameraPlace


class LiveZones(Sink):
    """Writes ``entered``, ``left`` and ``crossed`` to ``events``. ``identity_of(camera, track)``: as known then, or None.

    Times are those of the camera's clock, as of its tracks. A track that vanishes leaves after the zone's ``max_gap``, with the next frame: parts of long tracks end nothing.
    """

    def __init__(self, camera: str, place: CameraPlace, events: EventLog, identity_of: Callable[[str, int], int | None]) -> None:
        self._camera, self._place, self._events, self._identity_of = camera, place, events, identity_of
        self._watch: ZoneWatch | None = None

    def take(self, frame: Frame, tracks: Tracks) -> None:
        size = frame.image.shape[1], frame.image.shape[0]
        if self._watch is None or self._watch.size != size:
            self.close()
            self._watch = ZoneWatch(self._camera, self._place, 0.0, size)
        self._write(self._watch.step(frame.time, tracks.ids, tracks.boxes))

    def close(self) -> None:
        if self._watch is not None:
            self._write(self._watch.end())

    def _write(self, events: Iterable[ZoneEvent]) -> None:
        for event in events:
            identity = self._identity_of(event.visit.camera, event.visit.track)
            self._events.write(event.kind, event.time, identity=identity, **event.as_dict())
