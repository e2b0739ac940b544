"""``Tracklet``: what is kept of a finished track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tracker import TrackerSettings

CROP_HEIGHT = 128  # px of a kept crop
PATH_POINTS = 64  # of a track's path that the on-line linker is told
MAX_EMBEDDINGS = 16  # single embeddings kept of a track, to see later whether it changed person
LEAST_VISIBLE = TrackerSettings().min_gallery_visibility  # share of a box that nobody covers, from which its crop shows one person


@dataclass(frozen=True, eq=False)
class Tracklet:
    """A finished track as a row.

    ``frames`` (n,) from 1, ``times`` (n,) seconds, ``boxes`` (n, 4) x1, y1, x2, y2 px, ``scores`` (n,); ``embedding`` (d,)
    float32 unit, pooled over ``embeddings_count`` crops with their quality as weight, or None; ``quality`` in 0..1: mean visibility times
    score of these crops; ``crops``: JPEG, spread over its life, at ``crop_times`` seconds; ``best_crop``: index of that of best quality;
    ``embedding_times`` (k,) seconds and ``embeddings`` (k, d) float32: single embeddings of uncovered crops, spread over its life.
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
    """(k, 3) seconds and the feet's x, y in px, of ``times`` (k,) and ``boxes`` (k, 4)."""
    return np.c_[times, (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]]
