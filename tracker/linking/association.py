"""Offline association: one identity per tracklet, over all cameras and times at once."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field

from detectors.runtime.settings import Nats, Seconds, Settings
from tracker.linking import evidence
from tracker.linking.clustering import adjacency, average_linkage, groups, mean_ties, reassign
from tracker.linking.evidence import EvidenceWeights, Tracklets
from tracker.site import Site

HOPELESS = 3.0  # nats under ``missing`` from which time and neighbours in common cannot bring a pair back
USUAL_WEIGHTS = EvidenceWeights()
CROWD = 100  # tracklets up to which neighbours in common tell nothing


class AssociationSettings(Settings):
    """Identities over all cameras and runs: average-linkage clustering of tracklets by log odds, in nats, that two are one person.

    - The log odds add up appearance (the distance of embeddings measured from their camera's mean, and the margin over
      rivals), time, place on the floor, and shared nearest neighbours (k-reciprocal
      re-ranking), and a prior: how many matches the site's tracklets have.
    - Tracklets that overlap in one camera, or that no one could walk between in time, are never one person (cannot-link).
    """

    evidence: EvidenceWeights | None = Field(
        default=None,
        title="Evidence weights",
        description="What distances between embeddings mean. Default: fitted with the re-ID model, or those of the code without a fit.",
    )
    neighbours: int = Field(
        default=40, ge=1, title="Neighbours", description="Number of nearest tracklets, by cosine distance, that each one is compared with."
    )
    expected_matches: float = Field(
        default=1.5,
        gt=0,
        title="Expected matches",
        description="How many other tracklets are the same person as one, before the site's own tracklets say how many.",
    )
    revisit_time: Seconds = Field(
        default=20.0,
        gt=0,
        title="Revisit time",
        description="Returns within this time are equally likely at any moment; later ones are less and less likely.",
    )
    time_weight: float = Field(
        default=0.7, ge=0, title="Time weight", description="Weight of the log odds from time. Under 1, because people come in crowds."
    )
    shared_weight: float = Field(
        default=1.7,
        ge=0,
        title="Shared-neighbour weight",
        description="Weight of the overlap of nearest neighbours, times the log of the hundreds of tracklets.",
    )
    shared_neighbours: int = Field(
        default=10,
        ge=1,
        title="Shared neighbours",
        description="Number of best neighbours whose overlap counts (k of k-reciprocal re-ranking).",
    )
    missing_odds: Nats = Field(default=-4.0, title="Missing odds", description="Log odds of two tracklets that are not neighbours.")
    threshold: Nats = Field(default=-0.75, title="Merge threshold", description="Merge two clusters if their mean log odds exceed this.")
    uncertain_threshold: Nats = Field(
        default=-1.0,
        title="Uncertain threshold",
        description="List a pair that was not merged in `uncertain.csv` if its log odds exceed this.",
    )
    ground_noise: Annotated[float, Field(json_schema_extra={"unit": "m"})] = Field(
        default=0.7, gt=0, title="Ground noise", description="Standard deviation of a position on the floor between two cameras."
    )
    floor_area: Annotated[float, Field(json_schema_extra={"unit": "m²"})] = Field(
        default=100.0, gt=0, title="Floor area", description="Area over which two different people are spread."
    )

    @property
    def weighing(self) -> EvidenceWeights:
        """The weights in use."""
        return self.evidence or USUAL_WEIGHTS

    def in_common(self, common: np.ndarray, count: int) -> np.ndarray:
        """Evidence of the share of neighbours, 0..1, that two of ``count`` tracklets have in ``common``."""
        return self.shared_weight * math.log(max(count / CROWD, 1.0)) * (common - 0.1)


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
    told = odds > settings.missing_odds  # the others weigh as much as pairs that are no neighbours: a large graph stays sparse
    pairs, odds = pairs[told], odds[told]

    def compatible(a: list[int], b: list[int]) -> bool:
        return not evidence.forbidden(rows, np.array(a), np.array(b), site).any()

    labels = average_linkage(n, pairs, odds, settings.missing_odds, compatible, settings.threshold)
    labels = reassign(labels, pairs, odds, settings.missing_odds, compatible)
    confidence = _confidence(labels, pairs, odds, settings.missing_odds, compatible)
    apart = (
        np.flatnonzero((labels[pairs[:, 0]] != labels[pairs[:, 1]]) & (odds > settings.uncertain_threshold))
        if len(pairs)
        else np.zeros(0, int)
    )
    apart = apart[np.argsort(-odds[apart], kind="stable")]
    ids, sure = np.empty(n, np.int64), np.empty(n)
    ids[order], sure[order] = labels + 1, confidence
    return Identities(ids, sure, order[pairs[apart]].reshape(-1, 2), odds[apart])


def log_odds(rows: Tracklets, site: Site, settings: AssociationSettings) -> tuple[np.ndarray, np.ndarray]:
    """(m, 2) neighbouring pairs that may be one person and their (m,) log odds, the site's prior in them."""
    _, cameras = np.unique(rows.cameras.astype(str), return_inverse=True)
    looks = evidence.centred(rows.embeddings, cameras, settings.expected_matches, settings.weighing) if len(rows) else rows.embeddings
    pairs = evidence.neighbours(looks, settings.neighbours)
    gap = evidence.gaps(rows, pairs)
    close = np.flatnonzero(gap <= max((link.min_time for link in site.links), default=0.0))
    never = np.zeros(len(pairs), bool)
    for at in close.tolist():
        never[at] = evidence.forbidden(rows, pairs[at, :1], pairs[at, 1:], site)[0, 0]
    pairs = pairs[~never]
    odds, _ = evidence.looks_alike(
        pairs, evidence.distances(looks, pairs), cameras, settings.expected_matches, settings.weighing, settings.missing_odds - HOPELESS
    )
    odds = odds + settings.time_weight * evidence.time(rows, pairs, site, settings.revisit_time)
    odds += evidence.ground(rows, pairs, site, settings.ground_noise, settings.floor_area)
    common = evidence.shared_neighbours(pairs, odds, len(rows), settings.shared_neighbours)
    return pairs, odds + settings.in_common(common, len(rows))


def _confidence(
    labels: np.ndarray, pairs: np.ndarray, odds: np.ndarray, missing: float, compatible: Callable[[list[int], list[int]], bool]
) -> np.ndarray:
    """(n,) share that a tracklet's identity has among all that it may have: its own, one of its own alone, and those that it might join."""
    near, members = adjacency(len(labels), pairs, odds), groups(labels.tolist())
    out = np.empty(len(labels))
    for row, label in enumerate(labels.tolist()):
        ties = mean_ties(row, near[row], labels, members, missing)
        own = ties.get(label, missing) if len(members[label]) > 1 else 0.0
        others = [mean for other, mean in ties.items() if other != label and compatible([row], sorted(members[other]))]
        out[row] = share(own, others if len(members[label]) == 1 else [0.0, *others])
    return out


def share(own: float, others: Sequence[float]) -> float:
    """Of the likelihood that log odds give to one identity and to ``others``, the part of the first, 0..1."""
    return float(1 / np.exp(np.clip(np.array([own, *others]) - own, -30, 30)).sum())
