"""What live cameras write: segments, each a folder like a run's. One is written under ``NAME.open`` and renamed when it is closed.

``passerby associate OUT/segments/*`` reads them like any runs. After a crash the last one keeps its tracks as text under ``NAME.interrupted``.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import Config
from pipeline.errors import OutputError
from pipeline.formats.tracklet import Tracklet
from pipeline.live.guard import Guard
from pipeline.sinks.sink import Sink
from pipeline.sinks.tracklets import TrackletFiles
from pipeline.sinks.tracks_text import TracksText
from pipeline.sources.frame import Frame
from tracker import Tracks

log = logging.getLogger(__name__)
OPEN, INTERRUPTED = ".open", ".interrupted"
RETRY = 5.0  # seconds until a segment that could not be written is followed by the next attempt
MOST_WAITING = 200  # tracklets kept while they cannot be written; the oldest are lost then
FLUSH = 2.0  # seconds after which the text of the open segment is on disk


class Segments:
    """Segments of ``live.segment`` seconds below ``folder`` for all ``cameras``. ``sink(camera)`` is what a camera's run is handed.

    ``before_close`` is called before a segment is closed, so that growing tracks can hand over what they have; ``closed`` after, with its
    folder. Where the folder cannot be written, the segment is given up, and the next is tried ``RETRY`` seconds later: ``guard`` counts the
    rows of ``tracks.txt`` and the tracklets that are lost.
    """

    def __init__(
        self,
        folder: Path,
        cameras: Iterable[str],
        config: Config,
        facts: dict[str, str],
        before_close: Callable[[], None] = lambda: None,
        closed: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self.folder, self.facts, self.before_close, self.closed = folder, facts, before_close, closed
        self.cameras = list(cameras)
        self.seconds, self.fill = config.live.segment, config.output.max_fill_gap
        self.guard = Guard(f"{folder}: segments")
        folder.mkdir(parents=True, exist_ok=True)
        for left in sorted(folder.glob(f"*{OPEN}")):
            log.warning("%s: left by an interrupted run; its text files are complete so far", left)
            left.rename(left.with_suffix(INTERRUPTED))
        self._open: Path | None = None
        self._began = self._flushed = self._retry_at = 0.0
        self._closing = ExitStack()
        self._text: dict[str, TracksText] = {}
        self._tracklets: TrackletFiles | None = None
        self._waiting: deque[Tracklet] = deque()
        self._inside = 0  # tracklets of the open segment: they are on disk when it is closed

    def sink(self, camera: str) -> Sink:
        return _CameraSegments(self, camera)

    def roll(self, wall: float) -> None:
        """Close the segment if it is ``seconds`` old at ``wall`` (seconds since 1970); see that the text so far is on disk."""
        if self._open is None:
            return
        if wall - self._began >= self.seconds:
            self.close()
        elif time.monotonic() - self._flushed >= FLUSH:
            self._flushed = time.monotonic()
            try:
                for text in self._text.values():
                    if os.fstat(text.file.fileno()).st_nlink == 0:
                        raise FileNotFoundError(f"{self._open} has been removed")
                    text.file.flush()
            except (OSError, ValueError) as error:
                self._give_up(error)

    def take(self, camera: str, frame: Frame, tracks: Tracks) -> None:
        if not self._usable(frame.time):
            self.guard.lost += len(tracks)
            return
        try:
            self._text[camera].take(frame, tracks)
        except (OSError, ValueError) as error:
            self.guard.lost += len(tracks)
            self._give_up(error)

    def finish(self, tracklet: Tracklet) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.guard.lost += 1
        self._waiting.append(tracklet)
        while self._waiting and self._usable(float(tracklet.times[-1])):
            assert self._tracklets is not None
            try:
                self._tracklets.finish(self._waiting[0])
            except (OSError, OutputError, ValueError) as error:
                self._give_up(error)
                return
            self._waiting.popleft()
            self._inside += 1

    def _usable(self, wall: float) -> bool:
        """Whether a segment is open, or could be opened now."""
        if self._open is not None:
            return True
        if time.monotonic() < self._retry_at:
            return False
        try:
            self._begin(wall)
        except (OSError, OutputError) as error:
            self._give_up(error)
            return False
        self.guard.fine()
        return True

    def _begin(self, wall: float) -> None:
        name = datetime.fromtimestamp(wall, UTC).strftime("%Y%m%dT%H%M%S")
        place, number = self.folder / f"{name}{OPEN}", 1
        while any(place.with_suffix(ending).exists() for ending in (OPEN, INTERRUPTED, "")):
            place, number = self.folder / f"{name}-{number}{OPEN}", number + 1
        place.mkdir(parents=True)
        self._open, self._began, self._flushed, self._inside, self._text = place, wall, time.monotonic(), 0, {}
        with ExitStack() as opened:
            self._tracklets = TrackletFiles(place, self.facts)
            opened.callback(self._tracklets.close)
            for camera in self.cameras:
                (place / camera).mkdir()
                self._text[camera] = TracksText(place / camera / "tracks.txt", self.fill)
                opened.callback(self._text[camera].close)
            self._closing = opened.pop_all()

    def _give_up(self, error: Exception) -> None:
        """The open segment cannot be written on: leave it as what an interrupted run leaves, and try another one later."""
        self.guard.fail(error)
        self.guard.lost += self._inside
        self._retry_at = time.monotonic() + RETRY
        place, self._open = self._open, None
        closing, self._closing = self._closing, ExitStack()
        with contextlib.suppress(Exception):  # it is broken already
            closing.close()
        if place is not None:
            with contextlib.suppress(OSError):
                place.rename(place.with_suffix(INTERRUPTED))

    def close(self) -> None:
        """Close and rename the segment that is open, if any."""
        if self._open is not None:
            self.before_close()
        place = self._open
        if place is None:  # none was, or handing over failed
            return
        closing, self._closing = self._closing, ExitStack()
        try:
            closing.close()
            place.rename(place.with_suffix(""))
        except (OSError, OutputError, ValueError) as error:
            self._give_up(error)
            return
        self._open = None
        self.closed(place.with_suffix(""))

    def end(self) -> None:
        """Close for good: what still waits is lost."""
        self.close()
        self.guard.lost += len(self._waiting)


class _CameraSegments(Sink):
    """One camera's way into the segments; the segments are closed by their owner."""

    def __init__(self, segments: Segments, camera: str) -> None:
        self._segments, self._camera = segments, camera

    def take(self, frame: Frame, tracks: Tracks) -> None:
        self._segments.take(self._camera, frame, tracks)

    def finish(self, tracklet: Tracklet) -> None:
        self._segments.finish(tracklet)
