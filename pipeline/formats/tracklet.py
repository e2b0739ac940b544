"""``Tracklet``: what is kept of a finished track."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Tracklet:
    """A finished track as a row.

    ``frames`` (n,) from 1, ``times`` (n,) seconds, ``boxes`` (n, 4) x1, y1, x2, y2 px, ``scores`` (n,); ``embedding`` (d,)
    float32 unit, pooled with the crops' quality as weight, or None; ``quality`` in 0..1: mean visibility times score of the
    crops embedded; ``crops``: JPEG pictures spread over its life; ``best``: index of the crop of best quality;
    ``look_times`` (k,) seconds and ``looks`` (k, d) float32: single embeddings of uncovered crops, spread over its life.
    """

    camera: str
    track: int
    frames: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    embedding: np.ndarray | None
    embeddings: int
    quality: float
    crops: tuple[bytes, ...]
    crop_times: tuple[float, ...]
    best: int
    look_times: np.ndarray
    looks: np.ndarray
