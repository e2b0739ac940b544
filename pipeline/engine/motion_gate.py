"""The motion gate: no detector for a picture in which nothing has changed since the last one that it saw."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.config import MotionGate

WIDTH = 320  # px of the small picture that is compared: a cell of it is a hand's breadth of a person near, a person far away


class StillScene:
    """One camera's gate: which of its frames, given one after the other, need the detector."""

    def __init__(self, settings: MotionGate) -> None:
        self.settings = settings
        self._seen: np.ndarray | None = None
        self._skipped = 0

    def needs_detector(self, image: np.ndarray) -> bool:
        """Whether (h, w, 3) uint8 ``image`` is to be looked at; it is then what the next ones are compared with."""
        if not self.settings.max_skipped:
            return True
        small = reduced(image)
        still = (
            self._seen is not None
            and self._seen.shape == small.shape
            and float(np.abs(small - self._seen).max()) <= self.settings.change_threshold
        )
        if still and self._skipped < self.settings.max_skipped:
            self._skipped += 1
            return False
        self._seen, self._skipped = small, 0
        return True


def reduced(image: np.ndarray) -> np.ndarray:
    """Grey float32, ``WIDTH`` px wide at most, single pixels' noise averaged away."""
    height, width = image.shape[:2]
    scale = min(1.0, WIDTH / width)
    small = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    return cv2.blur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (3, 3)).astype(np.float32)
