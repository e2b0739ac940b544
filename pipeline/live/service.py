"""``passerby live``: streams to tracks and identities, for as long as it is left running."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from detectors import Detector
from pipeline.config import Config
from pipeline.engine.areas import area
from pipeline.engine.camera_run import CameraRun
from pipeline.engine.cameras import Camera
from pipeline.engine.file_run import reid_facts, with_gate
from pipeline.engine.step import run_step
from pipeline.engine.stopwatch import Stopwatch
from pipeline.identities.recorded import calibrated
from pipeline.live.events import EventLog
from pipeline.live.ids import reserve
from pipeline.live.linking import LiveLinking
from pipeline.live.newest import NewestOfEach, Reader
from pipeline.live.segments import Segments
from pipeline.live.state import restored, save
from pipeline.live.status import LiveStatus, StatusServer, camera_status, memory
from pipeline.sources.frame import Frame, Progress, Selection
from pipeline.sources.mailbox import Arrivals
from reid import Embedder
from tracker import Linker, Site

log = logging.getLogger(__name__)


@dataclass
class LiveSource:
    """A live camera as a ``Source``: known is its address alone; ``read`` is the readers' business."""

    path: Path
    width: int = 0
    height: int = 0
    rate: float = 25.0
    frames: int | None = None
    progress: Progress = field(default_factory=Progress)

    def read(self, selection: Selection) -> object:
        raise NotImplementedError("live frames come from a reader")


