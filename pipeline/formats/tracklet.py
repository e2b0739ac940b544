"""``Tracklet``: a finished track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracker import TrackerSettings

CROP_HEIGHT = 128  # px of a kept crop
PATH_POINTS = 64  # of a track's path, in an update for the online linker
MAX_EMBEDDINGS = 16  # single embeddings kept per track, so that refinement can split tracks that switch person
MIN_VISIBILITY = TrackerSettings().min_gallery_visibility  # uncovered share of a box from which its crop shows one person


@dataclass(frozen=True, eq=False)
class Tracklet:
    """A finished track of one camera.

    ``frames`` (n,) from 1, ``times`` (n,) seconds, ``boxes`` (n, 4) x1, y1, x2, y2 px, ``scores`` (n,); ``embedding`` (d,) float32 unit: the
    mean over ``embeddings_count`` crops, weighted by quality, or None; ``quality`` in 0..1: mean of visibility times score over these crops;
    ``crops``: JPEG, spread over the track, at ``crop_times`` seconds; ``best_crop``: index of the crop of best quality; ``embedding_times``
    (k,) seconds and ``embeddings`` (k, d) float32: single embeddings of uncovered crops, spread over the track.
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


def feet_path(times: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """(k, 3) seconds and x, y px of the foot points, from ``times`` (k,) and ``boxes`` (k, 4)."""
    return np.c_[times, (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]]
