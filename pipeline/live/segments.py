"""What live cameras write: segments, each a folder like a run's. One is written under ``NAME.open`` and renamed when it is closed.

``passerby associate OUT/segments/*`` reads them like any runs. After a crash the last one keeps its tracks as text under ``NAME.interrupted``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import Config
from pipeline.formats.tracklet import Tracklet
from pipeline.sinks.sink import Sink
from pipeline.sinks.tracklets import TrackletFiles
from pipeline.sinks.tracks_text import TracksText
from pipeline.sources.frame import Frame
from tracker import Tracks

log = logging.getLogger(__name__)
OPEN, INTERRUPTED = ".open", ".interrupted"


class Segments:
    """Segments of ``live.segment`` seconds below ``folder`` for all ``cameras``. ``sink(camera)`` is what a camera's run is handed.

    ``before_close`` is called before a segment is closed, so that growing tracks can hand over what they have. Raises OSError where the
    folder cannot be written.
    """

    def __init__(
        self, folder: Path, cameras: Sequence[str], config: Config, facts: dict[str, str], before_close: Callable[[], None] = lambda: None
    ) -> None:
        self.folder, self.cameras, self.facts, self.before_close = folder, tuple(cameras), facts, before_close
        self.seconds, self.fill = config.live.segment, config.output.max_fill_gap
        folder.mkdir(parents=True, exist_ok=True)
        for left in sorted(folder.glob(f"*{OPEN}")):
            log.warning("%s: left by an interrupted run; its text files are complete so far", left)
            left.rename(left.with_suffix(INTERRUPTED))
        self._open: Path | None = None
        self._began = 0.0
        self._closing = ExitStack()
        self._text: dict[str, TracksText] = {}
        self._tracklets: TrackletFiles | None = None

    def sink(self, camera: str) -> Sink:
        return _CameraSegments(self, camera)

    def roll(self, wall: float) -> None:
        """Close the segment if it is ``seconds`` old at ``wall`` (seconds since 1970)."""
        if self._open is not None and wall - self._began >= self.seconds:
            self.close()

    def text(self, camera: str, wall: float) -> TracksText:
        self._ensure(wall)
        return self._text[camera]

    def tracklets(self, wall: float) -> TrackletFiles:
        self._ensure(wall)
        assert self._tracklets is not None
        return self._tracklets

    def _ensure(self, wall: float) -> None:
        if self._open is not None:
            return
        name = datetime.fromtimestamp(wall, UTC).strftime("%Y%m%dT%H%M%S")
        place, number = self.folder / f"{name}{OPEN}", 1
        while place.exists() or place.with_suffix("").exists():
            place, number = self.folder / f"{name}-{number}{OPEN}", number + 1
        place.mkdir(parents=True)
        with ExitStack() as opened:
            self._tracklets = TrackletFiles(place, self.facts)
            opened.callback(self._tracklets.close)
            for camera in self.cameras:
                (place / camera).mkdir()
                self._text[camera] = TracksText(place / camera / "tracks.txt", self.fill)
                opened.callback(self._text[camera].close)
            self._closing = opened.pop_all()
        self._open, self._began = place, wall

    def close(self) -> None:
        """Close and rename the segment that is open, if any."""
        if self._open is None:
            return
        self.before_close()
        place, self._open = self._open, None
        self._closing.close()
        place.rename(place.with_suffix(""))


class _CameraSegments(Sink):
    """One camera's way into the segments; the segments are closed by their owner."""

    def __init__(self, segments: Segments, camera: str) -> None:
        self._segments, self._camera = segments, camera

    def take(self, frame: Frame, tracks: Tracks) -> None:
        self._segments.text(self._camera, frame.time).take(frame, tracks)

    def finish(self, tracklet: Tracklet) -> None:
        self._segments.tracklets(float(tracklet.times[-1])).finish(tracklet)
