"""Pairwise quantities between boxes; all pure, all (rows, columns)."""

from __future__ import annotations

import numpy as np


def intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Shared area in px^2 of (n, 4) and (m, 4) boxes."""
    wide = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    high = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.maximum(wide, 0) * np.maximum(high, 0)


def area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of (n, 4) and (m, 4) boxes, in 0..1."""
    shared = intersection(a, b)
    return shared / (area(a)[:, None] + area(b)[None] - shared + 1e-9)


def visibility(boxes: np.ndarray) -> np.ndarray:
    """(n,) share of each box that no other box in front of it covers, by its worst coverer.

    In front is who stands lower in the picture: the fixed camera looks down on a floor.
    """
    if len(boxes) < 2:
        return np.ones(len(boxes))
    covered = intersection(boxes, boxes) / (area(boxes)[:, None] + 1e-9)
    covered[boxes[None, :, 3] <= boxes[:, None, 3]] = 0
    return 1 - covered.max(1)


def distance_in_sizes(position: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """(n, m) greater of the centre distances along x and y between (n, 4) and (m, 4) cx, cy, w, h, in the rows' sizes."""
    apart = np.abs(position[:, None, :2] - measured[None, :, :2]) / np.maximum(position[:, None, 2:], 1.0)
    return apart.max(2)
