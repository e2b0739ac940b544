"""Letterboxing: fit an image into a model's input, and map boxes back to the image."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np


@dataclass(frozen=True)
class Fit:
    """Where an image of ``height`` x ``width`` px lies in the input: scaled by ``scale_x``, ``scale_y``, offset by ``left``, ``top`` px."""

    height: int
    width: int
    scale_x: float
    scale_y: float
    left: int
    top: int

    def to_source(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 4) boxes in input pixels -> source pixels, clipped to the image."""
        return self.unclipped(boxes).clip(0, np.array([self.width, self.height] * 2, np.float32)).astype(np.float32)

    def unclipped(self, boxes: np.ndarray) -> np.ndarray:
        """(n, 4) boxes in input pixels -> source pixels, also beyond the image."""
        return (boxes - np.array([self.left, self.top] * 2, np.float32)) / np.array([self.scale_x, self.scale_y] * 2, np.float32)


def as_bgr(image: np.ndarray) -> np.ndarray:
    """Convert a grey, 16-bit or four-channel image to (h, w, 3) uint8. Raises ValueError for anything else."""
    if image.size == 0 or image.ndim not in (2, 3):
        raise ValueError(f"an image must be (h, w), (h, w, 1), (h, w, 3) or (h, w, 4), not {image.shape}")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    if image.dtype != np.uint8:
        raise ValueError(f"an image must be uint8 or uint16, not {image.dtype}")
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2BGR)
    if channels == 4:
        return np.ascontiguousarray(image[..., :3])
    if channels != 3:
        raise ValueError(f"an image must have 1, 3 or 4 channels, not {channels}")
    return image


def input_size(height: int, width: int, longest: int, stride: int) -> tuple[int, int]:
    """(rows, columns) of the smallest input, in multiples of ``stride``, that holds the image scaled to ``longest`` px on its longest side."""
    scale = longest / max(height, width)
    rows, columns = (max(stride, int(np.ceil(round(side * scale) / stride)) * stride) for side in (height, width))
    return rows, columns


def letterbox(image: np.ndarray, rows: int, columns: int, centre: bool = True) -> tuple[np.ndarray, Fit]:
    """(h, w, 3) uint8 -> (rows, columns, 3) uint8 padded with grey (114), and its ``Fit``."""
    height, width = image.shape[:2]
    scale = min(rows / height, columns / width)
    h, w = max(1, round(height * scale)), max(1, round(width * scale))
    resized = image if (h, w) == (height, width) else cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR)
    top, left = ((rows - h) // 2, (columns - w) // 2) if centre else (0, 0)
    fit = Fit(height, width, w / width, h / height, left, top)
    if (h, w) == (rows, columns):
        return resized, fit
    out = np.full((rows, columns, 3), 114, np.uint8)
    out[top : top + h, left : left + w] = resized
    return out, fit


def stretch(image: np.ndarray, rows: int, columns: int) -> tuple[np.ndarray, Fit]:
    """(h, w, 3) uint8 -> (rows, columns, 3) uint8 whatever its proportions, and its ``Fit``."""
    height, width = image.shape[:2]
    resized = image if (rows, columns) == (height, width) else cv2.resize(image, (columns, rows), interpolation=cv2.INTER_LINEAR)
    return resized, Fit(height, width, columns / width, rows / height, 0, 0)