class LiveRun:
    """All cameras of a site, live. ``readers`` by camera name are started and stopped here.

    Frames are taken newest first; every ``linker.step`` seconds the linker decides; segments are closed every ``config.live.segment`` seconds.
    Raises OSError where ``out`` cannot be written.
    """

    def __init__(
        self,
        readers: Callable[[Arrivals], Mapping[str, Reader]],
        config: Config,
        out: Path,
        site: Site,
        detector: Detector,
        embedder: Embedder | None,
        status_port: int | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        config = with_gate(config, embedder)
        self.config, self.site, self.detector, self.embedder, self._wall = config, site, detector, embedder, wall
        self.watch, self.began = Stopwatch(), wall()
        self.steps, self._last_step, self._linked, self._saved = 0, time.monotonic(), 0.0, 0.0
        arrivals = Arrivals()
        with ExitStack() as opened:
            out.mkdir(parents=True, exist_ok=True)
            self.readers = readers(arrivals)
            names = list(self.readers)
            first = reserve(out / "ids.json", names)
            self.events = EventLog(out)
            opened.callback(self.events.close)
            self.segments = Segments(out / "segments", names, config, reid_facts(embedder), self._hand_over)
            opened.callback(self.segments.close)
            sinks = {name: [self.segments.sink(name)] for name in names}
            self.linking: LiveLinking | None = None
            self.cameras: dict[str, CameraRun] = {}
            if embedder is not None:
                self._model, self._state = embedder.session.sha256, out / "linker.state"
                linker = restored(
                    self._state, Linker(site, config.linker, calibrated(config.association, reid_facts(embedder))), self._model
                )
                self.linking = LiveLinking(linker, self.events, self.cameras, site)
                opened.callback(self._end_linking)
            for name in names:
                camera = Camera(name, LiveSource(Path(name)), None)  # type: ignore[arg-type]
                own = [*sinks[name], *([self.linking] if self.linking else [])]
                self.cameras[name] = CameraRun(camera, config, own, first[name])
            for one in self.cameras.values():
                opened.callback(one.finish)
            self.intake = NewestOfEach(self.readers, arrivals)
            opened.callback(self._stop_readers)
            self._whole = False  # whether it ended because all sources did
            self._sessions: dict[str, int] = {}
            self._sizes: dict[str, tuple[int, int]] = {}
            self._states: dict[str, tuple[str, str | None]] = {}
            self.server = None if status_port is None else StatusServer(self.status, status_port)
            if self.server is not None:
                opened.callback(self.server.close)
            self._opened = opened.pop_all()

    def run(self, stopped: Callable[[], bool] = lambda: False, duration: float | None = None) -> None:
        """Until ``stopped()``, after ``duration`` seconds, or when all readers have ended. What is written is complete then."""
        until = None if duration is None else time.monotonic() + duration
        try:
            for reader in self.readers.values():
                reader.start()
            notify("READY=1")
            while not stopped() and not self.intake.ended and (until is None or time.monotonic() < until):
                self.step(timeout=0.2)
                notify("WATCHDOG=1")
            self._whole = self.intake.ended
        finally:
            self._opened.close()
            notify("STOPPING=1")

    def step(self, timeout: float) -> None:
        """Process the newest frame of each camera that has one, and whatever is due."""
        frames = self.intake.next(timeout)
        if frames:
            for name, frame in frames.items():
                self._prepare(name, frame)
            run_step(self.cameras, frames, self.detector, self.embedder, self.watch)
            self.intake.done(frames)
            self.steps += 1
        self._last_step = time.monotonic()
        now = self._wall()
        self._tell_states(now)
        if self.linking is not None and now - self._linked >= self.config.linker.step:
            self._linked = now
            self.linking.step(now)
            if now - self._saved >= self.config.live.save:
                self._save()
                self._saved = now
        if frames:
            for one in self.cameras.values():
                one.cut(self.config.live.longest_track)
            self.segments.roll(now)

    def status(self) -> LiveStatus:
        """A snapshot, from any thread."""
        linker = self.linking.linker if self.linking else None
        tracks = {name: len(one.tracker.held) for name, one in self.cameras.items()}
        return LiveStatus(
            began=self.began,
            uptime=self._wall() - self.began,
            age=time.monotonic() - self._last_step,
            steps=self.steps,
            people=len(linker) if linker is not None else 0,
            events=self.events.written,
            late_updates=linker.late if linker is not None else 0,
            memory=memory(),
            cameras={name: camera_status(reader.status, tracks[name]) for name, reader in self.readers.items()},
        )

    def _prepare(self, name: str, frame: Frame) -> None:
        """A new session of a camera, or another picture size, ends its tracks."""
        run, size = self.cameras[name], (frame.image.shape[1], frame.image.shape[0])
        if self._sizes.get(name) != size:
            self._sizes[name] = size
            run.camera = replace(run.camera, area=area(self.site.cameras.get(name), *size))
        if self._sessions.get(name) != frame.session:
            if name in self._sessions:
                run.restart()
            self._sessions[name] = frame.session
            self.events.write("session", frame.time, camera=name, session=frame.session, uncertainty=round(frame.uncertainty, 3))

    def _tell_states(self, now: float) -> None:
        for name, reader in self.readers.items():
            connection = reader.status.connection
            state = (connection.state, connection.reason)
            if self._states.get(name) != state:
                self._states[name] = state
                self.events.write("camera_state", now, camera=name, state=connection.state, reason=connection.reason)

    def _save(self) -> None:
        """The linker's state, so that identities survive a restart. What is undecided stays so: tracks may go on."""
        if self.linking is not None:
            save(self._state, self.linking.linker, self._model)

    def _end_linking(self) -> None:
        if self.linking is not None:
            self.linking.end(self._wall(), whole=self._whole)
        self._save()

    def _hand_over(self) -> None:
        """Before a segment is closed: growing tracks hand over what they have, so that it is in the segment."""
        for one in self.cameras.values():
            one.cut(0.0)

    def _stop_readers(self) -> None:
        self.intake.close()
        for name, reader in self.readers.items():
            if not reader.join(5.0):
                log.warning("%s: its stream did not end within 5 s", name)


def notify(state: str) -> None:
    """Tell systemd, where it has started us with ``Type=notify``."""
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), "\0" + place[1:] if place.startswith("@") else place)
