"""Pairwise quantities of boxes: pure functions that return (rows, columns)."""

from __future__ import annotations

import numpy as np

from tracker.following.kalman import Motion, to_centre


def intersection(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) intersection areas in px^2 of (n, 4) and (m, 4) boxes."""
    wide = np.minimum(a[:, None, 2], b[None, :, 2]) - np.maximum(a[:, None, 0], b[None, :, 0])
    high = np.minimum(a[:, None, 3], b[None, :, 3]) - np.maximum(a[:, None, 1], b[None, :, 1])
    return np.maximum(wide, 0) * np.maximum(high, 0)


def area(boxes: np.ndarray) -> np.ndarray:
    """(n,) areas in px^2."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m) intersection over union of (n, 4) and (m, 4) boxes, in 0..1."""
    shared = intersection(a, b)
    return shared / (area(a)[:, None] + area(b)[None] - shared + 1e-9)


def visibility(boxes: np.ndarray) -> np.ndarray:
    """(n,) visible share of each box: 1 minus the largest share covered by one box in front of it.

    A box is in front if its lower edge is lower in the image: the camera is fixed and looks down on a floor.
    """
    if len(boxes) < 2:
        return np.ones(len(boxes))
    covered = intersection(boxes, boxes) / (area(boxes)[:, None] + 1e-9)
    covered[boxes[None, :, 3] <= boxes[:, None, 3]] = 0
    return 1 - covered.max(1)


def negative_log_likelihood(motion: Motion, measured: np.ndarray, noise: float, tail: float) -> np.ndarray:
    """(n, m) negative log likelihood (nats) of ``measured`` (m, 4) under n predictions; lengths in predicted heights.

    Uses centre x, centre y and height; the width changes with arms and legs. A Student t distribution with ``tail`` degrees of freedom
    replaces the normal one, because boxes of partly hidden people jump (Lange et al., 1989). The covariance term favours tracks with a
    certain prediction over tracks with an uncertain one.
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
    """(4,) bounding rectangle x1, y1, x2, y2 of all boxes (n, 4)."""
    return np.concatenate([boxes[:, :2].min(0), boxes[:, 2:].max(0)])


def at_edge(boxes: np.ndarray, scene: np.ndarray, edge: float) -> np.ndarray:
    """(n,) bool: boxes within ``edge`` times their height of the edge of ``scene`` (4,), where people leave and enter."""
    margin = edge * np.maximum(boxes[:, 3:] - boxes[:, 1:2], 1.0)
    return ((boxes[:, :2] - scene[:2] < margin) | (scene[2:] - boxes[:, 2:] < margin)).any(1)


def return_odds(
    last: np.ndarray, first: np.ndarray, gap: np.ndarray, scene: np.ndarray, reach: float, reach_per_second: float
) -> np.ndarray:
    """(n, m) log odds, from place and size, that the person last seen at ``last`` (n, 4) reappears at ``first`` (m, 4).

    After ``gap`` (n, m) or (n, 1) seconds the same person is normally distributed around the last place, with a standard deviation of
    ``reach`` plus ``reach_per_second`` heights, and 20 % in height; another person is uniformly distributed over ``scene`` (4,).
    """
    a, b = to_centre(last), to_centre(first)
    height = np.maximum(a[:, 3:], 1.0)
    area = np.maximum(np.prod(scene[2:] - scene[:2]) / height**2, 4.0)
    apart = np.hypot(b[None, :, 0] - a[:, :1], b[None, :, 1] - a[:, 1:2]) / height
    sigma = reach + reach_per_second * np.maximum(gap, 0)
    size = np.log(np.maximum(b[None, :, 3], 1.0) / height) / 0.2
    return np.log(area / (2 * np.pi * sigma**2)) - 0.5 * (apart / sigma) ** 2 - 0.5 * size**2
