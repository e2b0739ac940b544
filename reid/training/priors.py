"""Coarse part priors for MPN's auxiliary tasks: which cells of the feature map belong to part k. Used in training only.

Source: Ding et al., TPAMI 2020 (see ``reid.network.mpn``), section on coarse priors: bands of the whole image, bands between the top and
bottom of the body, and those bands restricted to the foreground.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors.runtime.errors import writing
from reid.datasets.split import UNREADABLE
from reid.training.batches import Geometry

FILE = "priors.npz"  # in the folder of the dataset
HEIGHT, WIDTH = 32, 16  # cells of a stored mask
MIN_FOREGROUND = 0.05  # share of a band that the body must fill for the part to count as visible


@dataclass(frozen=True)
class Bodies:
    """Row-aligned: ``ranges`` (n, 2) top and bottom of the body in 0..1 of the image height, ``masks`` (n, HEIGHT, WIDTH) bool."""

    ranges: np.ndarray
    masks: np.ndarray

    def take(self, rows: np.ndarray) -> Bodies:
        return Bodies(self.ranges[rows], self.masks[rows])

    @staticmethod
    def whole(count: int) -> Bodies:
        """Bodies that fill their images: the fallback for images in which nobody was found."""
        return Bodies(np.tile(np.array([0.0, 1.0], np.float32), (count, 1)), np.ones((count, HEIGHT, WIDTH), bool))


def stripes(parts: int, height: int, width: int) -> np.ndarray:
    """(parts, height, width) float32 of 0 and 1: horizontal bands of equal height over the whole map.

    If ``height`` is not a multiple of ``parts``, neighbouring bands share a row, so that none is empty.
    """
    return np.repeat(bands(np.array([[0.0, 1.0]]), parts, height)[0][:, :, None], width, axis=2)


def bands(ranges: np.ndarray, parts: int, height: int) -> np.ndarray:
    """(n, parts, height) float32 of 0 and 1: rows that overlap each of ``parts`` equal bands between top and bottom, (n, 2) in 0..1."""
    top, tall = ranges[:, :1], (ranges[:, 1:] - ranges[:, :1]) / parts
    first = np.floor((top + tall * np.arange(parts)) * height + 1e-6)[:, :, None]
    last = np.ceil((top + tall * np.arange(1, parts + 1)) * height - 1e-6)[:, :, None]
    rows = np.arange(height)
    return ((rows >= first) & (rows < last)).astype(np.float32)


def body_parts(bodies: Bodies, parts: int, height: int, width: int, foreground: bool) -> tuple[np.ndarray, np.ndarray]:
    """(n, parts, height, width) float32 of 0 and 1, and (n, parts) bool: which parts are visible.

    Bands between the top and bottom of the body, with ``foreground`` masked by the body. A part is missing if its band lies outside the
    image or, with ``foreground``, if the body fills less than ``MIN_FOREGROUND`` of it.
    """
    masks = np.repeat(bands(bodies.ranges, parts, height)[..., None], width, axis=3)
    band = masks.sum((2, 3))
    if not foreground:
        return masks, np.asarray(band > 0)
    body = np.zeros((len(masks), height, width), np.float32)
    for row, above, below in cell_spans(height, HEIGHT):
        for column, left, right in cell_spans(width, WIDTH):  # a cell is foreground if half of what it covers is
            body[:, row, column] = bodies.masks[:, above:below, left:right].mean((1, 2)) >= 0.5
    masks = masks * body[:, None]
    return masks, np.asarray(masks.sum((2, 3)) > MIN_FOREGROUND * np.maximum(band, 1))


def cell_spans(cells: int, stored: int) -> list[tuple[int, int, int]]:
    """Each of ``cells`` with the range of ``stored`` cells that it covers, at least one: (cell, first, end)."""
    first = [cell * stored // cells for cell in range(cells)]
    return [(cell, at, max(at + 1, -(-(cell + 1) * stored // cells))) for cell, at in enumerate(first)]


def transform_bodies(bodies: Bodies, geometry: Geometry, height: int, width: int) -> Bodies:
    """Bodies after the ``geometry`` was applied to their images of ``height`` x ``width`` px."""
    rows = source_cells(HEIGHT, geometry.scale, geometry.down / height)
    columns = source_cells(WIDTH, geometry.scale, geometry.right / width)
    inside = ((rows >= 0) & (rows < HEIGHT))[:, :, None] & ((columns >= 0) & (columns < WIDTH))[:, None]
    at = np.arange(len(rows))[:, None, None], rows.clip(0, HEIGHT - 1)[:, :, None], columns.clip(0, WIDTH - 1)[:, None]
    masks = bodies.masks[at] & inside
    ranges = (bodies.ranges - 0.5 - (geometry.down / height)[:, None]) * geometry.scale[:, None] + 0.5
    return Bodies(ranges.astype(np.float32), np.where(geometry.mirrored[:, None, None], masks[:, :, ::-1], masks))


def source_cells(cells: int, scale: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """(n, cells) source cell of each cell, for images scaled by ``scale`` (n,) and shifted by ``shift`` (n,) of their size."""
    middle = cells / 2
    return np.floor((np.arange(cells) + 0.5 - middle)[None] / scale[:, None] + middle + (shift * cells)[:, None]).astype(int)


def body_range(mask: np.ndarray) -> np.ndarray:
    """(2,) float32 top and bottom, in 0..1 of the height, of a mask (h, w) bool; the whole height if it is empty."""
    rows = np.flatnonzero(mask.any(1))
    return np.array([rows[0], rows[-1] + 1] if len(rows) else [0, len(mask)], np.float32) / len(mask)


def read_bodies(root: Path, names: list[str]) -> Bodies:
    """Bodies of the images ``names``, paths below ``root``, as stored by ``passerby reid priors``; whole images if it found nobody.

    Raises FileNotFoundError if it was not run, ValueError for another kind of file and if half of the images are missing in it.
    """
    path = root / FILE
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; run passerby reid priors first")
    try:
        with np.load(path) as stored:
            place = {name: row for row, name in enumerate(stored["names"].tolist())}
            masks = np.unpackbits(stored["masks"], axis=1, count=HEIGHT * WIDTH).reshape(-1, HEIGHT, WIDTH).astype(bool)
            known = Bodies(stored["ranges"].reshape(len(masks), 2), masks)
    except UNREADABLE as error:
        raise ValueError(f"{path}: not written by passerby reid priors ({error}); run it again") from None
    rows = np.array([place.get(name, -1) for name in names], np.int64)
    if (rows < 0).mean() > 0.5:
        raise ValueError(f"{path}: has {int((rows >= 0).sum())} of {len(names)} images; run passerby reid priors again")
    whole = Bodies.whole(len(rows))
    seen = rows >= 0
    whole.ranges[seen], whole.masks[seen] = known.ranges[rows[seen]], known.masks[rows[seen]]
    return whole


def write_bodies(root: Path, names: list[str], bodies: Bodies) -> Path:
    """Store bodies for ``read_bodies``; returns the path. Raises OutputError."""
    packed = np.packbits(bodies.masks.reshape(len(names), -1), axis=1)
    draft = root / f"{FILE}.tmp.npz"
    with writing(root / FILE):
        np.savez_compressed(draft, names=np.array(names), ranges=bodies.ranges.astype(np.float32), masks=packed)
        return draft.replace(root / FILE)
