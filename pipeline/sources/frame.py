"""The source interface: frames, frame selection, and counts of frames given, skipped and lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded image: ``index`` from 0 in the source, ``time`` in seconds from its start, ``image`` (h, w, 3) uint8 BGR.

    ``skipped``, ``failed``: the source's counts before this frame; a source is decoded ahead, so its own counts run ahead of the run. The
    ``time`` of a live frame is wall time (seconds since 1970), known to ``uncertainty`` seconds; ``session`` numbers its camera's stretches
    of consistent time. ``aspect``: width of a pixel over its height, of video whose pixels are not square.
    """

    index: int
    time: float
    image: np.ndarray
    skipped: int = 0
    failed: int = 0
    uncertainty: float = 0.0
    session: int = 0
    aspect: float = 1.0


@dataclass(frozen=True)
class Selection:
    """Which frames to process: every ``every``-th one with ``start`` <= time < ``end`` (seconds; None: open).

    ``first_index``, ``first_time``: of the first frame of this source within a longer one, such as a camera's segments.
    """

    every: int = 1
    start: float | None = None
    end: float | None = None
    first_index: int = 0
    first_time: float = 0.0

    def wants(self, index: int, time: float) -> bool:
        return (index + self.first_index) % self.every == 0 and (self.start is None or time + self.first_time >= self.start)

    def past(self, time: float) -> bool:
        return self.end is not None and time + self.first_time >= self.end

    def shifted(self, frames: int, seconds: float) -> Selection:
        """The selection for a source that begins ``frames`` frames and ``seconds`` seconds after this one's."""
        return replace(self, first_index=self.first_index + frames, first_time=self.first_time + seconds)


@dataclass
class Progress:
    """Counts of a source while it is read: frames ``given``, ``skipped`` by the selection, and ``failed`` (not decodable).

    ``time``: of the last frame that was decoded, given or skipped; None before the first. ``error``: why the source ended early, or None. ``warnings``: problems that did not end it, without repeats.
    """

    given: int = 0
    skipped: int = 0
    failed: int = 0
    time: float | None = None
    error: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def frames_in(self) -> int:
        return self.given + self.skipped + self.failed

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


@dataclass(frozen=True)
class Began:
    """The wall-clock time of a source's time 0: seconds since 1970, and what it comes from."""

    time: float
    origin: str


@dataclass
class SegmentCounts:
    """Files that one camera was recorded into: how many there are, how many could not be read, and how they follow each other.

    ``gaps``, ``gap_seconds``: time without a recording between files. ``overlaps``, ``overlap_frames``: files that begin before the one
    before them ends, and their frames that were left out. ``set_back``: files whose clock is behind the end of the one before.
    """

    files: int
    unreadable: int = 0
    gaps: int = 0
    gap_seconds: float = 0.0
    overlaps: int = 0
    overlap_frames: int = 0
    set_back: int = 0


class Source(Protocol):
    """A source of frames. ``frames``: their number, None if unknown; ``began``: wall time of its time 0, None if unknown; ``segments``:
    None for a single file. ``read`` may be called once.
    """

    path: Path
    width: int
    height: int
    rate: float
    frames: int | None
    progress: Progress
    began: Began | None
    segments: SegmentCounts | None

    def read(self, selection: Selection) -> Iterator[Frame]: ...
