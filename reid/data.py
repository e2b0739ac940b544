"""Re-ID data sets as lists of rows, a P x K sampler and augmentation on uint8 arrays."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

MARKET_NAME = re.compile(r"^(-1|\d{4})_c(\d)s(\d)_(\d+)_\d+(\.jpg)+$")  # some are named .jpg.jpg
# published counts of Market-1501: pictures (the query split, the training split, and the gallery with its 3,819 junk boxes)
MARKET_COUNTS = {"bounding_box_train": 12936, "query": 3368, "bounding_box_test": 19732}


@dataclass(frozen=True)
class Split:
    """Row-aligned ``paths`` (n,), ``ids`` (n,) int64 and ``cameras`` (n,) int64 of one split."""

    paths: tuple[Path, ...]
    ids: np.ndarray
    cameras: np.ndarray

    def take(self, rows: np.ndarray) -> Split:
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        return Split(tuple(self.paths[row] for row in rows), self.ids[rows], self.cameras[rows])


def market1501(root: Path, split: str) -> Split:
    """Read a split (``bounding_box_train``, ``query``, ``bounding_box_test``) of Market-1501 without the junk id -1.

    Raises FileNotFoundError where the folder is missing and ValueError where the number of pictures is not the published one.
    """
    folder = root / split
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; Market-1501 has {', '.join(MARKET_COUNTS)}")
    rows = [(path, match) for path in sorted(folder.glob("*.jpg")) if (match := MARKET_NAME.match(path.name))]
    if len(rows) != MARKET_COUNTS[split]:
        raise ValueError(f"{folder}: {len(rows)} pictures, Market-1501 has {MARKET_COUNTS[split]} there")
    kept = [(path, int(m[1]), int(m[2])) for path, m in rows if m[1] != "-1"]
    return Split(tuple(r[0] for r in kept), np.array([r[1] for r in kept]), np.array([r[2] for r in kept]))


def sequences(split: Split) -> np.ndarray:
    """(n,) the sequence that each picture's name tells; 0 where it tells none."""
    return np.array([int(match[3]) if (match := MARKET_NAME.match(path.name)) else 0 for path in split.paths], np.int64)


def held_out(split: Split, number: int, seed: int) -> np.ndarray:
    """(n,) bool: the rows of the ``number`` identities that a recipe of this ``seed`` keeps from its training."""
    return np.isin(split.ids, np.random.default_rng(seed).permutation(np.unique(split.ids))[:number])


def load_pictures(paths: tuple[Path, ...], height: int, width: int) -> np.ndarray:
    """(n, height, width, 3) uint8 RGB, resized bilinearly. Raises ValueError naming a picture that cannot be read."""
    out = np.empty((len(paths), height, width, 3), np.uint8)
    for row, path in enumerate(paths):
        picture = cv2.imread(str(path))
        if picture is None:
            raise ValueError(f"{path}: not a readable picture")
        out[row] = cv2.cvtColor(cv2.resize(picture, (width, height), interpolation=cv2.INTER_LINEAR), cv2.COLOR_BGR2RGB)
    return out


def pk_batches(labels: np.ndarray, ids: int, images: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of batches of ``ids`` identities x ``images`` pictures; over an epoch each picture comes about once.

    An identity with too few pictures is filled up by drawing again.
    """
    chunks: list[np.ndarray] = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        short = -len(rows) % images
        rows = np.concatenate([rows, rng.choice(rows, short)]) if short else rows
        chunks += list(rows.reshape(-1, images))
    order = list(rng.permutation(len(chunks)))
    while len(order) >= ids:
        batch: list[int] = []
        seen: set[int] = set()
        rest: list[int] = []
        for position, chunk in enumerate(order):  # a batch holds an identity once
            who = int(labels[chunks[chunk][0]])
            if who in seen:
                rest.append(chunk)
                continue
            batch.append(chunk)
            seen.add(who)
            if len(batch) == ids:
                rest += order[position + 1 :]
                break
        if len(batch) < ids:
            return
        order = rest
        yield np.concatenate([chunks[chunk] for chunk in batch])


def augment(pictures: np.ndarray, rng: np.random.Generator, pad: int = 5, erase: float = 0.5, jitter: float = 0.2) -> np.ndarray:
    """Flip, pad-and-crop, brightness and contrast jitter and random erasing (Zhong et al., 2020), per picture.

    ``pictures`` (n, h, w, 3) uint8; returns float32 of the same shape in 0..255.
    """
    n, h, w, _ = pictures.shape
    padded = np.pad(pictures, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    out = np.empty(pictures.shape, np.float32)
    for row in range(n):
        down, right = rng.integers(0, 2 * pad + 1, 2)
        crop = padded[row, down : down + h, right : right + w]
        out[row] = crop[:, ::-1] if rng.random() < 0.5 else crop
    if jitter:
        gain = rng.uniform(1 - jitter, 1 + jitter, (n, 1, 1, 3 if rng.random() < 0.3 else 1)).astype(np.float32)
        shift = rng.uniform(-jitter, jitter, (n, 1, 1, 1)).astype(np.float32) * 64
        out = np.clip(out * gain + shift, 0, 255)
    for erased in np.flatnonzero(rng.random(n) < erase):
        area, aspect = rng.uniform(0.02, 0.33) * h * w, np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        tall, wide = min(int(np.sqrt(area * aspect)), h - 1), min(int(np.sqrt(area / aspect)), w - 1)
        top, left = int(rng.integers(0, h - tall)), int(rng.integers(0, w - wide))
        out[erased, top : top + tall, left : left + wide] = rng.uniform(0, 255, 3)
    return out


CHANNEL_ORDERS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


def recolour(pictures: np.ndarray, labels: np.ndarray, ids: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Swap the colour channels of a ``share`` of the batch's identities, each of which is then another identity.

    ``pictures`` (n, h, w, 3) uint8, ``labels`` (n,) below ``ids``; the labels returned are below 6 ``ids``.
    """
    who, index = np.unique(labels, return_inverse=True)
    order = np.where(rng.random(len(who)) < share, rng.integers(1, len(CHANNEL_ORDERS), len(who)), 0)[index]
    return np.take_along_axis(pictures, CHANNEL_ORDERS[order][:, None, None], 3), labels + ids * order
