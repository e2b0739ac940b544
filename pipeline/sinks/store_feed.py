"""The way of tracklets, identities and events into the store: gathered, and written in one transaction every second."""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.errors import OutputError
from pipeline.formats.tracklet import Tracklet
from pipeline.sinks.sink import Sink
from pipeline.sources.frame import Frame
from pipeline.store import Store
from pipeline.store.records import ClockKind
from pipeline.store.retention import purge
from pipeline.store.watch import WatchList
from tracker import Event, Tracks
from tracker.linking.evidence import probability
from tracker.linking.updates import Key

log = logging.getLogger(__name__)
EVERY, MOST = 1.0, 256  # seconds between writes, and tracklets after which one is due
PURGE = 3600.0  # seconds between purges
BEAT = 5.0  # seconds after which a feed says that it is alive, where there is nothing to write
DECISIONS = ("assigned", "split", "merged")
ZONES = ("entered", "left", "crossed")


@dataclass(frozen=True)
class FeedCamera:
    """A camera as it feeds the store: see ``Sightings.feed``."""

    epoch: float
    clock: ClockKind = "wall"
    video: str | None = None
    size: tuple[int, int] | None = None


class StoreFeed(Sink):
    """Feeds ``store`` from all cameras of ``source``. ``describe(camera)`` is asked when a camera's first tracklet comes.

    ``erase`` is called with tracks that another process wants erased; then nothing of them may be held or written any more.

    A sink of each camera, and taker of the events of live cameras. ``close`` writes what is left, and closes the store. Everything raises
    OutputError if the store cannot be written.
    """

    def __init__(
        self,
        store: Store,
        source: int,
        describe: Callable[[str], FeedCamera],
        erase: Callable[[set[Key]], None] = lambda _: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.store, self.source, self._describe, self._erase, self._wall = store, source, describe, erase, wall
        self._cameras: dict[str, int] = {}
        self._tracklets: list[Tracklet] = []
        self._events: list[tuple[str, float, dict[str, Any]]] = []
        self._decided: dict[Key, tuple[int, float]] = {}  # of tracks that are not written yet: number and confidence
        self._told: dict[Key, list[int]] = {}  # events about them
        self._visits: dict[Key, list[tuple[str, float, float]]] = {}
        self._ids: dict[Key, int] = {}
        self._written, self._beat, self._purged = time.monotonic(), -BEAT, time.monotonic() - PURGE
        self._watch = WatchList(store) if store.settings.watch else None

    def take(self, frame: Frame, tracks: Tracks) -> None:
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Write what has come, and erase what is to be erased, at most every second."""
        if len(self._tracklets) >= MOST or time.monotonic() - self._written >= EVERY:
            self.obey()
            self.flush()
            self._purge_if_due()

    def _purge_if_due(self) -> None:
        """Delete what is too old, in a thread of its own: the cameras do not wait for it."""
        if time.monotonic() - self._purged < PURGE:
            return
        self._purged = time.monotonic()
        threading.Thread(target=self._purge, name="purge", daemon=True).start()

    def _purge(self) -> None:
        try:
            purge(self.store, self._wall())
        except (OutputError, sqlite3.Error) as error:  # closed meanwhile, or a full disk, which the next write says too
            log.warning("%s", error)

    def obey(self) -> None:
        """Erase what another process asks for."""
        keys = self.store.wanted_erased(self.source)
        if not keys:
            return
        self.flush()
        self._erase(keys)
        self._tracklets = [one for one in self._tracklets if (one.camera, one.track) not in keys]
        self._events = [one for one in self._events if (one[2].get("camera"), one[2].get("track")) not in keys]
        for held in (self._decided, self._told, self._visits, self._ids):
            for key in keys & held.keys():
                del held[key]
        self.flush()
        self.store.erased(self.source)

    def finish(self, tracklet: Tracklet) -> None:
        self._tracklets.append(tracklet)

    def event(self, kind: str, at: float, **values: Any) -> None:
        """Take an event of live cameras: ``assigned``, ``split`` and ``merged`` with the linker's values, and any other with its own."""
        self._events.append((kind, at, values))

    def flush(self) -> None:
        """Write what has come; on disk when it returns. Where it raises, what has come still waits."""
        if not (self._tracklets or self._events) and time.monotonic() - self._beat < BEAT:
            return
        held = dict(self._decided), {key: list(told) for key, told in self._told.items()}
        try:
            with self.store.writing():
                self.store.feeding(self.source)
                for tracklet in self._tracklets:
                    self._write(tracklet)
                for kind, at, values in self._events:
                    self._tell(kind, at, dict(values))
        except BaseException:
            self._decided, self._told = held
            self._ids.clear()
            self._cameras.clear()
            raise
        self._beat = self._written = time.monotonic()
        written, self._tracklets, self._events = self._tracklets, [], []
        if self._watch is not None:
            for one in dict.fromkeys(self._ids[tracklet.camera, tracklet.track] for tracklet in written):
                self._watch.check(one)

    def close(self) -> None:
        try:
            self.obey()
            self.flush()
            self.store.feeding(self.source, over=True)
        finally:
            self.store.close()

    def camera(self, name: str) -> int:
        """The number of a camera in the store."""
        if name not in self._cameras:
            about = self._describe(name)
            self._cameras[name] = self.store.sightings.feed(self.source, name, about.epoch, about.clock, about.video, about.size)
        return self._cameras[name]

    def _write(self, tracklet: Tracklet) -> None:
        key = tracklet.camera, tracklet.track
        sighting = self.store.sightings.add(self.source, self.camera(tracklet.camera), tracklet)
        self._ids[key] = sighting
        if (decided := self._decided.pop(key, None)) is not None:
            self.store.people.claim(self.source, sighting, *decided)
        if told := self._told.pop(key, None):
            self.store.events.about(told, sighting)
        for place, entered, left in self._visits.pop(key, ()):
            self.store.sightings.visit(sighting, place, entered, left)

    def _tell_zone(self, kind: str, at: float, values: dict[str, Any]) -> None:
        """``entered``, ``left`` and ``crossed``: an event, and for ``left`` the visit; of a track that is not written yet once it is."""
        number, place, dwell = values.pop("identity", None), values["place"], values.get("dwell")
        key = values.pop("camera"), values["track"]
        identity = None if number is None else self.store.people.number(self.source, number)
        sighting = self._ids.get(key) or self.store.sightings.known(self.source, *key)
        written = self.store.events.add(
            kind, at, key[0], sighting, identity, f"{self.source}/{kind}/{key[1]}/{key[0]}/{place}/{at:.3f}", **values
        )
        if sighting is None and written is not None:
            self._told.setdefault(key, []).append(written)
        if kind == "left" and dwell is not None:
            if sighting is None:
                self._visits.setdefault(key, []).append((place, at - dwell, at))
            else:
                self.store.sightings.visit(sighting, place, at - dwell, at)

    def _tell(self, kind: str, at: float, values: dict[str, Any]) -> None:
        if kind in ZONES:
            self._tell_zone(kind, at, values)
            return
        if kind not in DECISIONS:
            camera, track = values.pop("camera", None), values.get("track")
            key: Key | None = None if camera is None or track is None else (camera, track)
            about = None if key is None else self._ids.get(key) or self.store.sightings.known(self.source, *key)
            written = self.store.events.add(kind, at, camera, about, key=values.pop("key", None), data=values)
            if about is None and written is not None and key is not None:
                self._told.setdefault(key, []).append(written)  # an erasure must find it
            return
        event = Event(kind, at, values["identity"], values["camera"], values["track"], values["other"], values["odds"], values["reasons"])  # type: ignore[arg-type]
        sighting = None
        if event.camera is None or event.track is None:
            for one, (number, confidence) in self._decided.items():
                if number == event.other:
                    self._decided[one] = (event.identity, confidence)
        else:
            key = (event.camera, event.track)
            sighting = self._ids.get(key) or self.store.sightings.known(self.source, *key)
            if sighting is None:
                self._decided[key] = (event.identity, float(probability(np.array(event.odds))))
        self.store.people.apply(self.source, [event])
        identity = self.store.people.number(self.source, event.identity)
        written = self.store.events.add(
            kind, at, event.camera, sighting, identity, f"{self.source}/{event.key}", data={"odds": event.odds, "track": event.track}
        )
        if sighting is None and written is not None and event.camera is not None and event.track is not None:
            self._told.setdefault((event.camera, event.track), []).append(written)
