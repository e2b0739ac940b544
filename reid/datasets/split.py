"""A re-ID data set's split as rows, and its pictures as one array."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

UNREADABLE = (KeyError, ValueError, TypeError, AttributeError, OSError, EOFError, BadZipFile)  # what np.load and a use of it raise
MOST_UNREADABLE = 0.01  # share of a split; with more of them it is another data set, or a broken disk


@dataclass(frozen=True)
class Split:
    """Row-aligned ``paths`` (n,), ``ids`` (n,) int64, ``cameras`` (n,) int64 and ``sequences`` (n,) int64, 0 where names tell none.

    Ids under 1 are nobody in particular: distractors.
    """

    paths: tuple[Path, ...]
    ids: np.ndarray
    cameras: np.ndarray
    sequences: np.ndarray

    def take(self, rows: np.ndarray) -> Split:
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Split(tuple(self.paths[row] for row in rows), self.ids[rows], self.cameras[rows], self.sequences[rows])


def held_out(split: Split, number: int, seed: int) -> np.ndarray:
    """(n,) bool: the rows of the ``number`` identities that a recipe of this ``seed`` keeps from its training."""
    return np.isin(split.ids, np.random.default_rng(seed).permutation(np.unique(split.ids))[:number])


def one_each(split: Split) -> np.ndarray:
    """The row of one picture of each identity in each camera."""
    return np.unique(np.stack([split.ids, split.cameras], 1), axis=0, return_index=True)[1]


def fingerprint(split: Split, root: Path) -> str:
    """SHA-256 of a split's file names below ``root``, in whatever order: whether two trainings mean the same pictures."""
    return hashlib.sha256("\n".join(sorted(path.relative_to(root).as_posix() for path in split.paths)).encode()).hexdigest()


def without(split: Split, unreadable: Sequence[int]) -> Split:
    """The split less its ``unreadable`` rows, which are named on standard error.

    Raises ValueError where more than ``MOST_UNREADABLE`` of it cannot be read.
    """
    if not unreadable:
        return split
    first = split.paths[unreadable[0]]
    if len(unreadable) > max(MOST_UNREADABLE * len(split.paths), 1):
        raise ValueError(f"{first}: not a readable picture, and {len(unreadable) - 1} more of {len(split.paths)}")
    for row in unreadable[:10]:
        print(f"{split.paths[row]}: not a readable picture, left out", file=sys.stderr)
    if len(unreadable) > 10:
        print(f"{len(unreadable)} pictures left out", file=sys.stderr)
    return split.take(np.setdiff1d(np.arange(len(split.paths)), unreadable))


def load_pictures(split: Split, height: int, width: int) -> tuple[Split, np.ndarray]:
    """The split's pictures, (n, height, width, 3) uint8 RGB, resized bilinearly; and the split less those that cannot be read.

    Raises ValueError as ``without`` does.
    """
    out, good, bad = np.empty((len(split.paths), height, width, 3), np.uint8), 0, []
    for row, path in enumerate(split.paths):
        picture = cv2.imread(str(path))
        if picture is None:
            bad.append(row)
            continue
        out[good] = cv2.cvtColor(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
        good += 1
    return without(split, bad), out[:good]
