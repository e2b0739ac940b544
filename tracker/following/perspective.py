"""The perspective of a fixed camera, learnt from its own tracks: how tall people are by where their feet are, and what that says of boxes.

A camera that looks at a floor from one place sees heights grow linearly with the image row of the feet (Hoiem, Efros, Hebert, Putting objects in
perspective, CVPR 2006). The line is fitted robustly (Theil, 1950; Sen, 1968), so that the boxes it is there to find do not bend it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from pydantic import Field

from detectors.detections import Detections
from detectors.runtime.settings import Seconds, Settings, Share
from tracker.following.costs import area, intersection

INSIDE = 0.8  # share of a box within another that holds it
COVERED = 0.7  # share of the width, or of the height, of a box of several that its parts span together
APART = 0.5  # share of a part that another part may cover
LEAST_SPREAD = 0.08  # of heights: people differ by as much
LEAST_WIDTH_SPREAD = 0.2
BELOW = 1e-3  # under the tracker's high threshold


class PerspectiveSettings(Settings):
    """The learnt perspective of each camera. Off until a camera has seen enough people."""

    enabled: bool = Field(
        default=False,
        title="Enabled",
        description="Learn how tall people are by place. A box far off that holds several people is replaced by them.",
    )
    min_tracks: int = Field(default=8, ge=2, title="Minimum tracks", description="Confident tracks needed before anything is changed.")
    min_samples: int = Field(default=60, ge=10, title="Minimum samples", description="Boxes of such tracks needed.")
    interval: Seconds = Field(default=0.5, ge=0, title="Interval", description="Time between two boxes of one track that are learnt from.")
    min_age: Seconds = Field(default=1.0, ge=0, title="Minimum age", description="Age of a track from which it is learnt from.")
    max_spread: Share = Field(
        default=0.2,
        title="Maximum spread",
        description="Relative spread of heights around the line over which it is not used: no such line fits.",
    )
    deviation: float = Field(
        default=3.0, gt=0, title="Deviation", description="Spreads from which a box is too tall or too wide to be one person."
    )
    penalty: Share = Field(
        default=0.3, title="Penalty", description="Share that the score of a box loses that is too tall or too wide for its place. 0: none."
    )


@dataclass(frozen=True)
class Line:
    """Height in px of people whose feet are at image row y: ``slope`` * y + ``offset``, between the rows ``low`` and ``high``.

    ``spread``: relative standard deviation of heights around it; ``shape``: width over height; ``shape_spread``: its relative deviation.
    """

    slope: float
    offset: float
    spread: float
    shape: float
    shape_spread: float
    low: float
    high: float

    def heights(self, feet: np.ndarray) -> np.ndarray:
        """(n,) expected heights at rows ``feet`` (n,); NaN where the line says nothing."""
        expected = self.slope * feet + self.offset
        return np.where((feet >= self.low) & (feet <= self.high) & (expected > 1), expected, np.nan)


def fit(boxes: np.ndarray) -> Line:
    """The line of (n, 4) boxes of standing people, n >= 2."""
    feet, heights = boxes[:, 3].astype(np.float64), (boxes[:, 3] - boxes[:, 1]).astype(np.float64)
    first, second = np.triu_indices(len(boxes), 1)
    apart = feet[second] - feet[first]
    use = np.abs(apart) > 0.1 * np.median(heights)  # nearer ones say nothing of the slope
    slope = float(np.median((heights[second] - heights[first])[use] / apart[use])) if use.any() else 0.0
    offset = float(np.median(heights - slope * feet))
    expected = np.maximum(slope * feet + offset, 1.0)
    shapes = (boxes[:, 2] - boxes[:, 0]) / expected
    shape, margin = float(np.median(shapes)), 0.5 * float(np.median(heights))
    return Line(
        slope, offset, deviation(heights / expected - 1), shape, deviation(shapes / shape - 1), float(feet.min()) - margin, float(feet.max()) + margin
    )  # fmt: skip


def deviation(values: np.ndarray) -> float:
    """Robust standard deviation around the median."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


