"""Fewer dimensions for an embedding: its principal components, half whitened."""

from __future__ import annotations

import numpy as np


def half_whitening(rows: np.ndarray, dimensions: int) -> np.ndarray:
    """(d, dimensions) float32 projection of embeddings by their principal components over ``rows`` (n, d), unit and not centred.

    Each component is divided by the square root of its spread: not by nothing, which lets the few ways in which all people differ outweigh
    the rest, nor by the spread itself (whitening; Jegou and Chum, ECCV 2012), which lets noise do so. Raises ValueError where the rows
    have not so many components.
    """
    if not 1 <= dimensions <= min(rows.shape):
        raise ValueError(f"{dimensions} dimensions of {rows.shape[0]} embeddings of {rows.shape[1]}: at most {min(rows.shape)}")
    _, spread, components = np.linalg.svd(rows, full_matrices=False)
    weight = np.sqrt(np.maximum(spread, spread[0] * 1e-6) / spread[0])
    return np.asarray((components / weight[:, None])[:dimensions].T, np.float32)
