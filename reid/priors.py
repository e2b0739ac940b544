"""Coarse part priors for MPN's auxiliary tasks: which cells of the feature map belong to part k. Used in training only."""

from __future__ import annotations

import numpy as np


def stripes(parts: int, height: int, width: int) -> np.ndarray:
    """(parts, height, width) float32 of 0 and 1: horizontal bands of equal height over the whole map.

    Where ``height`` is no multiple of ``parts``, neighbouring bands share a row, so that none is empty.
    """
    rows = np.arange(height)
    top = np.floor(np.arange(parts) * height / parts)
    bottom = np.ceil(np.arange(1, parts + 1) * height / parts)
    band = (rows >= top[:, None]) & (rows < bottom[:, None])
    return np.repeat(band[:, :, None], width, axis=2).astype(np.float32)
