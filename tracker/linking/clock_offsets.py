"""How far the clocks of two cameras are apart, from the people whom both have seen: in overlapping views at once, over a link one after the other."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from tracker.site import Site

MOST_SHIFT, STEP = 10.0, 0.1  # seconds: how far two paths are shifted against each other, and how finely
LEAST_WALK = 1.0  # metres that a person must walk to tell the time
KEPT, ENOUGH = 60, 5  # samples: the latest that count, and how many it takes


@dataclass(frozen=True)
class ClockOffset:
    """The clock of camera ``b`` is ``seconds`` ahead of that of ``a``, known to ``uncertainty`` seconds by ``samples`` people."""

    a: str
    b: str
    seconds: float
    uncertainty: float
    samples: int
    by: Literal["views", "links"]


def shift_between(a: np.ndarray, b: np.ndarray) -> float | None:
    """Seconds by which path ``b`` is later than path ``a``, both (k, 3): seconds and metres x, y of one person; None where they do not tell.

    They do where the person walks, and where one shift fits clearly better than those around.
    """
    if len(a) < 5 or len(b) < 5:
        return None
    shifts = np.arange(-MOST_SHIFT, MOST_SHIFT + STEP / 2, STEP)
    times = a[:, 0] + shifts[:, None]
    inside = (times >= b[0, 0]) & (times <= b[-1, 0])
    apart = np.hypot(np.interp(times, b[:, 0], b[:, 1]) - a[:, 1], np.interp(times, b[:, 0], b[:, 2]) - a[:, 2])
    smooth = np.stack([np.convolve(column, np.full(5, 0.2), "same") for column in a[:, 1:].T], 1)[2:-2]
    cost = np.full(len(shifts), np.inf)
    for at in np.flatnonzero(inside.sum(1) >= 5).tolist():
        seen = smooth[inside[at, 2:-2]]
        if len(seen) and np.hypot(*np.ptp(seen, axis=0)) >= LEAST_WALK:
            cost[at] = np.median(apart[at, inside[at]])
    best = int(np.argmin(cost))
    if not np.isfinite(cost[best]) or best in (0, len(shifts) - 1):
        return None
    around = cost[max(0, best - round(1 / STEP)) : best + round(1 / STEP) + 1]
    if (
        np.isinf(around).any() or min(around[0], around[-1]) < cost[best] + 0.3
    ):  # a second off must cost 0.3 m: who hardly moves tells nothing
        return None
    low, mid, high = cost[best - 1 : best + 2].tolist()
    bend = low - 2 * mid + high
    return float(shifts[best] + (STEP / 2 * (low - high) / bend if bend > 0 else 0.0))


@dataclass
class ClockOffsets:
    """Collects what people tell of the clocks. Times are of the site's clock: ``Site`` offsets are in them already."""

    site: Site = field(default_factory=Site)

    def __post_init__(self) -> None:
        self._shifts: dict[tuple[str, str], deque[float]] = {}
        self._ways: dict[tuple[str, str], deque[float]] = {}
        self._planes = {name: plane for name, place in self.site.cameras.items() if (plane := place.homography()) is not None}

    def seen_by_both(self, a: str, path_a: np.ndarray, b: str, path_b: np.ndarray) -> None:
        """One person in two views; paths (k, 3) seconds and px of the feet."""
        if a > b:
            a, path_a, b, path_b = b, path_b, a, path_a
        if a in self._planes and b in self._planes and a != b:
            shift = shift_between(self._on_floor(a, path_a), self._on_floor(b, path_b))
            if shift is not None:
                self._shifts.setdefault((a, b), deque(maxlen=KEPT)).append(shift)

    def walked(self, start: str, end: str, seconds: float) -> None:
        """One person left the view of ``start`` and came into that of ``end`` ``seconds`` later, by a link."""
        if start != end and self.site.link(start, end) is not None:
            self._ways.setdefault((start, end), deque(maxlen=KEPT)).append(seconds)

    def estimates(self) -> list[ClockOffset]:
        """What is known, in order of the cameras' names; overlapping views go before links."""
        found = {pair: self._of(pair, shifts, "views") for pair, shifts in self._shifts.items() if len(shifts) >= ENOUGH}
        for start, end in list(self._ways):
            pair = (min(start, end), max(start, end))
            if pair not in found and (estimate := self._by_link(*pair)) is not None:
                found[pair] = estimate
        return [found[pair] for pair in sorted(found)]

    def _by_link(self, a: str, b: str) -> ClockOffset | None:
        """From both directions, which take as long; or from one whose typical time is known."""
        there, back = self._ways.get((a, b), ()), self._ways.get((b, a), ())
        if min(len(there), len(back)) >= ENOUGH:
            one, other = self._of((a, b), there, "links"), self._of((a, b), back, "links")
            uncertainty = float(np.hypot(one.uncertainty, other.uncertainty) / 2)
            return ClockOffset(a, b, (one.seconds - other.seconds) / 2, uncertainty, one.samples + other.samples, "links")
        for start, end, seconds, sign in ((a, b, there, 1), (b, a, back, -1)):
            link = self.site.link(start, end)
            if link is not None and link.typical_time is not None and len(seconds) >= ENOUGH:
                one = self._of((a, b), seconds, "links")
                uncertainty = float(np.hypot(one.uncertainty, 0.2 * link.typical_time))  # what "typical" means is a guess
                return ClockOffset(a, b, sign * (one.seconds - link.typical_time), uncertainty, one.samples, "links")
        return None

    def _of(self, pair: tuple[str, str], samples: deque[float] | tuple[float, ...], by: Literal["views", "links"]) -> ClockOffset:
        values = np.array(samples)
        middle = float(np.median(values))
        spread = 1.4826 * float(np.median(np.abs(values - middle)))
        return ClockOffset(*pair, middle, max(1.25 * spread / math.sqrt(len(values)), STEP / 2), len(values), by)

    def _on_floor(self, camera: str, path: np.ndarray) -> np.ndarray:
        points = np.c_[path[:, 1:], np.ones(len(path))] @ self._planes[camera].T
        return np.c_[path[:, 0], points[:, :2] / points[:, 2:]]
