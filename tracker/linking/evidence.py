"""What speaks for two tracklets being one person, in log odds (nats), and what forbids it; pure functions over arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from tracker.site import Link, Site

EXPANSION, LIKELY = 2, 0.3  # neighbours that a row's own are averaged with, and from which probability on
UNCALIBRATED = 25.0, -8.5  # slope and offset of an MPN on pooled embeddings


@dataclass(frozen=True, eq=False)
class Tracklets:
    """Row-aligned tracklets of all cameras.

    ``cameras`` (n,) str; ``tracks`` (n,) int; ``start``, ``end`` (n,) seconds; ``embeddings`` (n, d) float32, a row of zeros
    where there is none; ``paths``: per tracklet (k, 3) of seconds and the feet's x, y in px, or None where not known.
    Raises ValueError where the lengths differ, a time is not finite or a tracklet ends before it starts.
    """

    cameras: np.ndarray
    tracks: np.ndarray
    start: np.ndarray
    end: np.ndarray
    embeddings: np.ndarray
    paths: tuple[np.ndarray, ...] | None = None

    def __post_init__(self) -> None:
        n = len(self.cameras)
        for name in ("tracks", "start", "end", "embeddings", "paths"):
            value = getattr(self, name)
            if value is not None and len(value) != n:
                raise ValueError(f"{name} has {len(value)} rows, cameras {n}")
        wrong = np.flatnonzero(~(np.isfinite(self.start) & np.isfinite(self.end) & (self.end >= self.start)))
        if len(wrong):
            raise ValueError(f"tracklet {wrong[0]}: its time {self.start[wrong[0]]} to {self.end[wrong[0]]} s is not one")

    def __len__(self) -> int:
        return len(self.cameras)

    def take(self, rows: np.ndarray) -> Tracklets:
        paths = None if self.paths is None else tuple(self.paths[row] for row in rows.tolist())
        return Tracklets(self.cameras[rows], self.tracks[rows], self.start[rows], self.end[rows], self.embeddings[rows], paths)


def neighbours(embeddings: np.ndarray, most: int) -> np.ndarray:
    """(m, 2) pairs (a < b, each once) of every row and its ``most`` nearest by cosine; rows of zeros have none."""
    known = np.flatnonzero(embeddings.any(1))
    rows, most = embeddings[known], min(most, len(known) - 1)
    if most < 1:
        return np.zeros((0, 2), np.int64)
    pairs, chunk = [], max(64, 16_000_000 // len(rows))  # memory stays the same however many there are
    for begin in range(0, len(rows), chunk):
        similarity = rows[begin : begin + chunk] @ rows.T
        similarity[np.arange(len(similarity)), np.arange(begin, begin + len(similarity))] = -np.inf
        nearest = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
        pairs.append(np.stack([np.repeat(np.arange(begin, begin + len(similarity)), most), nearest.ravel()], 1))
    both = np.sort(known[np.concatenate(pairs)], axis=1)
    code = np.unique(both[:, 0] * len(embeddings) + both[:, 1])
    return np.stack([code // len(embeddings), code % len(embeddings)], 1)


def distances(embeddings: np.ndarray, pairs: np.ndarray, chunk: int = 20_000) -> np.ndarray:
    """(m,) float64 cosine distances of ``pairs`` (m, 2) of unit rows."""
    out = np.empty(len(pairs))
    for begin in range(0, len(pairs), chunk):
        a, b = pairs[begin : begin + chunk].T
        out[begin : begin + chunk] = 1.0 - np.einsum("nd,nd->n", embeddings[a], embeddings[b])
    return out


def appearance(distance: np.ndarray, slope: float | None, offset: float | None) -> np.ndarray:
    """Log odds of the same person at a cosine distance, from the model's calibration (Platt, 1999; one pair in two the same).

    None: that of an MPN on pooled embeddings.
    """
    return -((UNCALIBRATED[0] if slope is None else slope) * distance + (UNCALIBRATED[1] if offset is None else offset))


class Background:
    """How alike people look from camera to camera, whoever they are: what distances have to be corrected by.

    Two cameras' light and angle bring all pairs across them nearer or farther; the mean of a camera's embeddings shows by how
    much (score normalisation). Trusted by n / (n + ``trust``) of the camera with fewer, n, tracklets.
    """

    def __init__(self, trust: float = 50.0) -> None:
        self.trust = trust
        self._sums: list[np.ndarray] = []
        self._counts: list[int] = []

    def add(self, camera: int, embeddings: np.ndarray) -> None:
        """Take in (d,) or (n, d) unit rows of a camera by its number."""
        rows = np.atleast_2d(embeddings)
        while len(self._sums) <= camera:
            self._sums.append(np.zeros(rows.shape[1]))
            self._counts.append(0)
        self._sums[camera] += rows.sum(0)
        self._counts[camera] += len(rows)

    def shift(self, cameras: int) -> np.ndarray:
        """(cameras, cameras) to add to a distance; 0 where too little is known."""
        out = np.zeros((cameras, cameras))
        counts = np.array(self._counts, float)
        if counts.sum() < 2:
            return out
        means = np.stack(self._sums) / np.maximum(counts, 1)[:, None]
        alike = means @ means.T
        both = np.outer(counts, counts)
        fewer = np.minimum.outer(counts, counts)
        known = len(counts)
        out[:known, :known] = (alike - (alike * both).sum() / both.sum()) * fewer / (fewer + self.trust)
        return out


def gaps(tracklets: Tracklets, pairs: np.ndarray) -> np.ndarray:
    """(m,) seconds from the end of the earlier to the start of the later; negative where both are seen at once."""
    a, b = pairs.T
    return np.maximum(tracklets.start[a], tracklets.start[b]) - np.minimum(tracklets.end[a], tracklets.end[b])


def revisit(gap: np.ndarray, span: float, scale: float) -> np.ndarray:
    """Log odds from time alone: people are seen again soon rather than late.

    The time to the next sight of the same person is taken as log-uniform from ``scale`` to ``span`` seconds, that of somebody
    else as uniform over ``span``, the time all cameras cover together.
    """
    span = max(span, scale)
    gap = np.clip(gap, 0, span)
    return np.log(span / ((gap + scale) * np.log((span + scale) / scale)))


def transition(gap: np.ndarray, link: Link, span: float, scale: float, stray: float = 0.1) -> np.ndarray:
    """As ``revisit``, where a link says how long the way takes: triangular around its typical time; ``stray`` took another way.

    A link without times says no more than ``revisit``.
    """
    if link.typical_time is None or link.max_time is None:
        return revisit(gap, span, scale)
    rise = np.where(
        gap < link.typical_time,
        (gap - link.min_time) / max(link.typical_time - link.min_time, 1e-9),
        (link.max_time - gap) / max(link.max_time - link.typical_time, 1e-9),
    )
    density = np.clip(rise, 0, 1) * 2 / (link.max_time - link.min_time)
    return np.log((1 - stray) * density * max(span, scale) + stray * np.exp(revisit(gap, span, scale)))


def time(tracklets: Tracklets, pairs: np.ndarray, site: Site, scale: float, span: float | None = None) -> np.ndarray:
    """(m,) log odds from when the two were where; 0 where both are seen at once (whether that may be, ``forbidden`` says).

    ``span``: seconds that all cameras cover together; None: from the first start to the last end.
    """
    if not len(pairs):
        return np.zeros(0)
    gap = gaps(tracklets, pairs)
    if span is None:
        span = float(tracklets.end.max() - tracklets.start.min())
    out = revisit(gap, span, scale)
    if site.links:
        a, b = pairs.T
        first, later = np.where(tracklets.start[a] <= tracklets.start[b], (a, b), (b, a))
        ways = np.stack([tracklets.cameras[first], tracklets.cameras[later]], 1)
        for start, end in {(str(x), str(y)) for x, y in ways}:
            if (link := site.link(start, end)) is not None:
                on_it = (ways[:, 0] == start) & (ways[:, 1] == end)
                out[on_it] = transition(gap[on_it], link, span, scale)
    return np.where(gap < 0, 0.0, out)


def ground(tracklets: Tracklets, pairs: np.ndarray, site: Site, sigma: float, area: float) -> np.ndarray:
    """(m,) log odds from places on the floor where both are seen at once by cameras with a homography, else 0.

    The median distance is half-normal in two dimensions with ``sigma`` metres for one person, uniform over ``area`` square
    metres for two; bounded to +-6, since a homography is never exact.
    """
    out = np.zeros(len(pairs))
    planes = {name: plane for name, place in site.cameras.items() if (plane := place.homography()) is not None}
    if tracklets.paths is None or not planes:
        return out
    places: dict[int, np.ndarray] = {}

    def on_floor(row: int) -> np.ndarray:
        if row not in places:
            path = tracklets.paths[row]  # type: ignore[index]
            points = np.c_[path[:, 1:], np.ones(len(path))] @ planes[str(tracklets.cameras[row])].T
            places[row] = np.c_[path[:, 0], points[:, :2] / points[:, 2:]]
        return places[row]

    for at in np.flatnonzero(gaps(tracklets, pairs) < 0):
        a, b = pairs[at].tolist()
        if tracklets.cameras[a] not in planes or tracklets.cameras[b] not in planes:
            continue
        if not (len(tracklets.paths[a]) and len(tracklets.paths[b])):
            continue
        one, other = on_floor(a), on_floor(b)
        when = one[(one[:, 0] >= other[0, 0]) & (one[:, 0] <= other[-1, 0])]
        if len(when):
            there = np.stack([np.interp(when[:, 0], other[:, 0], other[:, axis]) for axis in (1, 2)], 1)
            apart = float(np.median(np.hypot(*(when[:, 1:] - there).T)))
            out[at] = np.clip(np.log(area / (2 * np.pi * sigma**2)) - 0.5 * (apart / sigma) ** 2, -6, 6)
    return out


def shared_neighbours(pairs: np.ndarray, odds: np.ndarray, count: int, most: int) -> np.ndarray:
    """(m,) Jaccard index, 0..1, of the two rows' ``most`` best neighbours that are each other's best (k-reciprocal re-ranking).

    Source: Zhong et al., "Re-ranking person re-identification with k-reciprocal encoding", CVPR 2017, with its local query
    expansion; neighbours weigh their probability, a row itself 1. Sparse: ``pairs`` (m, 2) of ``count`` rows and their ``odds``
    (m,) are all that is looked at.
    """
    if not len(pairs):
        return np.zeros(0)
    best, close = (best_neighbours(pairs, odds, count, number) for number in (most, EXPANSION))
    mutual = best.minimum(best.T.tocsr()) + sparse.eye_array(count, format="csr")
    mutual = sparse.diags_array(1 / mutual.sum(axis=1)) @ mutual
    close = (close > LIKELY).astype(float) + sparse.eye_array(count, format="csr")
    code = (sparse.diags_array(1 / close.sum(axis=1)) @ close @ mutual).tocsr()
    step = 20_000
    shared = np.concatenate([
        code[pairs[at : at + step, 0]].minimum(code[pairs[at : at + step, 1]]).sum(axis=1) for at in range(0, len(pairs), step)
    ])  # fmt: skip
    return shared / (2 - shared)


def best_neighbours(pairs: np.ndarray, odds: np.ndarray, count: int, most: int) -> sparse.csr_array:
    """(count, count) the probability of each row's ``most`` likeliest neighbours."""
    both = np.concatenate([pairs, pairs[:, ::-1]])
    weight = probability(np.concatenate([odds, odds]))
    order = np.lexsort((both[:, 1], -weight, both[:, 0]))
    both, weight = both[order], weight[order]
    rank = np.arange(len(both)) - np.searchsorted(both[:, 0], both[:, 0])
    return sparse.csr_array((weight[rank < most], both[rank < most].T), shape=(count, count))


