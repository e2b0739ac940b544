"""Open-set metrics of a re-ID model: how often it identifies known people, at a given rate of false identifications.

True and false positive identification rates (TPIR, FPIR) as in Grother et al., NIST IR 8271, on tracklets with averaged embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reid.datasets.split import Split

BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Rate:
    """A share in 0..1 with its 95 % bootstrap interval over identities, ``low`` to ``high``."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OpenSet:
    """``tpir_1``, ``tpir_10``: share of known tracklets given the right identity, at an FPIR of 1 and 10 %.
    ``tpr_01``, ``tpr_1``: share of same-person pairs of tracklets across cameras accepted, at an FPR of 0.1 and 1 %.
    """

    tpir_1: Rate
    tpir_10: Rate
    tpr_01: Rate
    tpr_1: Rate
    tracklets: int


def pool(rows: np.ndarray, split: Split) -> tuple[np.ndarray, Split]:
    """Tracklets: unit mean embeddings per identity, camera and sequence, and the split of their first images."""
    keys = np.stack([split.ids, split.cameras, split.sequences], 1)
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), rows.shape[1]), np.float32)
    np.add.at(sums, which.ravel(), rows)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True), split.take(first)


def identification(rows: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Identification of tracklets against enrolled ones.

    Every other identity is known, enrolled by its tracklet in its first camera; probes are the tracklets of other cameras. Returns,
    for known probes, the smallest distance, whether that is the right identity, and the identity; for unknown ones the smallest
    distance.
    """
    people = np.unique(split.ids)
    known = np.isin(split.ids, people[::2])
    first_camera = {int(who): int(split.cameras[split.ids == who].min()) for who in people}
    home = np.array([first_camera[int(who)] == camera for who, camera in zip(split.ids, split.cameras, strict=True)])
    enrolled = np.flatnonzero(known & home)
    enrolled = enrolled[np.unique(split.ids[enrolled], return_index=True)[1]]
    probes = np.flatnonzero(~home)
    nearest, who = np.empty(len(probes)), np.empty(len(probes), np.int64)
    for start in range(0, len(probes), 1024):
        distance = 1 - rows[probes[start : start + 1024]] @ rows[enrolled].T
        best = distance.argmin(1)
        nearest[start : start + 1024] = distance[np.arange(len(best)), best]
        who[start : start + 1024] = split.ids[enrolled][best]
    mine = known[probes]
    return nearest[mine], who[mine] == split.ids[probes][mine], split.ids[probes][mine], nearest[~mine]


def pairs_across(rows: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances of same-person pairs across cameras, their identities, and distances of a sample of different-person pairs.

    Raises ValueError if nobody is seen by two cameras.
    """
    same, who, other = [], [], []
    rng = np.random.default_rng(0)
    for row in range(len(rows) - 1):
        after = slice(row + 1, None)
        across = split.cameras[after] != split.cameras[row]
        mine = across & (split.ids[after] == split.ids[row])
        if mine.any():
            same.append(1 - rows[after][mine] @ rows[row])
            who.append(np.full(int(mine.sum()), split.ids[row]))
        rest = np.flatnonzero(across & ~mine) + row + 1
        chosen = rng.choice(rest, min(len(rest), 500), replace=False) if len(rest) else rest
        other.append(1 - rows[chosen] @ rows[row])
    if not same:
        raise ValueError("nobody is seen by two cameras")
    return np.concatenate(same), np.concatenate(who), np.concatenate(other)


def rate_below(values: np.ndarray, good: np.ndarray, who: np.ndarray, limit: float, rng: np.random.Generator) -> Rate:
    """The share of ``values`` that are ``good`` and below ``limit``, with its bootstrap interval over the identities ``who``."""
    hit = good & (values < limit)
    _, index = np.unique(who, return_inverse=True)
    hits, every = np.bincount(index, hit), np.bincount(index)
    drawn = rng.integers(0, len(every), (BOOTSTRAPS, len(every)))
    shares = hits[drawn].sum(1) / every[drawn].sum(1)
    low, high = np.quantile(shares, [0.025, 0.975]).tolist()
    return Rate(float(hit.mean()), low, high)


def open_set(rows: np.ndarray, split: Split) -> OpenSet:
    """Open-set metrics of unit ``rows`` (n, d) of the images of a split, without distractors (ids under 1).

    Raises ValueError if fewer than two people are seen by two cameras.
    """
    people = split.ids > 0
    pooled, tracklets = pool(rows[people], split.take(people))
    rng = np.random.default_rng(0)
    nearest, right, known, strangers = identification(pooled, tracklets)
    if not len(nearest) or not len(strangers):
        raise ValueError("fewer than two people are seen by two cameras")
    same, who, other = pairs_across(pooled, tracklets)
    everyone = np.ones(len(same), bool)
    return OpenSet(
        tpir_1=rate_below(nearest, right, known, float(np.quantile(strangers, 0.01)), rng),
        tpir_10=rate_below(nearest, right, known, float(np.quantile(strangers, 0.1)), rng),
        tpr_01=rate_below(same, everyone, who, float(np.quantile(other, 0.001)), rng),
        tpr_1=rate_below(same, everyone, who, float(np.quantile(other, 0.01)), rng),
        tracklets=len(pooled),
    )
