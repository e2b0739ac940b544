"""Closed-set re-ID figures by Market-1501's protocol, in plain numpy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from reid.datasets.split import UNREADABLE, Split, without
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
    """AP by rank-sum and by trapezoid (the official Market-1501 code) from the sorted 0-based ranks of the positives."""
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

    Raises ValueError where no query has a positive.
    """
    return scored(lambda part: query[part] @ gallery.T, query_ids, query_cameras, gallery_ids, gallery_cameras)


def scored(
    similarity: Callable[[slice], np.ndarray],
    query_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_ids: np.ndarray,
    gallery_cameras: np.ndarray,
) -> Retrieval:
    """Figures of any ranking; ``similarity`` gives the (k, g) rows of a slice of the queries.

    Per query, gallery rows of the same identity **and** camera do not count; queries without a positive are left out.
    Raises ValueError where no query has a positive.
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
            # rank = negatives above + positives above; a tie counts for the negative
            ranks = len(others) - np.searchsorted(others, positives, side="left") + np.arange(len(positives))
            ap, trapezoid = average_precision(ranks)
            rows.append((ranks[0] < 1, ranks[0] < 5, ap, trapezoid, len(ranks) / (ranks[-1] + 1)))
    if not rows:
        raise ValueError("no query has a picture of the same identity from another camera")
    rank1, rank5, ap, trapezoid, inp = np.mean(rows, axis=0).tolist()
    return Retrieval(rank1, rank5, ap, trapezoid, inp, len(rows))


def embed_split(embedder: Embedder, split: Split, chunk: int = 256) -> tuple[Split, np.ndarray]:
    """(n, d) unit rows of a split's pictures, and the split less those that cannot be read. Raises ValueError as ``without`` does."""
    rows, bad = [], []
    for start in range(0, len(split.paths), chunk):
        pictures = [cv2.imread(str(path)) for path in split.paths[start : start + chunk]]
        bad += [start + at for at, picture in enumerate(pictures) if picture is None]
        rows.append(embedder.embed([picture for picture in pictures if picture is not None]))
    return without(split, bad), np.concatenate(rows)


def given_rows(path: Path, *splits: Split) -> list[np.ndarray]:
    """(n, d) unit rows of each split's pictures from an .npz of any model's: ``names`` (m,) of picture files and ``rows`` (m, d).

    A name is a file's alone or a path that ends in its folder and it. Raises FileNotFoundError, or ValueError for another file, where a picture
    is missing, and where a name means several.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        with np.load(path) as stored:
            names, rows = stored["names"].tolist(), np.asarray(stored["rows"], np.float32)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise ValueError("names are no row of texts")
    except UNREADABLE as error:
        raise ValueError(f"{path}: not embeddings; wanted is an .npz of names (n,) and rows (n, d) ({error})") from None
    if rows.ndim != 2 or len(names) != len(rows) or not np.isfinite(rows).all():
        raise ValueError(f"{path}: names (n,) and finite rows (n, d) are wanted; there are {len(names)} names and rows {rows.shape}")
    rows /= np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    return [rows[rows_of(path, names, split)] for split in splits]


def rows_of(path: Path, names: list[str], split: Split) -> list[int]:
    """Which of the ``names`` in ``path`` each picture of a split has: by its folder and name, or where they tell no folders by its name."""
    for depth in (2, 1):
        place: dict[tuple[str, ...], list[int]] = {}
        for row, name in enumerate(names):
            place.setdefault(Path(name).parts[-depth:], []).append(row)
        keys = [picture.parts[-depth:] for picture in split.paths]
        missing = [key for key in keys if key not in place]
        if not missing:
            break
    else:
        raise ValueError(f"{path}: lacks {len(missing)} of {len(keys)} pictures, the first {missing[0][0]}")
    pictures = Counter(keys)
    for key in keys:
        if len(place[key]) > 1 or pictures[key] > 1:
            raise ValueError(f"{path}: {'/'.join(key)} means several pictures; give names as PERSON/FILE, each once")
    return [place[key][0] for key in keys]
