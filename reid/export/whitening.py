"""Dimension reduction of embeddings: principal components, half whitened."""

from __future__ import annotations

import numpy as np


def half_whitening(rows: np.ndarray, dimensions: int) -> np.ndarray:
    """(d, dimensions) float32 projection to the principal components of ``rows`` (n, d), unit and not centred.

    Each component is divided by the square root of its standard deviation: without this few components dominate; full whitening (Jegou
    and Chum, ECCV 2012) amplifies noise. Raises ValueError if the rows have fewer components.
    """
    if not 1 <= dimensions <= min(rows.shape):
        raise ValueError(
            f"dimensions {dimensions}: {rows.shape[0]} embeddings of {rows.shape[1]} dimensions have at most {min(rows.shape)} components"
        )
    _, spread, components = np.linalg.svd(rows, full_matrices=False)
    weight = np.sqrt(np.maximum(spread, spread[0] * 1e-6) / spread[0])
    return np.asarray((components / weight[:, None])[:dimensions].T, np.float32)
