"""The intake of live cameras: the newest frame of each camera that has one. No camera waits for another."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pipeline.sources.frame import Frame
from pipeline.sources.mailbox import Arrivals, Mailbox
from pipeline.sources.stream import Level, StreamFrame, StreamStatus


class Reader(Protocol):
    """A live camera's reader: a stream, or a file in real time."""

    mailbox: Mailbox[StreamFrame]

    @property
    def substream(self) -> object | None: ...
    def set_level(self, level: Level) -> None: ...
    def clip(self, path: Path, seconds: float) -> bool: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...
    def join(self, timeout: float) -> bool: ...
    @property
    def status(self) -> StreamStatus: ...


class NewestOfEach:
    """Takes the newest frame of every reader that has one. ``ended`` where every reader has closed (files do; streams reconnect for ever)."""

    def __init__(self, readers: Mapping[str, Reader], arrivals: Arrivals) -> None:
        self._readers, self._arrivals = readers, arrivals

    @property
    def ended(self) -> bool:
        return all(reader.status.connection.state == "closed" and not reader.mailbox.waiting for reader in self._readers.values())

    def next(self, timeout: float | None = None) -> dict[str, Frame]:
        """The frames that are there, by camera name; empty where none came within ``timeout`` seconds. Call ``done`` when they are processed."""
        until = None if timeout is None else time.monotonic() + timeout
        with self._arrivals.condition:
            while not any(reader.mailbox.waiting for reader in self._readers.values()):
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    return {}
                self._arrivals.condition.wait(left)
                if self.ended:
                    return {}
            taken = {name: item for name, reader in self._readers.items() if (item := reader.mailbox.take()) is not None}
        frames = {}
        for name, item in taken.items():
            counts, stamp = self._readers[name].mailbox.counts, item.stamp
            frames[name] = Frame(
                item.index, stamp.wall, item.image(), counts.dropped, counts.corrupt + counts.failed, stamp.uncertainty, stamp.session
            )
        return frames

    def done(self, frames: Mapping[str, Frame]) -> None:
        """The engine has processed ``frames``."""
        for name in frames:
            self._readers[name].mailbox.done()

    def close(self) -> None:
        for reader in self._readers.values():
            reader.stop()
