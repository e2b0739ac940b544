"""What every source gives: frames, and counts of those lost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded image: ``index`` from 0 in the source, ``time`` in seconds from its start, ``image`` (h, w, 3) uint8 BGR.

    ``skipped`` and ``failed`` frames came before it: a source is read ahead, and a run may end between. A live frame's ``time`` is wall time
    (seconds since 1970), known to ``uncertainty`` seconds; ``session`` counts its camera's stretches of time that fit together.
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
    """Counts while a source is read: frames ``given``, ``skipped`` on request, ``failed``, and what went wrong.

    ``error`` is set where the source ended before its end; ``warnings`` are single events, each said once.
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
    """What the engine reads: facts known beforehand (``frames``: None where unknown), and the frames, once."""

    path: Path
    width: int
    height: int
    rate: float
    frames: int | None
    progress: Progress

    def read(self, selection: Selection) -> Iterator[Frame]: ...
