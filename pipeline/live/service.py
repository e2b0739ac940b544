"""``passerby live``: streams to tracks and identities, for as long as it is left running."""

from __future__ import annotations

import logging
import math
import os
import socket
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from detectors import Detector
from pipeline.config import Config
from pipeline.engine.areas import area
from pipeline.engine.camera_run import CameraRun
from pipeline.engine.cameras import Camera
from pipeline.engine.file_run import reid_facts, with_gate
from pipeline.engine.step import run_step
from pipeline.engine.stopwatch import Stopwatch
from pipeline.identities.erasure import Erasure, Trace, erase_run
from pipeline.identities.live_folder import highest_identity
from pipeline.identities.recorded import calibrated
from pipeline.live.blind import BlindTimes, Interval
from pipeline.live.clocks import ClockWatch
from pipeline.live.corrections import CorrectionsByHand
from pipeline.live.events import EventLog
from pipeline.live.feed import LiveFeed, open_feed
from pipeline.live.guard import Guard
from pipeline.live.ids import TrackIds
from pipeline.live.linking import LiveLinking
from pipeline.live.load import Load
from pipeline.live.newest import NewestOfEach, Reader
from pipeline.live.retention import Retention
from pipeline.live.screen import LiveScreen
from pipeline.live.segments import Segments
from pipeline.live.state import restored, save
from pipeline.live.status import ClockStatus, LiveStatus, OutputStatus, StatusServer, camera_status, memory
from pipeline.live.track_events import TrackEvents
from pipeline.live.zones import LiveZones
from pipeline.messaging.publisher import Publisher
from pipeline.sinks.sink import Sink
from pipeline.sinks.store_feed import FeedCamera
from pipeline.sources.frame import Frame, Progress, Selection
from pipeline.sources.mailbox import Arrivals
from reid import Embedder
from tracker import Event, Linker, Site
from tracker.linking.updates import Key

