"""Group rows by key, with one sort."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np


def grouped(keys: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Each value of ``keys`` (n,) in ascending order, with the indices of its rows in ascending order."""
    if not len(keys):
        return
    order = np.argsort(keys, kind="stable")
    values, first = np.unique(keys[order], return_index=True)
    yield from zip(values.tolist(), np.split(order, first[1:]), strict=True)
