"""Offline association: one identity per tracklet, over all cameras and times at once."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tracker.following.settings import over_zero
from tracker.linking import evidence
from tracker.linking.clustering import adjacency, average_linkage, groups, mean_ties, reassign
from tracker.linking.evidence import Tracklets
from tracker.site import Site


@dataclass(frozen=True)
class AssociationSettings:
    """Settings of ``associate``: the home of its defaults. Evidence is in log odds (nats).

    ``slope`` and ``offset``: P(same | cosine distance) = 1 / (1 + exp(slope * distance + offset)), the re-ID model's own
    calibration for pooled embeddings (None: that one, or 25 and -8.5 where there is none). ``neighbours`` compared with each
    tracklet; ``visits``: of n tracklets a pair is the same person with prior odds of ``visits`` to n. ``revisit`` seconds within which a
    person coming back is as likely at any time, and the ``time_weight`` of that, under 1 because people come in crowds.
    ``shared``: evidence of having all of the best ``shared_neighbours`` in common (k-reciprocal re-ranking), times the
    prior's: it tells the more the more others there are; none of them in common is a tenth of it against. ``missing``: evidence of
    pairs that are no neighbours; ``threshold``: mean evidence over which two groups are one person; ``uncertain``: pairs left apart at more than this are listed. ``sigma`` metres of error on the
    floor, ``area`` square metres that two people are spread over.
    """

    slope: float | None = None
    offset: float | None = None
    neighbours: int = 40
    visits: float = 100.0
    revisit: float = 20.0
    time_weight: float = 0.7
    shared: float = 1.7
    shared_neighbours: int = 10
    missing: float = -4.0
    threshold: float = 1.0
    uncertain: float = -1.0
    sigma: float = 0.7
    area: float = 100.0

    def __post_init__(self) -> None:
        over_zero(self, "neighbours", "visits", "revisit", "shared_neighbours", "sigma", "area")

    def prior(self, count: int) -> float:
        """Nats against any two of ``count`` tracklets being one person."""
        return math.log(max(count / self.visits, 1.0))

    def in_common(self, common: np.ndarray, count: int) -> np.ndarray:
        """Evidence of the share of neighbours, 0..1, that two of ``count`` tracklets have in ``common``."""
        return self.shared * self.prior(count) * (common - 0.1)


@dataclass(frozen=True, eq=False)
class Identities:
    """``ids`` (n,) int64 from 1, in the order of first appearance; ``confidence`` (n,) in 0..1 that the tracklet belongs there;
    ``uncertain`` (m, 2) rows of pairs left apart that may be one person, likeliest first, with ``odds`` (m,) in nats.
    """

    ids: np.ndarray
    confidence: np.ndarray
    uncertain: np.ndarray
    odds: np.ndarray


def associate(tracklets: Tracklets, site: Site | None = None, settings: AssociationSettings | None = None) -> Identities:
    """Which tracklets are the same person: constrained average linkage over log odds of appearance, time and place.

    The order of the tracklets decides nothing. A tracklet without an embedding stays alone.
    """
    settings, site = settings or AssociationSettings(), site or Site()
    n = len(tracklets)
    order = np.lexsort((tracklets.tracks, tracklets.cameras, tracklets.end, tracklets.start))
    offsets = np.array([site.cameras[name].offset if name in site.cameras else 0.0 for name in tracklets.cameras.tolist()])
    rows = Tracklets(
        tracklets.cameras, tracklets.tracks, tracklets.start + offsets, tracklets.end + offsets, tracklets.embeddings,
        None if tracklets.paths is None else tuple(path + np.array([shift, 0, 0]) for path, shift in zip(tracklets.paths, offsets, strict=True)),
    ).take(order)  # fmt: skip
    pairs, odds = log_odds(rows, site, settings)

    def compatible(a: list[int], b: list[int]) -> bool:
        return not evidence.forbidden(rows, np.array(a), np.array(b), site).any()

    labels = average_linkage(n, pairs, odds, settings.missing, compatible, settings.threshold)
    labels = reassign(labels, pairs, odds, settings.missing, compatible)
    confidence = _confidence(labels, pairs, odds, settings.missing, compatible)
    apart = np.flatnonzero((labels[pairs[:, 0]] != labels[pairs[:, 1]]) & (odds > settings.uncertain)) if len(pairs) else np.zeros(0, int)
    apart = apart[np.argsort(-odds[apart], kind="stable")]
    ids, sure = np.empty(n, np.int64), np.empty(n)
    ids[order], sure[order] = labels + 1, confidence
    return Identities(ids, sure, order[pairs[apart]].reshape(-1, 2), odds[apart])


def log_odds(rows: Tracklets, site: Site, settings: AssociationSettings) -> tuple[np.ndarray, np.ndarray]:
    """(m, 2) neighbouring pairs that may be one person and their (m,) log odds, over ``missing``."""
    pairs = evidence.neighbours(rows.embeddings, settings.neighbours)
    gap = evidence.gaps(rows, pairs)
    close = np.flatnonzero(gap <= max((link.least for link in site.links), default=0.0))
    never = np.zeros(len(pairs), bool)
    for at in close.tolist():
        never[at] = evidence.forbidden(rows, pairs[at, :1], pairs[at, 1:], site)[0, 0]
    pairs = pairs[~never]
    distance = evidence.distances(rows.embeddings, pairs)
    names, cameras = np.unique(rows.cameras.astype(str), return_inverse=True)
    background = evidence.Background()
    for camera in range(len(names)):
        background.add(camera, rows.embeddings[(cameras == camera) & rows.embeddings.any(1)])
    shift = background.shift(len(names))[cameras[pairs[:, 0]], cameras[pairs[:, 1]]]
    odds = evidence.appearance(distance + shift, settings.slope, settings.offset)
    odds += settings.time_weight * evidence.time(rows, pairs, site, settings.revisit)
    odds += evidence.ground(rows, pairs, site, settings.sigma, settings.area)
    odds -= settings.prior(len(rows))
    common = evidence.shared_neighbours(pairs, odds, len(rows), settings.shared_neighbours)
    odds += settings.in_common(common, len(rows))
    told = odds > settings.missing  # the others weigh as much as pairs that are no neighbours: a large graph stays sparse
    return pairs[told], odds[told]


def _confidence(
    labels: np.ndarray, pairs: np.ndarray, odds: np.ndarray, missing: float, compatible: Callable[[list[int], list[int]], bool]
) -> np.ndarray:
    """(n,) logistic of the mean evidence that ties a tracklet to the rest of its identity.

    Of one alone: of the evidence against the identity that it might join, the most likely one of those it may.
    """
    near, members = adjacency(len(labels), pairs, odds), groups(labels.tolist())
    out = np.empty(len(labels))
    for row, label in enumerate(labels.tolist()):
        ties = mean_ties(row, near[row], labels, members, missing)
        if len(members[label]) > 1:
            out[row] = ties.get(label, missing)
        else:
            out[row] = -max((mean for other, mean in ties.items() if compatible([row], sorted(members[other]))), default=missing)
    return evidence.probability(out)
