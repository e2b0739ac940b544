"""What a distance means: the gate and P(same | distance), from people whom the model never saw."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize

from reid.bundle import Calibration
from reid.datasets.split import Split


def calibrate(rows: np.ndarray, split: Split, false_rate: float = 0.001) -> Calibration:
    """Gate and logistic from pairs of held-out pictures across cameras.

    The gate is the cosine distance under which ``false_rate`` of the pairs of different people fall. The logistic gives both
    kinds of pairs the same weight, that is, it assumes that one pair in two is the same person. Raises ValueError where there is no pair
    of a kind.
    """
    distance = 1 - rows @ rows.T
    across = split.cameras[:, None] != split.cameras[None]
    upper = np.triu(across, 1)
    same = split.ids[:, None] == split.ids[None]
    near, far = distance[upper & same].astype(np.float64), distance[upper & ~same].astype(np.float64)

    if not len(near) or not len(far):
        raise ValueError("nothing to calibrate on: the people held out have no pictures of one person, or of two, from different cameras")

    def loss(weights: np.ndarray) -> float:
        slope, offset = weights
        return float(np.logaddexp(0, slope * near + offset).mean() + np.logaddexp(0, -(slope * far + offset)).mean())

    slope, offset = minimize(loss, np.array([10.0, -5.0]), method="Nelder-Mead").x
    return Calibration(gate=float(np.quantile(far, false_rate)), slope=float(slope), offset=float(offset))
