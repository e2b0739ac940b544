"""``Tracklet``: a finished track, and how it grew: what the on-line linker got to know of it, and when."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tracker import TrackerSettings, TrackletUpdate

CROP_HEIGHT = 128  # px of a kept crop
PATH_POINTS = 64  # of a track's path, in an update for the online linker
WEIGHT_GROWTH = 1.25  # times the weight of the last pooled embedding noted from which on the next one is
MAX_EMBEDDINGS = 16  # single embeddings kept per track, so that refinement can split tracks that switch person
MIN_VISIBILITY = TrackerSettings().min_gallery_visibility  # uncovered share of a box from which its crop shows one person


@dataclass(frozen=True, eq=False)
class Growth:
    """How a track grew: from ``times`` (g,) seconds on, its pooled embedding weighed ``weights`` (g,), the sum of its crops' qualities, and was
    ``embeddings`` (g, d) float16.

    Where earlier parts of the track were cut off, ``began`` is the time at which it began, and ``before`` (k, 3) its path until the cut.
    """

    times: Sequence[float] = ()
    weights: Sequence[float] = ()
    embeddings: Sequence[np.ndarray] = ()
    began: float | None = None
    before: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Tracklet:
    """A finished track of one camera.

    ``frames`` (n,) from 1, ``times`` (n,) seconds, ``boxes`` (n, 4) x1, y1, x2, y2 px, ``scores`` (n,); ``embedding`` (d,) float32 unit: the
    mean over ``embeddings_count`` crops, weighted by quality, or None; ``quality`` in 0..1: mean of visibility times score over these crops;
    ``crops``: JPEG, spread over the track, at ``crop_times`` seconds; ``best_crop``: index of the crop of best quality; ``embedding_times``
    (k,) seconds and ``embeddings`` (k, d) float32: single embeddings of uncovered crops, spread over the track; ``growth``: of its pooled
    embedding.
    """

    camera: str
    track: int
    frames: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    embedding: np.ndarray | None
    embeddings_count: int
    quality: float
    crops: tuple[bytes, ...]
    crop_times: tuple[float, ...]
    best_crop: int
    embedding_times: np.ndarray
    embeddings: np.ndarray
    growth: Growth = Growth()


def feet_path(times: Sequence[float] | np.ndarray, boxes: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
    """(k, 3) seconds and x, y px of the foot points, from ``times`` (k,) and ``boxes`` (k, 4)."""
    corners = np.asarray(boxes, np.float32).reshape(-1, 4).astype(np.float64)
    return np.c_[np.asarray(times, np.float64), (corners[:, 0] + corners[:, 2]) / 2, corners[:, 3]]


def update_until(
    camera: str, track: int, times: Sequence[float] | np.ndarray, boxes: Sequence[np.ndarray] | np.ndarray, growth: Growth, until: float
) -> TrackletUpdate | None:
    """What the on-line linker gets to know of a track up to ``until`` seconds; None before its first box.

    ``times`` (n,) and ``boxes`` (n, 4) in their order. The same for a track that grows and for a recorded one.
    """
    count, known = bisect_right(times, until), bisect_right(growth.times, until)
    if not count:
        return None
    last = slice(max(0, count - PATH_POINTS), count)
    path = feet_path(times[last], boxes[last])
    if growth.before is not None:
        path = np.concatenate([growth.before, path])[-PATH_POINTS:]
    began = times[0] if growth.began is None else growth.began
    embedding, weight = None, 0.0
    if known:
        embedding, weight = growth.embeddings[known - 1].astype(np.float32), float(growth.weights[known - 1])
        embedding = embedding / max(float(np.linalg.norm(embedding)), 1e-9)
    return TrackletUpdate(camera, track, float(began), float(times[count - 1]), embedding, weight, path)
