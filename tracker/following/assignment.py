"""Which row goes with which column."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment


def assign(cost: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """Least-cost one-to-one pairs (rows, columns) of (n, m) ``cost``; pairs at or over ``limit`` are not made.

    Costs at or over the limit count as the limit, so that a pair that will not be made cannot decide the others.
    """
    if not cost.size:
        none = np.zeros(0, np.int64)
        return none, none
    rows, columns = linear_sum_assignment(np.minimum(cost, limit))
    made = cost[rows, columns] < limit
    return rows[made], columns[made]
