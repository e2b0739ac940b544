"""A split of a re-ID dataset as rows, and its images as one array."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import cv2
import numpy as np

log = logging.getLogger(__name__)
UNREADABLE = (
    KeyError,
    ValueError,
    TypeError,
    AttributeError,
    OSError,
    EOFError,
    BadZipFile,
)  # raised by np.load and by the use of what it returns
MAX_UNREADABLE = 0.01  # share of a split


@dataclass(frozen=True)
class Split:
    """Row-aligned ``paths`` (n,), ``ids`` (n,) int64, ``cameras`` (n,) int64 and ``sequences`` (n,) int64, 0 if unknown.

    Ids under 1 are distractors.
    """

    paths: tuple[Path, ...]
    ids: np.ndarray
    cameras: np.ndarray
    sequences: np.ndarray

    def take(self, rows: np.ndarray) -> Split:
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Split(tuple(self.paths[row] for row in rows), self.ids[rows], self.cameras[rows], self.sequences[rows])


def held_out(split: Split, number: int, seed: int) -> np.ndarray:
    """(n,) bool: the rows of ``number`` identities, drawn by ``seed``, that are held out of training."""
    return np.isin(split.ids, np.random.default_rng(seed).permutation(np.unique(split.ids))[:number])


def one_each(split: Split) -> np.ndarray:
    """Rows of one image per identity and camera."""
    return np.unique(np.stack([split.ids, split.cameras], 1), axis=0, return_index=True)[1]


def fingerprint(split: Split, root: Path) -> str:
    """SHA-256 of the file names of a split below ``root``, in any order: identifies its images."""
    return hashlib.sha256("\n".join(sorted(path.relative_to(root).as_posix() for path in split.paths)).encode()).hexdigest()


def drop_unreadable(split: Split, unreadable: Sequence[int]) -> Split:
    """The split without its ``unreadable`` rows, which are logged.

    Raises ValueError if they are more than ``MAX_UNREADABLE`` of it.
    """
    if not unreadable:
        return split
    first = split.paths[unreadable[0]]
    if len(unreadable) > max(MAX_UNREADABLE * len(split.paths), 1):
        raise ValueError(f"{first}: not a readable image; nor are {len(unreadable) - 1} more of {len(split.paths)}")
    for row in unreadable[:10]:
        log.warning("%s: not a readable image, skipped", split.paths[row])
    if len(unreadable) > 10:
        log.warning("%d unreadable images skipped", len(unreadable))
    return split.take(np.setdiff1d(np.arange(len(split.paths)), unreadable))


def load_pictures(split: Split, height: int, width: int) -> tuple[Split, np.ndarray]:
    """The images of a split, (n, height, width, 3) uint8 RGB, resized bilinearly; and the split without unreadable ones.

    Raises ValueError as ``drop_unreadable`` does.
    """
    out, good, bad = np.empty((len(split.paths), height, width, 3), np.uint8), 0, []
    for row, path in enumerate(split.paths):
        picture = cv2.imread(str(path))
        if picture is None:
            bad.append(row)
            continue
        out[good] = cv2.cvtColor(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
        good += 1
    return drop_unreadable(split, bad), out[:good]
