"""Pairwise quantities between boxes; all pure, all (rows, columns)."""

from __future__ import annotations

import numpy as np

from tracker.kalman import Motion


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


def misfit(motion: Motion, measured: np.ndarray, noise: float, tail: float) -> np.ndarray:
    """(n, m) negative log likelihood (nats) of ``measured`` (m, 4) under n predictions; lengths in the predicted heights.

    Centre x, centre y and height count; the width does not, an arm changes it. A Student distribution of ``tail`` degrees of
    freedom instead of the normal one, since boxes of half hidden people jump (Lange et al., 1989). The term of the covariance
    makes a track that nobody knows the place of yield to one that is expected just here.
    """
    height = np.maximum(motion.position[:, 3], 1.0)
    out = np.zeros((len(height), len(measured)))
    for axis in (0, 1, 3):
        variance = motion.pp[:, axis] + (noise * height) ** 2
        apart = measured[None, :, axis] - motion.position[:, axis, None]
        apart *= apart
        apart /= (variance * tail)[:, None]
        out += (tail + 1) * np.log1p(apart, out=apart)
        out += np.log(variance / height**2)[:, None]
    return 0.5 * out
