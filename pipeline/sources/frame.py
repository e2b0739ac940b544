"""The source interface: frames, frame selection, and counts of frames given, skipped and lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded image: ``index`` from 0 in the source, ``time`` in seconds from its start, ``image`` (h, w, 3) uint8 BGR.

    ``skipped``, ``failed``: the source's counts before this frame; a source is decoded ahead, so its own counts run ahead of the run. The
    ``time`` of a live frame is wall time (seconds since 1970), known to ``uncertainty`` seconds; ``session`` numbers its camera's stretches
    of consistent time.
    """

    index: int
    time: float
    image: np.ndarray
    skipped: int = 0
    failed: int = 0
    uncertainty: float = 0.0
    session: int = 0


@dataclass(frozen=True)
class Selection:
    """Which frames to process: every ``every``-th one with ``start`` <= time < ``end`` (seconds; None: open)."""

    every: int = 1
    start: float | None = None
    end: float | None = None

    def wants(self, index: int, time: float) -> bool:
        return index % self.every == 0 and (self.start is None or time >= self.start)

    def past(self, time: float) -> bool:
        return self.end is not None and time >= self.end


@dataclass
class Progress:
    """Counts of a source while it is read: frames ``given``, ``skipped`` by the selection, and ``failed`` (not decodable).

    ``error``: why the source ended early, or None. ``warnings``: problems that did not end it, without repeats.
    """

    given: int = 0
    skipped: int = 0
    failed: int = 0
    error: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def frames_in(self) -> int:
        return self.given + self.skipped + self.failed

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


class Source(Protocol):
    """A source of frames. ``frames``: their number, None if unknown. ``read`` may be called once."""

    path: Path
    width: int
    height: int
    rate: float
    frames: int | None
    progress: Progress

    def read(self, selection: Selection) -> Iterator[Frame]: ...
