"""Identities while the cameras run: growing tracks become updates of the on-line linker, its decisions become events."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping

from pipeline.engine.camera_run import CameraRun
from pipeline.formats.tracklet import Tracklet, update_until
from pipeline.identities.steps import LinkerSteps
from pipeline.live.events import EventLog
from pipeline.messaging.publisher import Publisher
from pipeline.sinks.sink import Sink
from tracker import Event, Linker, Site, TrackletUpdate
from tracker.linking.updates import Key

log = logging.getLogger(__name__)
CLOCK_BACK = 60.0  # seconds that the linker may be ahead of the clock before it is said


class LiveLinking(Sink):
    """Feeds ``linker`` from all ``cameras``. It is a sink of each of them, for the tracks that end, or parts of them.

    ``decided`` is handed each decision. ``publisher`` is told what the linker is told, and up to when.
    """

    def __init__(
        self,
        linker: Linker,
        events: EventLog,
        cameras: Mapping[str, CameraRun],
        site: Site,
        decided: Callable[[Event], None] = lambda _: None,
        publisher: Publisher | None = None,
    ) -> None:
        self.linker, self.events, self.site, self._cameras, self.publisher = linker, events, site, cameras, publisher
        self._steps = LinkerSteps(linker, self._until)
        self._ended: list[Tracklet] = []  # not yet told whole
        self._sent: dict[Key, float] = {}
        self._late, self._warned, self._decided = 0, False, decided

    def finish(self, tracklet: Tracklet) -> None:
        self._ended.append(tracklet)

    def step(self, now: float) -> None:
        """Do what is due at ``now``, wall time in seconds since 1970, and log what the linker decides."""
        if (reached := self.linker.time) is not None and reached > now + CLOCK_BACK and not self._warned:
            self._warned = True
            log.warning("this machine's clock went back: nothing is decided for %.0f s", reached - now)
        self._log(self._steps.advance(now))
        self._publish_clock()
        if self.linker.late > self._late:
            log.warning("%d updates came after their tracklet was settled", self.linker.late - self._late)
            self._late = self.linker.late

    def end(self, now: float, whole: bool) -> None:
        """No more comes. ``whole``: all sources have ended, so that everything is decided; else what is undecided waits for the next start."""
        if whole:
            self._log(self._steps.finish(max([now, *(float(one.times[-1]) + self._offset(one.camera) for one in self._ended)])))
            self._publish_clock()
        else:
            self.step(now)
            self.linker.add(self._until(math.inf))

    def _publish_clock(self) -> None:
        if self.publisher is not None and math.isfinite(self._steps.told):
            self.publisher.clock(self._steps.told)

    def _until(self, time: float) -> Iterator[TrackletUpdate]:
        for update in self._known(time):
            self._sent[update.key] = update.end
            if self.publisher is not None:
                self.publisher.update(update)
            yield update
        told = [one for one in self._ended if float(one.times[-1]) + self._offset(one.camera) <= time]
        self._ended = [one for one in self._ended if float(one.times[-1]) + self._offset(one.camera) > time]
        growing = {(name, track) for name, camera in self._cameras.items() for track in camera.builder.tracks}
        for key in {(one.camera, one.track) for one in told} - growing - {(one.camera, one.track) for one in self._ended}:
            self._sent.pop(key, None)

    def _known(self, time: float) -> Iterator[TrackletUpdate]:
        for one in self._ended:
            update = update_until(one.camera, one.track, one.times, one.boxes, one.growth, time - self._offset(one.camera))
            if update is not None and update.end > self._sent.get(update.key, -math.inf):
                yield update
        for name, camera in self._cameras.items():
            yield from camera.builder.updates(time - self._offset(name), self._sent)

    def _offset(self, camera: str) -> float:
        place = self.site.cameras.get(camera)
        return 0.0 if place is None else place.offset

    def _log(self, decided: list[Event]) -> None:
        for event in decided:
            self.events.decided(event)
            self._decided(event)
