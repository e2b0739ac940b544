"""Pairwise quantities between boxes; all pure, all (rows, columns)."""

from __future__ import annotations

import numpy as np

from tracker.following.kalman import Motion, to_centre


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


def extent(boxes: np.ndarray) -> np.ndarray:
    """(4,) the rectangle x1, y1, x2, y2 that holds all boxes (n, 4)."""
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def at_edge(boxes: np.ndarray, scene: np.ndarray, edge: float) -> np.ndarray:
    """(n,) boxes within ``edge`` of their heights of the edge of ``scene`` (4,): who ends there left, who begins there came."""
    margin = edge * np.maximum(boxes[:, 3:] - boxes[:, 1:2], 1.0)
    return ((boxes[:, :2] - scene[:2] < margin) | (scene[2:] - boxes[:, 2:] < margin)).any(1)


def return_odds(
    last: np.ndarray, first: np.ndarray, gap: np.ndarray, scene: np.ndarray, reach: float, reach_per_second: float
) -> np.ndarray:
    """(n, m) log odds, by place and size, that who was last seen as box ``last`` (n, 4) is found again as ``first`` (m, 4).

    After ``gap`` (n, m) or (n, 1) seconds out of sight one is found around the last place, with a standard deviation of ``reach``
    plus ``reach_per_second`` heights, and of the same height but for a fifth; somebody else, anywhere in ``scene`` (4,).
    """
    a, b = to_centre(last), to_centre(first)
    height = np.maximum(a[:, 3:], 1.0)
    area = np.maximum(np.prod(scene[2:] - scene[:2]) / height**2, 4.0)
    apart = np.hypot(b[None, :, 0] - a[:, :1], b[None, :, 1] - a[:, 1:2]) / height
    sigma = reach + reach_per_second * np.maximum(gap, 0)
    size = np.log(np.maximum(b[None, :, 3], 1.0) / height) / 0.2
    return np.log(area / (2 * np.pi * sigma**2)) - 0.5 * (apart / sigma) ** 2 - 0.5 * size**2
