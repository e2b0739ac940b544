"""Closed-set re-ID metrics by Market-1501's protocol, in numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from reid.datasets.split import UNREADABLE, Split, drop_unreadable
from reid.embedder import Embedder


@dataclass(frozen=True)
class Retrieval:
    """``rank1``, ``rank5``, mean AP by the rank-sum (``map``) and the trapezoid (``map_trapezoid``) and ``minp``, all in 0..1."""

    rank1: float
    rank5: float
    map: float
    map_trapezoid: float
    minp: float
    queries: int


def average_precision(ranks: np.ndarray) -> tuple[float, float]:
    """AP by rank-sum and by trapezoid (Market-1501's official code), from the sorted 0-based ranks of the positives."""
    hits = np.arange(1, len(ranks) + 1)
    precision = hits / (ranks + 1)
    before = np.where(ranks == 0, 1.0, (hits - 1) / np.maximum(ranks, 1))
    return float(precision.mean()), float(((precision + before) / 2).mean())


def retrieval(
    query: np.ndarray,
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
) -> Retrieval:
    """Single-query cosine retrieval of unit rows ``query`` (q, d) in ``gallery`` (g, d).

    Raises ValueError if no query has a positive.
    """
    return evaluate_ranking(lambda part: query[part] @ gallery.T, query_ids, query_cameras, gallery_ids, gallery_cameras)


def evaluate_ranking(
    similarity: Callable[[slice], np.ndarray],
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
) -> Retrieval:
    """Metrics of any ranking; ``similarity`` maps a slice of the queries to (k, g) similarities.

    Per query, gallery rows of the same identity **and** camera do not count; queries without a positive are skipped.
    Raises ValueError if no query has a positive.
    """
    rows = []
    for start in range(0, len(query_ids), 512):
        part = slice(start, start + 512)
        for sims, who, where in zip(similarity(part), query_ids[part], query_cameras[part], strict=True):
            same = gallery_ids == who
            keep = ~(same & (gallery_cameras == where))
            positives = sims[same & keep]
            if not len(positives):
                continue
            others = np.sort(sims[~same & keep])
            positives = np.sort(positives)[::-1]
            # rank = negatives above + positives above; ties count as negatives
            ranks = len(others) - np.searchsorted(others, positives, side="left") + np.arange(len(positives))
            ap, trapezoid = average_precision(ranks)
            rows.append((ranks[0] < 1, ranks[0] < 5, ap, trapezoid, len(ranks) / (ranks[-1] + 1)))
    if not rows:
        raise ValueError("no query has an image of the same identity from another camera")
    rank1, rank5, ap, trapezoid, inp = np.mean(rows, axis=0).tolist()
    return Retrieval(rank1, rank5, ap, trapezoid, inp, len(rows))


def embed_split(embedder: Embedder, split: Split, chunk: int = 256) -> tuple[Split, np.ndarray]:
    """(n, d) unit rows of the images of a split, and the split without unreadable ones. Raises ValueError as ``drop_unreadable`` does."""
    rows, bad = [], []
    for start in range(0, len(split.paths), chunk):
        images = [cv2.imread(str(path)) for path in split.paths[start : start + chunk]]
        bad += [start + at for at, image in enumerate(images) if image is None]
        rows.append(embedder.embed([image for image in images if image is not None]))
    return drop_unreadable(split, bad), np.concatenate(rows)


def read_embeddings(path: Path, *splits: Split) -> list[np.ndarray]:
    """(n, d) unit rows of the images of each split, from an .npz of any model: ``names`` (m,) of image files and ``rows`` (m, d).

    A name is a file name, or a path that ends in folder and file name. Raises FileNotFoundError, or ValueError for another kind of
    file, a missing image, and an ambiguous name.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with np.load(path) as stored:
            names, rows = stored["names"].tolist(), np.asarray(stored["rows"], np.float32)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("names must be a row of strings")
    except UNREADABLE as error:
        raise ValueError(f"{path}: not embeddings ({error}); expected an .npz with names (n,) and rows (n, d)") from None
    if rows.ndim != 2 or len(names) != len(rows) or not np.isfinite(rows).all():
        raise ValueError(f"{path}: expected names (n,) and finite rows (n, d), got {len(names)} names and rows {rows.shape}")
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return [rows[rows_by_image(path, names, split)] for split in splits]


def rows_by_image(path: Path, names: list[str], split: Split) -> list[int]:
    """The row of each image of a split among the ``names`` of ``path``: by folder and file name, or by file name if they have no folders."""
    for depth in (2, 1):
        place: dict[tuple[str, ...], list[int]] = {}
        for row, name in enumerate(names):
            place.setdefault(Path(name).parts[-depth:], []).append(row)
        keys = [image.parts[-depth:] for image in split.paths]
        missing = [key for key in keys if key not in place]
        if not missing:
            break
    else:
        raise ValueError(f"{path}: lacks {len(missing)} of {len(keys)} images, the first {missing[0][0]}")
    images = Counter(keys)
    for key in keys:
        if len(place[key]) > 1 or images[key] > 1:
            raise ValueError(f"{path}: {'/'.join(key)} is ambiguous; name each image once, as PERSON/FILE")
    return [place[key][0] for key in keys]
