"""Correlation clustering of a sparse graph by constrained average linkage.

Greedy edge contraction (Keuper et al., ICCV 2015) with the mean of all pairs' weights as a merged edge's weight, so that a
chain of near neighbours does not draw together what is far apart.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np


def average_linkage(
    count: int,
    pairs: np.ndarray,
    weights: np.ndarray,
    missing: float,
    compatible: Callable[[list[int], list[int]], bool] = lambda a, b: True,
    threshold: float = 0.0,
    start: np.ndarray | None = None,
) -> np.ndarray:
    """(count,) cluster labels from 0, in the order of each cluster's first member.

    ``pairs`` (m, 2) rows with log-odds ``weights`` (m,) of being the same; a pair that is not listed weighs ``missing``. The
    two clusters with the greatest mean weight are merged while it is over ``threshold`` and ``compatible(members, members)``
    allows it. Equal weights are taken by the clusters' first members, so the order of ``pairs`` decides nothing. ``start`` (count,)
    labels: clusters that are there already.
    """
    first = np.arange(count) if start is None else np.unique(start, return_index=True)[1][np.unique(start, return_inverse=True)[1]]
    members: dict[int, list[int]] = {}
    for row, cluster in enumerate(first.tolist()):
        members.setdefault(cluster, []).append(row)
    around: list[dict[int, tuple[float, int]]] = [{} for _ in range(count)]  # other cluster -> (sum of weights, listed pairs)
    for (a, b), weight in zip(np.sort(first[pairs], axis=1).tolist(), weights.tolist(), strict=True):
        if a != b:
            total, listed = around[a].get(b, (0.0, 0))
            around[a][b] = around[b][a] = (total + weight, listed + 1)

    def mean(a: int, b: int) -> float:
        total, listed = around[a][b]
        every = len(members[a]) * len(members[b])
        return (total + (every - listed) * missing) / every

    heap = [(-mean(a, b), a, b) for a, edges in enumerate(around) for b in edges if a < b and mean(a, b) > threshold]
    heapq.heapify(heap)
    while heap:
        negative, a, b = heapq.heappop(heap)
        if a not in members or b not in members or b not in around[a] or mean(a, b) != -negative:
            continue  # an entry from before a merger
        if not compatible(members[a], members[b]):
            del around[a][b], around[b][a]  # forbidden now is forbidden for ever: clusters only grow
            continue
        del around[a][b], around[b][a]
        members[a] += members.pop(b)
        for other, (total, listed) in around[b].items():
            own, more = around[a].get(other, (0.0, 0))
            around[a][other] = around[other][a] = (own + total, more + listed)
            del around[other][b]
        around[b] = {}
        for other in around[a]:
            one, two = min(a, other), max(a, other)
            if (weight := mean(one, two)) > threshold:
                heapq.heappush(heap, (-weight, one, two))
    labels = np.empty(count, np.int64)
    for label, cluster in enumerate(sorted(members, key=lambda row: min(members[row]))):
        labels[members[cluster]] = label
    return labels


def agreement(labels: np.ndarray, pairs: np.ndarray, weights: np.ndarray, missing: float) -> float:
    """What correlation clustering maximises: the sum of the weights of all pairs within clusters."""
    inside = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    sizes = np.bincount(labels)
    return float(weights[inside].sum()) + ((sizes * (sizes - 1) // 2).sum() - inside.sum()) * missing


def revise(
    labels: np.ndarray,
    pairs: np.ndarray,
    weights: np.ndarray,
    missing: float,
    compatible: Callable[[list[int], list[int]], bool],
    threshold: float,
    margin: float,
) -> np.ndarray:
    """A clustering brought up to date: what ``labels`` have together is taken apart only where the whole gains over ``margin``."""
    grown = average_linkage(len(labels), pairs, weights, missing, compatible, threshold, labels)
    anew = average_linkage(len(labels), pairs, weights, missing, compatible, threshold)
    anew = reassign(anew, pairs, weights, missing, compatible)
    gain = agreement(anew, pairs, weights, missing) - agreement(grown, pairs, weights, missing)
    return anew if gain > margin else grown


def adjacency(count: int, pairs: np.ndarray, weights: np.ndarray) -> list[list[tuple[int, float]]]:
    """Per row its neighbours and the weights of the pairs."""
    near: list[list[tuple[int, float]]] = [[] for _ in range(count)]
    for (a, b), weight in zip(pairs.tolist(), weights.tolist(), strict=True):
        near[a].append((b, weight))
        near[b].append((a, weight))
    return near


def groups(labels: Sequence[int]) -> dict[int, set[int]]:
    """Label -> the rows that have it."""
    members: dict[int, set[int]] = {}
    for row, label in enumerate(labels):
        members.setdefault(label, set()).add(row)
    return members


def mean_ties(
    row: int, around: list[tuple[int, float]], labels: Sequence[int] | np.ndarray, members: dict[int, set[int]], missing: float
) -> dict[int, float]:
    """Per cluster with a neighbour of ``row`` in it, the mean weight between ``row`` and its members, ``row`` itself left out."""
    sums: dict[int, tuple[float, int]] = {}
    for other, weight in around:
        total, listed = sums.get(int(labels[other]), (0.0, 0))
        sums[int(labels[other])] = (total + weight, listed + 1)
    sizes = {cluster: len(members[cluster]) - (cluster == labels[row]) for cluster in sums}
    return {cluster: (total + (sizes[cluster] - listed) * missing) / sizes[cluster] for cluster, (total, listed) in sums.items()}


def reassign(
    labels: np.ndarray,
    pairs: np.ndarray,
    weights: np.ndarray,
    missing: float,
    compatible: Callable[[list[int], list[int]], bool] = lambda a, b: True,
    margin: float = 2.0,
    rounds: int = 3,
) -> np.ndarray:
    """Refine a clustering: split off who fits badly, move who fits better elsewhere; a few rounds, in the order of rows.

    A row moves to the cluster to which its mean weight is greatest, alone counting 0, where ``compatible`` allows it and it
    gains more than ``margin``: greedy merging knew more than one row's neighbours.
    """
    near, label = adjacency(len(labels), pairs, weights), labels.tolist()
    members = groups(label)
    for _ in range(rounds):
        moved = False
        for row, around in enumerate(near):
            mine, means = label[row], mean_ties(row, around, label, members, missing)
            alone = len(members[mine]) == 1
            now = 0.0 if alone else means.get(mine, missing)
            better = [cluster for cluster, mean in means.items() if cluster != mine and mean > max(now + margin, 0.0)]
            better.sort(key=lambda cluster: (-means[cluster], min(members[cluster])))
            to = next((cluster for cluster in better if compatible([row], sorted(members[cluster]))), None)
            if to is None and now < -margin and not alone:
                to = len(label) + row
            if to is not None:
                members[mine].discard(row)
                members.setdefault(to, set()).add(row)
                label[row], moved = to, True
        if not moved:
            break
    _, first, inverse = np.unique(label, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first, kind="stable"), kind="stable")[inverse]
