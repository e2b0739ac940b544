"""The motion gate: skip the detector for frames in which nothing has changed since the last one that it processed."""

from __future__ import annotations

import cv2
import numpy as np

from pipeline.config import MotionGate

WIDTH = 320  # px of the downscaled image in which changes are searched


class StillScene:
    """The gate of one camera. Pass it every frame in order."""

    def __init__(self, settings: MotionGate) -> None:
        self.settings = settings
        self._reference: np.ndarray | None = None
        self._skipped = 0

    def needs_detector(self, image: np.ndarray) -> bool:
        """Whether the detector must process ``image``, (h, w, 3) uint8; it then becomes the reference for the next frames."""
        if not self.settings.max_skipped:
            return True
        small = reduced(image)
        still = (
            self._reference is not None
            and self._reference.shape == small.shape
            and float(np.abs(small - self._reference).max()) <= self.settings.change_threshold
        )
        if still and self._skipped < self.settings.max_skipped:
            self._skipped += 1
            return False
        self._reference, self._skipped = small, 0
        return True


def reduced(image: np.ndarray) -> np.ndarray:
    """Grey float32 image at most ``WIDTH`` px wide, blurred against noise."""
    height, width = image.shape[:2]
    scale = min(1.0, WIDTH / width)
    small = cv2.resize(image, (max(1, round(width * scale)), max(1, round(height * scale))), interpolation=cv2.INTER_AREA)
    return cv2.blur(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), (3, 3)).astype(np.float32)