class Perspective:
    """What one camera has learnt. ``screen`` uses it, ``learn`` extends it; both in order of time, and with the same input the same.

    ``high``: the tracker's high threshold. ``counts``: boxes dropped, split, and scored down so far.
    """

    MOST, OF_TRACK, REFIT = 400, 20, 20  # boxes kept, boxes of one track, new boxes before the line is fitted again

    def __init__(self, settings: PerspectiveSettings, high: float) -> None:
        self.settings, self.high = settings, high
        self.line: Line | None = None
        self.counts = {"dropped": 0, "split": 0, "scored_down": 0}
        self._samples: deque[tuple[int, np.ndarray]] = deque(maxlen=self.MOST)
        self._tracks: dict[int, tuple[float, float, int]] = {}  # first seen, last learnt from, boxes learnt from
        self._new = 0

    def learn(
        self, ids: np.ndarray, boxes: np.ndarray, scores: np.ndarray, visibility: np.ndarray, time: float, width: int, height: int
    ) -> None:
        """The confirmed tracks of a frame of ``width`` x ``height`` px: row-aligned ids, (n, 4) boxes px, scores, and shares not covered."""
        if not self.settings.enabled:
            return
        edge = 0.01 * np.array([width, height, width, height])
        inside = ((boxes[:, :2] > edge[:2]) & (boxes[:, 2:] < np.array([width, height]) - edge[2:])).all(1)
        upright = (boxes[:, 3] - boxes[:, 1]) > 1.5 * (boxes[:, 2] - boxes[:, 0])
        good = inside & upright & (scores >= self.high) & (visibility >= 0.9)
        for row, id in enumerate(ids.tolist()):
            first, last, number = self._tracks.get(id, (time, -np.inf, 0))
            if good[row] and time - first >= self.settings.min_age and time - last >= self.settings.interval and number < self.OF_TRACK:
                self._samples.append((id, boxes[row].astype(np.float64)))
                self._new += 1
                last, number = time, number + 1
            self._tracks[id] = first, last, number
        if self._new >= self.REFIT or (self.line is None and self._new):
            self._refit()

    def forget(self, held: np.ndarray) -> None:
        """Forget when tracks that are no longer ``held`` began; what was learnt from them stays."""
        if len(self._tracks) > 2 * len(held) + 100:
            kept = set(held.tolist())
            self._tracks = {id: value for id, value in self._tracks.items() if id in kept}

    def _refit(self) -> None:
        tracks = len({id for id, _ in self._samples})
        if len(self._samples) < self.settings.min_samples or tracks < self.settings.min_tracks:
            return
        self._new = 0
        line = fit(np.stack([box for _, box in self._samples]))
        self.line = line if line.spread <= self.settings.max_spread else None

    def screen(self, found: Detections) -> Detections:
        """Detections with boxes of several people replaced by those, and implausible ones scored down.

        A box too tall or too wide for its place is dropped if two or more smaller boxes that fit span it: the best of them take its score. If one
        does, what it leaves of the box stays with a score just under the high threshold, at which nothing is embedded.
        """
        if self.line is None or not len(found):
            return found
        boxes, scores = found.boxes.astype(np.float64), found.scores.astype(np.float64)
        expected = self.line.heights(boxes[:, 3])
        tall = (boxes[:, 3] - boxes[:, 1]) / expected
        wide = (boxes[:, 2] - boxes[:, 0]) / (expected * self.line.shape)
        limit = 1 + self.settings.deviation * max(self.line.spread, LEAST_SPREAD)
        wide_limit = 1 + self.settings.deviation * max(self.line.shape_spread, LEAST_WIDTH_SPREAD)
        too_big = (tall > limit) | (wide > wide_limit)  # False where nothing is known
        fits = (np.abs(tall - 1) <= limit - 1) & (wide <= wide_limit)
        keep, changed = np.ones(len(found), bool), boxes.copy()
        within = intersection(boxes, boxes) / np.maximum(area(boxes), 1e-9)[:, None]  # share of a row's box within a column's
        for row in np.flatnonzero(too_big).tolist():
            parts = self._parts(row, boxes, scores, within, fits)
            if len(parts) >= 2 and spans(boxes[parts], boxes[row]):
                keep[row] = False
                scores[parts] = np.maximum(scores[parts], scores[row])
                self.counts["dropped"] += 1
            elif len(parts) and (rest := remainder(boxes[row], boxes[parts], expected[row] * self.line.shape)) is not None:
                changed[row] = rest
                scores[parts] = np.maximum(scores[parts], scores[row])
                scores[row] = min(scores[row], self.high - BELOW)
                self.counts["split"] += 1
        if self.settings.penalty:
            odd = keep & too_big  # what is too small may be a person who sits or is half hidden
            scores[odd] *= 1 - self.settings.penalty
            self.counts["scored_down"] += int(odd.sum())
        return Detections(changed[keep], scores[keep].clip(0, 1))

    def _parts(self, row: int, boxes: np.ndarray, scores: np.ndarray, within: np.ndarray, fits: np.ndarray) -> list[int]:
        """Rows of boxes that fit a person and lie in the box ``row``, best score first, none of them mostly covered by a better one."""
        candidates = np.flatnonzero((within[:, row] >= INSIDE) & fits)
        parts: list[int] = []
        for one in candidates[np.lexsort((*boxes[candidates].T, -scores[candidates]))].tolist():
            if one != row and all(within[one, other] < APART for other in parts):
                parts.append(one)
        return parts


def spans(parts: np.ndarray, whole: np.ndarray) -> bool:
    """Whether (n, 4) parts together reach over most of the ``whole`` box (4,), from left to right and from top to bottom."""
    low, high = parts[:, :2].min(0), parts[:, 2:].max(0)
    sides = np.maximum(whole[2:] - whole[:2], 1e-9)
    return bool(((np.minimum(high, whole[2:]) - np.maximum(low, whole[:2])) / sides >= COVERED).all())


def remainder(whole: np.ndarray, parts: np.ndarray, width: float) -> np.ndarray | None:
    """The wider strip left or right of the ``parts`` (n, 4) in a box, at least half as wide as a person (``width`` px), or None."""
    left, right = parts[:, 0].min() - whole[0], whole[2] - parts[:, 2].max()
    if max(left, right) < 0.5 * width:
        return None
    out = whole.copy()
    if left >= right:
        out[2] = whole[0] + left
    else:
        out[0] = whole[2] - right
    return out
