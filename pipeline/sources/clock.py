"""Frame times from presentation timestamps."""

from __future__ import annotations

import math
from fractions import Fraction

from pipeline.sources.frame import Progress

LONGEST_GAP = 30 * 86400.0  # s within one file: more is a clock that was set while it recorded


class _Clock:
    """Seconds since the first frame, from timestamps that may be missing, jump back, or jump ahead by months."""

    def __init__(self, rate: float) -> None:
        self.step = 1 / rate
        self.last: float | None = None
        self.shift = 0.0

    def time(self, pts: int | None, base: Fraction | None, progress: Progress) -> float:
        if pts is None or base is None:
            raw = None
        else:
            raw = float(pts * base)
            if self.last is None:
                self.shift = -raw
        if raw is None or not math.isfinite(raw):
            now = 0.0 if self.last is None else self.last + self.step
        else:
            now = raw + self.shift
            if self.last is not None and now <= self.last:
                progress.warn(f"timestamps jump back after {self.last:.2f} s; times continue from there")
                self.shift += self.last + self.step - now
                now = self.last + self.step
            elif self.last is not None and now - self.last > LONGEST_GAP:
                progress.warn(f"timestamps jump ahead by {now - self.last:.0f} s after {self.last:.2f} s; times continue from there")
                self.shift += self.last + self.step - now
                now = self.last + self.step
        self.last = now
        return now
