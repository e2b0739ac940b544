"""A video file in real time, as if it were a live camera: for trials and tests."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from pipeline.sources.frame import Selection
from pipeline.sources.mailbox import Arrivals, Mailbox
from pipeline.sources.open import open_source
from pipeline.sources.reader_thread import ReaderThread
from pipeline.sources.stream import Level, StreamFrame, StreamStatus
from pipeline.sources.stream_clock import Stamp
from pipeline.sources.stream_state import Connection


class PacedFileReader(ReaderThread):
    """Gives the frames of a file at the times that they have in it, once. Has the same methods as ``StreamReader``.

    Raises SourceError where the file cannot be opened.
    """

    def __init__(self, name: str, path: str, arrivals: Arrivals, first_session: int = 1, wall: Callable[[], float] = time.time) -> None:
        super().__init__(name)
        self._session = first_session
        self._source, self._wall = open_source(path), wall
        self.mailbox: Mailbox[StreamFrame] = Mailbox(arrivals)
        self._connection = Connection(since=time.monotonic())
        self._stamp: Stamp | None = None

    substream = None

    def set_level(self, level: Level) -> None:
        """A file is always read whole."""

    def clip(self, path: Path, seconds: float) -> bool:
        """There are no clips of a file."""
        return False

    @property
    def status(self) -> StreamStatus:
        lag = None if self._stamp is None else max(0.0, self._wall() - self._stamp.wall)
        size = (self._source.width, self._source.height)
        return StreamStatus(self._connection, self.mailbox.counts, size, None, lag, 0.0, self._source.progress.error)

    def _run(self) -> None:
        began, began_wall = time.monotonic(), self._wall()
        for frame in self._source.read(Selection()):
            self._stop.wait(max(0.0, began + frame.time - time.monotonic()))
            if self._stop.is_set():
                break
            now = time.monotonic()
            self._connection = self._connection.frame(now)
            self._stamp = Stamp(began_wall + frame.time, 0.0, self._session, frame.index == 0)
            self.mailbox.put(StreamFrame(frame.index, frame.image, self._stamp, now))
        self._connection = self._connection.closed(time.monotonic())
        with self.mailbox.arrivals.condition:
            self.mailbox.arrivals.condition.notify_all()
