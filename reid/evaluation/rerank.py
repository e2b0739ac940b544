"""k-reciprocal re-ranking, with sparse encodings.

Source: Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", CVPR 2017; k1 = 20, k2 = 6, weight 0.3.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse


def nearest(rows: np.ndarray, count: int, chunk: int = 1024) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n, count) nearest rows of each row, itself first, their squared distances, and (n,) the largest squared distance of each row."""
    index, distance = np.empty((len(rows), count), np.int64), np.empty((len(rows), count), np.float32)
    greatest = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), chunk):
        far = 2 - 2 * rows[start : start + chunk] @ rows.T
        far[np.arange(len(far)), np.arange(start, start + len(far))] = -1.0
        near = np.argpartition(far, count - 1, axis=1)[:, :count]
        taken = np.take_along_axis(far, near, 1)
        order = np.argsort(taken, axis=1, kind="stable")
        index[start : start + chunk] = np.take_along_axis(near, order, 1)
        distance[start : start + chunk] = np.maximum(np.take_along_axis(taken, order, 1), 0)
        greatest[start : start + chunk] = far.max(1)
    return index, distance, greatest


def encoding(rows: np.ndarray, k1: int, k2: int) -> sparse.csr_array:
    """(n, n) k-reciprocal encoding: neighbours weighted by exp(-distance), averaged over the ``k2`` nearest rows (query expansion)."""
    k1 = min(k1, len(rows) - 1)
    index, distance, greatest = nearest(rows, k1 + 1)
    half = round(k1 / 2) + 1
    lists = index.tolist()
    short = [set(row[:half]) for row in lists]
    whole = [set(row) for row in lists]
    cells: tuple[list[int], list[int], list[float]] = ([], [], [])
    for at, row in enumerate(lists):
        mutual = {other for other in row if at in whole[other]}
        grown = set(mutual)
        for other in mutual:
            theirs = {third for third in short[other] if other in short[third]}
            if len(theirs & mutual) > 2 / 3 * len(theirs):
                grown |= theirs
        known = dict(zip(row, distance[at].tolist(), strict=True))
        members = sorted(grown)
        missing = [other for other in members if other not in known]
        if missing:
            far = np.maximum(2 - 2 * rows[missing] @ rows[at], 0)
            known |= dict(zip(missing, far.tolist(), strict=True))
        weight = np.exp(-np.array([known[other] for other in members]) / greatest[at])
        cells[0].extend([at] * len(members))
        cells[1].extend(members)
        cells[2].extend((weight / weight.sum()).tolist())
    code = sparse.csr_array((cells[2], (cells[0], cells[1])), shape=(len(rows), len(rows)))
    near = index[:, :k2]
    mean = sparse.csr_array(
        (np.full(near.size, 1 / near.shape[1]), (np.repeat(np.arange(len(rows)), near.shape[1]), near.ravel())), shape=code.shape
    )
    return (mean @ code).tocsr()


def reranked(query: np.ndarray, gallery: np.ndarray, k1: int = 20, k2: int = 6, weight: float = 0.3) -> np.ndarray:
    """(q, g) float32 similarity of unit rows ``query`` (q, d) and ``gallery`` (g, d): the negative of a weighted sum of the Jaccard distance and,
    with ``weight``, the scaled squared distance.
    """
    rows = np.concatenate([query, gallery])
    code = encoding(rows, k1, k2)
    columns = code[len(query) :].tocsc()
    out = np.empty((len(query), len(gallery)), np.float32)
    for at in range(len(query)):
        shared = np.zeros(len(gallery))
        for place in range(code.indptr[at], code.indptr[at + 1]):
            low, high = columns.indptr[code.indices[place]], columns.indptr[code.indices[place] + 1]
            shared[columns.indices[low:high]] += np.minimum(columns.data[low:high], code.data[place])
        plain = 2 - 2 * query[at] @ gallery.T
        out[at] = -((1 - weight) * (1 - shared / (2 - shared)) + weight * plain / plain.max())
    return out