def shared_in_small(best: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    """As ``shared_neighbours``, of a small graph: ``best`` (n, n) as ``best_neighbours`` gives it, dense."""
    mutual = np.minimum(best, best.T) + np.eye(len(best))
    mutual /= mutual.sum(1, keepdims=True)
    order = np.argsort(-best, axis=1, kind="stable")[:, :EXPANSION]
    close = np.eye(len(best))
    np.put_along_axis(close, order, (np.take_along_axis(best, order, 1) > LIKELY) + np.take_along_axis(close, order, 1), 1)
    code = (close / close.sum(1, keepdims=True)) @ mutual
    step = max(1, 4_000_000 // len(best))
    shared = np.concatenate([
        np.minimum(code[pairs[at : at + step, 0]], code[pairs[at : at + step, 1]]).sum(1) for at in range(0, len(pairs), step)
    ])  # fmt: skip
    return shared / (2 - shared)


def probability(odds: np.ndarray) -> np.ndarray:
    """Of log odds, in nats."""
    return 1 / (1 + np.exp(-np.clip(odds, -30, 30)))


def forbidden(tracklets: Tracklets, a: np.ndarray, b: np.ndarray, site: Site) -> np.ndarray:
    """(len(a), len(b)) pairs that cannot be one person: in one place at a time, and no faster than the way takes."""
    gap = np.maximum(tracklets.start[a][:, None], tracklets.start[b]) - np.minimum(tracklets.end[a][:, None], tracklets.end[b])
    ca, cb = tracklets.cameras[a], tracklets.cameras[b]
    out = np.zeros(gap.shape, bool)
    for one in np.unique(ca).tolist():
        for other in np.unique(cb).tolist():
            block = np.ix_(ca == one, cb == other)
            out[block] = gap[block] < site.wait(one, other)
    return out