log = logging.getLogger(__name__)
END = 3.0  # seconds that all streams together have to end


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
    ``publisher`` is told what the linker is told; it is closed here. Outputs that cannot be written while it runs are counted in ``guards``, and tried again. Raises OSError where ``out`` cannot be written at
    the start.
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
        publisher: Publisher | None = None,
        wall: Callable[[], float] = time.time,
        screen: LiveScreen | None = None,
    ) -> None:
        config = with_gate(config, embedder)
        self.config, self.out, self.site, self.detector, self.embedder, self._wall = config, out, site, detector, embedder, wall
        self.watch, self.began = Stopwatch(), wall()
        self.steps, self._last_step, self._linked, self._saved = 0, time.monotonic(), 0.0, 0.0
        self._arrivals, self._whole = Arrivals(), False
        self._sessions: dict[str, int] = {}
        self._sizes: dict[str, tuple[int, int]] = {}
        self._states: dict[str, tuple[str, str | None]] = {}
        self._leaving: list[Reader] = []
        self.cameras: dict[str, CameraRun] = {}
        self.more_guards: dict[str, Guard] = {}  # of outputs that somebody else writes from the events
        with ExitStack() as opened:
            out.mkdir(parents=True, exist_ok=True)
            self.readers: dict[str, Reader] = dict(readers(self._arrivals))
            opened.callback(self._join_readers)
            self.ids = TrackIds(out / "ids.json")
            self.feed = self._feed(out)
            if self.feed is not None:
                opened.callback(self.feed.close)
            self.events = EventLog(out, None if self.feed is None else self.feed.event)
            opened.callback(self.events.close)
            self.publisher = publisher
            if publisher is not None:
                opened.callback(publisher.close)
            self.track_events = TrackEvents(self.events, self.cameras)
            self.segments = Segments(
                out / "segments", self.readers, config, reid_facts(embedder), self._hand_over, self._erase_forgotten
            )  # fmt: skip
            opened.callback(self.segments.end)
            self.linking: LiveLinking | None = None
            since = None
            if embedder is not None:
                self._model, self._state = embedder.session.sha256, Guard(f"{out / 'linker.state'}")
                association = calibrated(config.association, reid_facts(embedder))
                new, state = Linker(site, config.linker, association), out / "linker.state"
                linker = restored(state, new, self._model)
                # what was decided after the last save is lost, but told: its numbers are not given to others
                linker.skip_numbers(highest_identity(out, 0.0 if linker is new else state.stat().st_mtime))
                since = linker.time
                self.linking = LiveLinking(linker, self.events, self.cameras, site, self._clip, publisher)
                self.corrections = CorrectionsByHand(out, linker, self.events)
                opened.callback(self._end_linking)
            self.screen = screen
            self.clocks = ClockWatch(site, config.live.clock_bound)
            self.blind = BlindTimes({name: self._least_gap(name) for name in self.readers}, since)
            self.load = Load(config.live.max_behind)
            self.retention = Retention(out, config.live)
            self._zone_sinks: dict[str, LiveZones] = {}
            self._add_cameras(self.readers)
            opened.callback(self._end_zones)
            opened.callback(self._finish_cameras)
            self.intake = NewestOfEach(self.readers, self._arrivals)
            opened.callback(self.intake.close)
            self.server = None if status_port is None else StatusServer(self.status, status_port)
            if self.server is not None:
                opened.callback(self.server.close)
            if screen is not None:
                screen.begin(self.status, self._shown)
            self._opened = opened.pop_all()

    @property
    def guards(self) -> dict[str, Guard]:
        """The outputs, and what could not be written of them."""
        found = {"events": self.events.guard, "segments": self.segments.guard, "ids": self.ids.guard}
        if self.feed is not None:
            found["store"] = self.feed.guard
        return found | ({"identities": self._state} if self.linking is not None else {}) | self.more_guards

    def run(
        self, stopped: Callable[[], bool] = lambda: False, duration: float | None = None, between: Callable[[], None] = lambda: None
    ) -> None:
        """Until ``stopped()``, after ``duration`` seconds, or when all readers have ended. What is written is complete then.

        ``between`` is called between two steps: the only moment for ``reload``.
        """
        until = None if duration is None else time.monotonic() + duration
        try:
            for reader in self.readers.values():
                reader.start()
            notify("READY=1")
            while not stopped() and not self.intake.ended and (until is None or time.monotonic() < until):
                self.step(timeout=0.2)
                between()
                notify("WATCHDOG=1")
            self._whole = self.intake.ended
        finally:
            notify("STOPPING=1")
            self._opened.close()

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
        if now - self._linked >= self.config.linker.step or now < self._linked:  # the host's clock may be set back
            self._linked = now
            self._look_after(now)
        if self.feed is not None:
            self.feed.flush_if_due()
        if frames:
            for one in self.cameras.values():
                one.cut(self.config.live.longest_track)
        self.segments.roll(now)

    def reload(self, site: Site, gone: Iterable[str], readers: Callable[[Arrivals, Mapping[str, int]], Mapping[str, Reader]]) -> None:
        """Go on with another site: without the cameras ``gone``, and with new ``readers`` of those that are new or reached otherwise.

        ``readers`` takes the number of each camera's next session. The other cameras lose no frame.
        """
        sessions = dict.fromkeys(site.cameras, 1) | {name: number + 1 for name, number in self._sessions.items()}
        new = dict(readers(self._arrivals, sessions))
        for name in {*gone, *new} & set(self.readers):
            self.readers[name].stop()
            self._leaving.append(self.readers.pop(name))
        for name in gone:
            if (run := self.cameras.pop(name, None)) is not None:
                run.finish()
            for known in (self._sessions, self._sizes, self._states):
                known.pop(name, None)
        self._end_zones(gone)
        self.site = site
        self._sizes.clear()  # areas are made anew
        self.clocks = ClockWatch(site, self.config.live.clock_bound)
        if self.linking is not None:
            self.linking.site = site
            self.linking.linker.change_site(site)
        self._add_cameras([name for name in new if name not in self.cameras])
        self.segments.cameras = list(self.cameras)
        self.segments.close()  # the next one has the cameras of now
        self.readers |= new
        self.blind.watch({name: self._least_gap(name) for name in self.readers})
        for reader in new.values():
            reader.start()
        self.events.write("site_reloaded", self._wall(), cameras=sorted(self.readers))

    def status(self) -> LiveStatus:
        """A snapshot, from any thread."""
        linker = self.linking.linker if self.linking else None
        cameras = dict(self.cameras)
        tracks = {name: len(one.tracker.held) for name, one in cameras.items()}
        return LiveStatus(
            began=self.began,
            uptime=self._wall() - self.began,
            age=time.monotonic() - self._last_step,
            steps=self.steps,
            people=len(linker) if linker is not None else 0,
            events=self.events.written,
            late_updates=linker.late if linker is not None else 0,
            memory=memory(),
            cameras={name: camera_status(reader.status, tracks.get(name, 0)) for name, reader in dict(self.readers).items()},
            publisher=None if self.publisher is None else self.publisher.status,
            outputs={name: OutputStatus(failed=one.failed, lost=one.lost, problem=one.problem) for name, one in self.guards.items()},
            clocks=[ClockStatus(**asdict(one)) for one in self.clocks.offsets],
        )

    def _add_cameras(self, names: Iterable[str]) -> None:
        names = list(names)
        first = self.ids.reserve(names)
        for name in names:
            sinks = [
                self.segments.sink(name),
                *([self.feed] if self.feed else []),
                self.track_events,
                *([self.linking, self.clocks] if self.linking else []),
                *self._zones(name),
                *([self.screen.sink(name)] if self.screen else []),
            ]
            camera = Camera(name, LiveSource(Path(name)), None)  # type: ignore[arg-type]
            self.cameras[name] = CameraRun(camera, self.config, sinks, first[name])

    def _feed(self, out: Path) -> LiveFeed | None:
        """What takes tracklets and events into the store."""
        if not self.config.store.enabled:
            return None
        return open_feed(
            out, self.config, reid_facts(self.embedder), self._wall, lambda name: FeedCamera(0.0, size=self._sizes.get(name)), self._forget
        )

    def _forget(self, keys: set[Key]) -> None:
        """Let go of tracks that are erased: what grows, what is linked, what is in open files. Closed files are the business of who asks."""
        for name, run in self.cameras.items():
            run.forget({track for camera, track in keys if camera == name})
        self.segments.close()
        if self.linking is not None:
            self.linking.linker.forget(keys, self._wall())
            self._save()
        self.track_events.forget(keys)
        self.events.forget(keys)

    def _least_gap(self, name: str) -> float:
        """Seconds between frames from which on a camera was blind: a stall, or three frames of a slow camera."""
        rate = getattr(self.site.cameras.get(name), "rate", None)
        return max(self.config.live.stall, 3 / rate if rate else 0.0)

    def _prepare(self, name: str, frame: Frame) -> None:
        """A new session of a camera, or another picture size, ends its tracks; a gap is told to the linker."""
        run, size = self.cameras[name], (frame.image.shape[1], frame.image.shape[0])
        if self._sizes.get(name) != size:
            self._sizes[name] = size
            run.camera = replace(run.camera, area=area(self.site.cameras.get(name), *size))
        if self._sessions.get(name) != frame.session:
            if name in self._sessions:
                run.restart()
            self._sessions[name] = frame.session
            self.events.write("session", frame.time, camera=name, session=frame.session, uncertainty=round(frame.uncertainty, 3))
        if (gap := self.blind.frame(name, frame.time)) is not None:
            self._tell_blind(gap)

    def _tell_blind(self, gap: Interval) -> None:
        if gap.end is not None:
            self.events.write("blind", gap.end, camera=gap.camera, start=round(gap.start, 3), end=round(gap.end, 3))
        if self.linking is not None:
            self.linking.linker.blind(gap.camera, gap.start, math.inf if gap.end is None else gap.end)
        if self.publisher is not None:
            self.publisher.blind(gap.camera, self._wall(), gap.start, gap.end)

    def _relieve(self, now: float) -> None:
        """Read less of a camera where reading does not keep up, or more again."""
        statuses = {name: reader.status for name, reader in self.readers.items()}
        change = self.load.decide(time.monotonic(), statuses, {name: one.substream is not None for name, one in self.readers.items()})
        if change is not None:
            name, level = change
            log.warning("%s: reading is %.1f s behind; from now on: %s", name, statuses[name].behind or 0.0, level)
            self.readers[name].set_level(level)
            self.events.write("camera_level", now, camera=name, level=level)

    def _clip(self, event: Event) -> None:
        """A clip of who is identified for the first time in a camera."""
        live = self.config.live
        if live.clips and event.kind == "assigned" and event.camera in self.readers:
            stamp = datetime.fromtimestamp(event.time, UTC).strftime("%Y%m%dT%H%M%S")
            path = self.out / "clips" / f"{stamp}-{event.camera}-{event.track}.mp4"
            if self.readers[event.camera].clip(path, live.clip_after):
                values = {"camera": event.camera, "track": event.track, "identity": event.identity}
                self.events.write("clip", event.time, **values, file=str(path.relative_to(self.out)))

    def _tell_states(self, now: float) -> None:
        for name, reader in self.readers.items():
            connection = reader.status.connection
            state = (connection.state, connection.reason)
            if self._states.get(name) != state:
                self._states[name] = state
                self.events.write("camera_state", now, camera=name, state=connection.state, reason=connection.reason)
                if self.publisher is not None:
                    self.publisher.camera_state(name, now, connection.state, connection.reason)

    def _look_after(self, now: float) -> None:
        """What is done once per step of the linker."""
        self._relieve(now)
        for gap in self.blind.quiet(now):
            self._tell_blind(gap)
        self.track_events.tell()
        if self.linking is not None:
            self.corrections.take(now)
            self.linking.step(now)
            if self.screen is not None:
                identity = self.linking.linker.identity
                self.screen.identities = {key: number for key in self.screen.tracks() if (number := identity(key)) is not None}
            for offset in self.clocks.review(now, self.linking.linker.identities) if self.clocks.due(now) else ():
                log.warning(
                    "the clock of %s is %.1f s (+-%.1f) ahead of that of %s, by %d people", offset.b, offset.seconds, 2 * offset.uncertainty,
                    offset.a, offset.samples,
                )  # fmt: skip
                self.events.write("clock_offset", now, **asdict(offset))
        self.events.flush()
        self._leaving = [reader for reader in self._leaving if not reader.join(0.0)]
        if now - self._saved >= self.config.live.save or now < self._saved:
            self._saved = now
            self._save()
            self.ids.keep()
            self.retention.sweep(now)

    def _save(self) -> None:
        """The linker's state, so that identities survive a restart. What is undecided stays so: tracks may go on."""
        if self.linking is not None:
            with self._state.trying():
                self.out.mkdir(parents=True, exist_ok=True)
                save(self.out / "linker.state", self.linking.linker, self._model)

    def _finish_cameras(self) -> None:
        for one in self.cameras.values():
            one.finish()
        self.track_events.tell()

    def _end_linking(self) -> None:
        if self.linking is not None:
            self.corrections.take(self._wall())
            self.linking.end(self._wall(), whole=self._whole)
        self._save()

    def _hand_over(self) -> None:
        """Before a segment is closed: growing tracks hand over what they have, so that it is in the segment."""
        for one in self.cameras.values():
            one.cut(0.0)

    def _erase_forgotten(self, segment: Path) -> None:
        """What somebody has told to forget while the segment was open."""
        if self.linking is not None:
            self.corrections.take(self._wall())
            if self.linking.linker.forgotten:
                with self.segments.guard.trying():
                    erase_run(segment, Erasure(dict.fromkeys(self.linking.linker.forgotten, Trace.nowhere())), self.config.output)

    def _zones(self, name: str) -> list[Sink]:
        """The sink for the camera's zones and lines, if it has any."""
        place = self.site.cameras.get(name)
        if place is None or not (place.zones or place.lines):
            return []
        self._zone_sinks[name] = LiveZones(name, place, self.events, self._identity)
        return [self._zone_sinks[name]]

    def _end_zones(self, names: Iterable[str] | None = None) -> None:
        """Whoever is in a zone of these cameras, or of all, leaves it."""
        for name in list(self._zone_sinks) if names is None else names:
            if (zones := self._zone_sinks.pop(name, None)) is not None:
                zones.close()

    def _shown(self, number: int) -> int | None:
        """The identity in the store of whom the linker calls ``number``; without a store, that number."""
        return number if self.feed is None else self.feed.store.people.numbered(self.feed.source, number)

    def _identity(self, camera: str, track: int) -> int | None:
        return None if self.linking is None else self.linking.linker.identity((camera, track))

    def _join_readers(self) -> None:
        until = time.monotonic() + END
        for reader in (*self.readers.values(), *self._leaving):
            if not reader.join(max(0.0, until - time.monotonic())):
                log.warning("a stream did not end within %.0f s; it ends with the program", END)


def notify(state: str) -> None:
    """Tell systemd, where it has started us with ``Type=notify``."""
    place = os.environ.get("NOTIFY_SOCKET")
    if place:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.sendto(state.encode(), "\0" + place[1:] if place.startswith("@") else place)
