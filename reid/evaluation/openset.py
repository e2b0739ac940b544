"""What a tracker needs of a re-ID model: how often it finds who is known, at a rate of taking strangers for somebody.

Identification of strangers and acquaintances as in Grother et al., NIST IR 8271 (true and false positive identification rates);
tracklets instead of single pictures, their embeddings averaged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from reid.datasets.split import Split

BOOTSTRAPS = 1000


@dataclass(frozen=True)
class Rate:
    """A share in 0..1 with its 95 % bootstrap interval over identities."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class OpenSet:
    """``tpir_1``, ``tpir_10``: known tracklets given the right identity where 1 and 10 % of strangers' are given any; ``tpr_01``,
    ``tpr_1``: pairs of tracklets of one person, across cameras, nearer than all but 0.1 and 1 % of the pairs of two people.
    """

    tpir_1: Rate
    tpir_10: Rate
    tpr_01: Rate
    tpr_1: Rate
    tracklets: int


def pool(rows: np.ndarray, split: Split) -> tuple[np.ndarray, Split]:
    """Tracklets: the mean embedding of each identity in each camera and sequence, as unit rows, and their first pictures' split."""
    keys = np.stack([split.ids, split.cameras, split.sequences], 1)
    _, first, which = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    sums = np.zeros((len(first), rows.shape[1]), np.float32)
    np.add.at(sums, which.ravel(), rows)
    return sums / np.linalg.norm(sums, axis=1, keepdims=True), split.take(first)


def identification(rows: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of known tracklets the nearest distance, whether that is the right identity, and who they are; of strangers the nearest distance.

    Every other identity is known: by its tracklet in its first camera. Asked are the tracklets of other cameras than that.
    """
    people = np.unique(split.ids)
    known = np.isin(split.ids, people[::2])
    first_camera = {int(who): int(split.cameras[split.ids == who].min()) for who in people}
    home = np.array([first_camera[int(who)] == camera for who, camera in zip(split.ids, split.cameras, strict=True)])
    enrolled = np.flatnonzero(known & home)
    enrolled = enrolled[np.unique(split.ids[enrolled], return_index=True)[1]]
    asked = np.flatnonzero(~home)
    nearest, who = np.empty(len(asked)), np.empty(len(asked), np.int64)
    for start in range(0, len(asked), 1024):
        distance = 1 - rows[asked[start : start + 1024]] @ rows[enrolled].T
        best = distance.argmin(1)
        nearest[start : start + 1024] = distance[np.arange(len(best)), best]
        who[start : start + 1024] = split.ids[enrolled][best]
    mine = known[asked]
    return nearest[mine], who[mine] == split.ids[asked][mine], split.ids[asked][mine], nearest[~mine]


def pairs_across(rows: np.ndarray, split: Split) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances of the pairs of one person across cameras and who they are; and a sample of those of two people."""
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


def share_under(values: np.ndarray, good: np.ndarray, who: np.ndarray, limit: float, rng: np.random.Generator) -> Rate:
    """The share of ``values`` that are ``good`` and under ``limit``, with its interval when people are drawn again."""
    hit = good & (values < limit)
    _, index = np.unique(who, return_inverse=True)
    hits, every = np.bincount(index, hit), np.bincount(index)
    drawn = rng.integers(0, len(every), (BOOTSTRAPS, len(every)))
    shares = hits[drawn].sum(1) / every[drawn].sum(1)
    low, high = np.quantile(shares, [0.025, 0.975]).tolist()
    return Rate(float(hit.mean()), low, high)


def open_set(rows: np.ndarray, split: Split) -> OpenSet:
    """Figures of unit ``rows`` (n, d) of a split's pictures; distractors (ids under 1) are left out.

    Raises ValueError where nobody is seen by two cameras or nobody is a stranger.
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
        tpir_1=share_under(nearest, right, known, float(np.quantile(strangers, 0.01)), rng),
        tpir_10=share_under(nearest, right, known, float(np.quantile(strangers, 0.1)), rng),
        tpr_01=share_under(same, everyone, who, float(np.quantile(other, 0.001)), rng),
        tpr_1=share_under(same, everyone, who, float(np.quantile(other, 0.01)), rng),
        tracklets=len(pooled),
    )
