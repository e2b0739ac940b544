"""Linear assignment with a cost limit."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def assign(cost: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Minimum-cost one-to-one pairs (rows, columns) of (n, m) ``cost``, without pairs at or above ``limit``.

    Costs are clipped to the limit first, so that a rejected pair cannot influence the others.
    """
    if not cost.size:
        none = np.zeros(0, np.int64)
        return none, none
    rows, columns = linear_sum_assignment(np.minimum(cost, limit))
    made = cost[rows, columns] < limit
    return rows[made], columns[made]
