"""Coarse part priors for MPN's auxiliary tasks: which cells of the feature map belong to part k. Used in training only.

Source: Ding et al., TPAMI 2020 (see ``reid.network.mpn``), section on coarse priors: bands of the whole picture, bands between the body's own
top and bottom, and those bands of the foreground alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from reid.datasets.split import UNREADABLE
from reid.training.batches import Moved

FILE = "priors.npz"  # beside the data set
HEIGHT, WIDTH = 32, 16  # cells of a stored mask
LEAST_FOREGROUND = 0.05  # share of a band that the body fills, from which the part is there


@dataclass(frozen=True)
class Bodies:
    """Row-aligned: ``ranges`` (n, 2) the body's top and bottom in 0..1 of the picture's height, ``masks`` (n, HEIGHT, WIDTH) bool."""

    ranges: np.ndarray
    masks: np.ndarray

    def take(self, rows: np.ndarray) -> Bodies:
        return Bodies(self.ranges[rows], self.masks[rows])

    @staticmethod
    def whole(count: int) -> Bodies:
        """Bodies that fill their pictures: what is known of a picture in which nobody was found."""
        return Bodies(np.tile(np.array([0.0, 1.0], np.float32), (count, 1)), np.ones((count, HEIGHT, WIDTH), bool))


def stripes(parts: int, height: int, width: int) -> np.ndarray:
    """(parts, height, width) float32 of 0 and 1: horizontal bands of equal height over the whole map.

    Where ``height`` is no multiple of ``parts``, neighbouring bands share a row, so that none is empty.
    """
    return np.repeat(bands(np.array([[0.0, 1.0]]), parts, height)[0][:, :, None], width, axis=2)


def bands(ranges: np.ndarray, parts: int, height: int) -> np.ndarray:
    """(n, parts, height) float32 of 0 and 1: rows that touch each of ``parts`` equal bands between top and bottom, (n, 2) in 0..1."""
    top, tall = ranges[:, :1], (ranges[:, 1:] - ranges[:, :1]) / parts
    first = np.floor((top + tall * np.arange(parts)) * height + 1e-6)[:, :, None]
    last = np.ceil((top + tall * np.arange(1, parts + 1)) * height - 1e-6)[:, :, None]
    rows = np.arange(height)
    return ((rows >= first) & (rows < last)).astype(np.float32)


def body_parts(bodies: Bodies, parts: int, height: int, width: int, foreground: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n, parts, height, width) float32 of 0 and 1, and (n, parts) bool: which parts are in the picture.

    Bands between the body's top and bottom; with ``foreground`` less what is not the body. A part is missing where its band lies outside
    the picture or, with ``foreground``, where the body fills less than ``LEAST_FOREGROUND`` of it.
    """
    masks = np.repeat(bands(bodies.ranges, parts, height)[..., None], width, axis=3)
    band = masks.sum((2, 3))
    if not foreground:
        return masks, np.asarray(band > 0)
    body = np.zeros((len(masks), height, width), np.float32)
    for row, above, below in spans(height, HEIGHT):
        for column, left, right in spans(width, WIDTH):  # a cell of the map is of the body where half of what it covers is
            body[:, row, column] = bodies.masks[:, above:below, left:right].mean((1, 2)) >= 0.5
    masks = masks * body[:, None]
    return masks, np.asarray(masks.sum((2, 3)) > LEAST_FOREGROUND * np.maximum(band, 1))


def spans(cells: int, stored: int) -> list[tuple[int, int, int]]:
    """Each of ``cells`` with the first and last but one of the ``stored`` ones that it covers, at least one."""
    first = [cell * stored // cells for cell in range(cells)]
    return [(cell, at, max(at + 1, -(-(cell + 1) * stored // cells))) for cell, at in enumerate(first)]


def moved(bodies: Bodies, how: Moved, height: int, width: int) -> Bodies:
    """Bodies of pictures of ``height`` x ``width`` that were moved so."""
    rows = source(HEIGHT, how.scale, how.down / height)
    columns = source(WIDTH, how.scale, how.right / width)
    inside = ((rows >= 0) & (rows < HEIGHT))[:, :, None] & ((columns >= 0) & (columns < WIDTH))[:, None]
    at = np.arange(len(rows))[:, None, None], rows.clip(0, HEIGHT - 1)[:, :, None], columns.clip(0, WIDTH - 1)[:, None]
    masks = bodies.masks[at] & inside
    ranges = (bodies.ranges - 0.5 - (how.down / height)[:, None]) * how.scale[:, None] + 0.5
    return Bodies(ranges.astype(np.float32), np.where(how.mirrored[:, None, None], masks[:, :, ::-1], masks))


def source(cells: int, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(n, cells) which of ``cells`` is shown where, of pictures ``scale`` (n,) times as large that moved by ``shift`` (n,) of their size."""
    middle = cells / 2
    return np.floor((np.arange(cells) + 0.5 - middle)[None] / scale[:, None] + middle + (shift * cells)[:, None]).astype(int)


def body_range(mask: np.ndarray) -> np.ndarray:
    """(2,) float32 top and bottom, in 0..1 of the height, of a mask (h, w) bool; the whole height where it is empty."""
    rows = np.flatnonzero(mask.any(1))
    return np.array([rows[0], rows[-1] + 1] if len(rows) else [0, len(mask)], np.float32) / len(mask)


def read_bodies(root: Path, names: list[str]) -> Bodies:
    """Bodies of the pictures ``names``, paths below ``root``, that ``passerby reid priors`` stored there; whole where it found nobody.

    Raises FileNotFoundError where it was not run, and ValueError for another file or where it knows fewer than half of the pictures.
    """
    path = root / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; passerby reid priors writes it")
    try:
        with np.load(path) as stored:
            place = {name: row for row, name in enumerate(stored["names"].tolist())}
            masks = np.unpackbits(stored["masks"], axis=1, count=HEIGHT * WIDTH).reshape(-1, HEIGHT, WIDTH).astype(bool)
            known = Bodies(stored["ranges"].reshape(len(masks), 2), masks)
    except UNREADABLE as error:
        raise ValueError(f"{path}: not what passerby reid priors writes ({error}); run it again") from None
    rows = np.array([place.get(name, -1) for name in names], np.int64)
    if (rows < 0).mean() > 0.5:
        raise ValueError(f"{path}: knows {int((rows >= 0).sum())} of {len(names)} pictures; run passerby reid priors again")
    whole = Bodies.whole(len(rows))
    seen = rows >= 0
    whole.ranges[seen], whole.masks[seen] = known.ranges[rows[seen]], known.masks[rows[seen]]
    return whole


def write_bodies(root: Path, names: list[str], bodies: Bodies) -> Path:
    """Store what ``read_bodies`` reads. Raises OSError."""
    packed = np.packbits(bodies.masks.reshape(len(names), -1), axis=1)
    draft = root / f"{FILE}.tmp.npz"
    np.savez_compressed(draft, names=np.array(names), ranges=bodies.ranges.astype(np.float32), masks=packed)
    return draft.replace(root / FILE)
