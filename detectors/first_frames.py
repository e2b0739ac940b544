"""A look at what a detector finds in the first pictures: a model that is misread says so once, instead of giving no tracks in silence."""

from __future__ import annotations

import logging

import numpy as np

PICTURES = 50  # looked at
MIN_BOXES = 5  # that say anything of their places
MIN_SCORES = 10  # that say anything of their spread
MIN_SIDE = 2.0  # px of a box

log = logging.getLogger(__name__)


class FirstFrames:
    """Counts what is found in the first ``PICTURES`` pictures, and then warns: nothing at all, boxes outside of the picture, boxes of no
    size, or one score for all.

    ``model``: how messages name it; ``advice``: what to do.
    """

    def __init__(self, model: str, advice: str) -> None:
        self.model, self.advice = model, advice
        self.pictures = self.boxes = self.outside = self.tiny = 0
        self.lowest, self.highest = np.inf, -np.inf
        self.done = False

    def add(self, height: int, width: int, boxes: np.ndarray, scores: np.ndarray) -> None:
        """One picture of ``height`` x ``width`` px; its (n, 4) boxes, not clipped to it, and (n,) scores."""
        if self.done:
            return
        self.pictures += 1
        if len(boxes):
            centre = (boxes[:, :2] + boxes[:, 2:]) / 2
            inside = ((centre >= 0) & (centre <= [width, height])).all(1)  # NaN is not inside
            self.boxes += len(boxes)
            self.outside += int((~inside).sum())
            self.tiny += int(((boxes[:, 2:] - boxes[:, :2]) < MIN_SIDE).any(1).sum())
            self.lowest, self.highest = min(self.lowest, float(scores.min())), max(self.highest, float(scores.max()))
        if self.pictures >= PICTURES:
            self.finish()

    def finish(self) -> None:
        """Warn about the pictures so far, if this has not been done; a run calls it at its end."""
        if self.done or not self.pictures:
            return
        self.done = True
        if problems := self.problems():
            log.warning("%s: in the first %d pictures %s. %s", self.model, self.pictures, "; ".join(problems), self.advice)

    def problems(self) -> list[str]:
        """What does not look like detections."""
        if not self.boxes:
            return ["it detects nothing at all"]
        found = []
        if self.boxes >= MIN_BOXES and self.outside > self.boxes / 2:
            found.append(f"{self.outside} of {self.boxes} boxes lie outside of the picture")
        if self.boxes >= MIN_BOXES and self.tiny > self.boxes / 2:
            found.append(f"{self.tiny} of {self.boxes} boxes are less than {MIN_SIDE:.0f} px wide or high")
        if self.boxes >= MIN_SCORES and self.highest - self.lowest < 1e-6:
            found.append(f"all {self.boxes} boxes have the score {self.highest:.3g}")
        return found
