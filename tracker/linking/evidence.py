"""What speaks for two tracklets being one person, in log odds (nats), and what forbids it; pure functions over arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic import Field
from scipy import sparse

from detectors.runtime.settings import Settings
from tracker.site import Link, Site

EXPANSION, LIKELY = 2, 0.3  # neighbours that a row's own are averaged with, and from which probability on
UNCALIBRATED = 25.0, -8.5  # slope and offset of an MPN on pooled embeddings
CLIP, MOST_RIVALS = 0.5, 6  # distance over which a margin tells no more, and neighbours that are looked at for a rival
STRANGER = 1.0  # distance of two people, on any site
EM_ROUNDS, MATCHES_TRUST = 4, 20.0
MOST_VOTERS = 2000


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


def neighbours(rows: np.ndarray, most: int) -> np.ndarray:
    """(m, 2) pairs (a < b, each once) of every row (n, d) and the ``most`` with which its product is greatest; rows of zeros have none."""
    known = np.flatnonzero(rows.any(1))
    held, most = rows[known], min(most, len(known) - 1)
    if most < 1:
        return np.zeros((0, 2), np.int64)
    pairs, chunk = [], max(64, 16_000_000 // len(held))  # memory stays the same however many there are
    for begin in range(0, len(held), chunk):
        similarity = held[begin : begin + chunk] @ held.T
        similarity[np.arange(len(similarity)), np.arange(begin, begin + len(similarity))] = -np.inf
        nearest = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
        pairs.append(np.stack([np.repeat(np.arange(begin, begin + len(similarity)), most), nearest.ravel()], 1))
    both = np.sort(known[np.concatenate(pairs)], axis=1)
    code = np.unique(both[:, 0] * len(rows) + both[:, 1])
    return np.stack([code // len(rows), code % len(rows)], 1)


def distances(rows: np.ndarray, pairs: np.ndarray, chunk: int = 20_000) -> np.ndarray:
    """(m,) float64: 1 less the product of ``pairs`` (m, 2) of rows."""
    out = np.empty(len(pairs))
    for begin in range(0, len(pairs), chunk):
        a, b = pairs[begin : begin + chunk].T
        out[begin : begin + chunk] = 1.0 - np.einsum("nd,nd->n", rows[a], rows[b])
    return out


def appearance(distance: np.ndarray, slope: float | None, offset: float | None) -> np.ndarray:
    """Log odds of the same person at a cosine distance, from the model's calibration (Platt, 1999; one pair in two the same).

    None: that of an MPN on pooled embeddings. Within one camera and a few seconds; over a site see ``looks_alike``.
    """
    return -((UNCALIBRATED[0] if slope is None else slope) * distance + (UNCALIBRATED[1] if offset is None else offset))


class EvidenceWeights(Settings):
    """What the distances of a site mean, in nats; they belong to a re-ID model and are the same for all sites."""

    distance: float = Field(
        default=-8.1, title="Distance", description="Nats per unit of distance between embeddings, as centred on the site."
    )
    rival: float = Field(default=-6.8, title="Rivals", description="Nats per unit of the margin over rivals: how much nearer others are.")
    same_camera: float = Field(default=-1.2, title="Same camera", description="Nats where one camera saw both.")
    constant: float = Field(default=6.6, title="Constant", description="Nats of every pair.")
    prior: float = Field(
        default=0.5, ge=0, title="Prior", description="Weight of the log odds of the number of matches estimated on the site."
    )
    first_distance: float = Field(default=-13.0, title="First distance", description="As `distance`, before rivals are known.")
    first_constant: float = Field(default=10.8, title="First constant", description="As `constant`, before rivals are known.")
    vote_distance: float = Field(
        default=-10.9, title="Vote distance", description="As `first_distance`, of embeddings before they are centred."
    )
    vote_constant: float = Field(
        default=8.9, title="Vote constant", description="As `first_constant`, of embeddings before they are centred."
    )

    def guess(self, distance: np.ndarray) -> np.ndarray:
        """Log odds before rivals are known."""
        return self.first_distance * distance + self.first_constant

    def odds(self, distance: np.ndarray, margin: np.ndarray, same_camera: np.ndarray) -> np.ndarray:
        """Log odds of pairs, their site's prior left out."""
        return self.distance * distance + self.rival * margin + self.same_camera * same_camera + self.constant


class SiteMeans:
    """What everybody on a site has in common, in each camera's eyes, and how far people spread around it: measured on the site, without labels.

    A model sees people on cameras that it never saw as more alike than they are, and each camera adds a light of its own. Looks are therefore
    measured from their camera's mean. That is drawn towards the site's, and the site's towards 0, as by ``TRUST`` tracklets more of the mean vote; the
    spread towards ``USUAL_SPREAD``, as by ``SPREAD_TRUST`` votes. Each person has about one vote, however often they are seen: whoever is seen
    all day must not be the mean, where directions tell nothing.
    """

    TRUST, USUAL_SPREAD, SPREAD_TRUST, FLOOR = 20.0, 0.8, 3.0, 0.2

    def __init__(self) -> None:
        self._sums: list[np.ndarray] = []
        self._votes: list[float] = []
        self.count = 0

    def add(self, camera: int, embeddings: np.ndarray, votes: np.ndarray | float = 1.0) -> None:
        """Take in (n, d) unit rows of a camera by its number, with (n,) ``votes``."""
        while len(self._sums) <= camera:
            self._sums.append(np.zeros(embeddings.shape[1]))
            self._votes.append(0.0)
        weights = np.broadcast_to(np.asarray(votes, float), len(embeddings))
        self._sums[camera] += weights @ embeddings
        self._votes[camera] += float(weights.sum())
        self.count += len(weights)

    @property
    def votes(self) -> float:
        """All that were taken in."""
        return sum(self._votes)

    def measure(self, cameras: int) -> tuple[np.ndarray, float]:
        """(cameras, d) means, and the spread: the mean squared length of what is left of unit rows."""
        trust = self.TRUST * self.votes / max(self.count, 1)
        sums, votes = np.zeros((cameras, self._sums[0].shape[0])), np.zeros(cameras)
        sums[: len(self._sums)], votes[: len(self._votes)] = np.stack(self._sums), self._votes
        site = sums.sum(0) / (votes.sum() + trust)
        means = (sums + trust * site) / (votes + trust)[:, None]
        left = votes.sum() - 2 * (means * sums).sum() + (votes * (means * means).sum(1)).sum()
        return means, float((left + self.SPREAD_TRUST * self.USUAL_SPREAD) / (votes.sum() + self.SPREAD_TRUST))


def means_of(embeddings: np.ndarray, cameras: np.ndarray, votes: np.ndarray) -> tuple[np.ndarray, float]:
    """The means (cameras, d) and the spread of (n, d) rows of ``cameras`` (n,), with (n,) ``votes``; rows of zeros have none."""
    known, means, every = embeddings.any(1), SiteMeans(), int(cameras.max()) + 1
    for camera in range(every):
        mine = (cameras == camera) & known
        means.add(camera, embeddings[mine], votes[mine])
    return means.measure(every)


def one_vote_each(embeddings: np.ndarray, cameras: np.ndarray, usual: float, weights: EvidenceWeights) -> np.ndarray:
    """(n,) votes: 1 over the number of tracklets that are likely the same person's, by their distance from each other in units of the spread.

    Of many tracklets, by those evenly taken ones that stand for all.
    """
    count = len(embeddings)
    centres, spread = means_of(embeddings, cameras, np.ones(count))
    rows = (embeddings - centres.astype(np.float32)[cameras]) / np.float32(np.sqrt(2 * spread))
    known = np.flatnonzero(embeddings.any(1))
    asked = known[np.linspace(0, len(known) - 1, min(len(known), MOST_VOTERS)).astype(np.int64)]
    length = np.einsum("nd,nd->n", rows, rows)

    def guesses(some: np.ndarray) -> np.ndarray:
        apart = np.maximum(length[some][:, None] + length[asked] - 2 * rows[some] @ rows[asked].T, 0)
        odds = weights.vote_distance * apart + weights.vote_constant
        odds[some[:, None] == asked] = -np.inf
        return odds

    between = guesses(asked)[np.triu_indices(len(asked), 1)]
    matches = matches_on_site(between[between > -10], len(asked), usual, 1.0) if len(asked) > 1 else usual
    prior = prior_odds(matches, len(asked))
    out, chunk = np.zeros(count), max(64, 4_000_000 // max(len(asked), 1))
    for begin in range(0, len(known), chunk):
        some = known[begin : begin + chunk]
        out[some] = 1 / (1 + probability(guesses(some) + prior).sum(1) * len(known) / len(asked))
    return out


def centred(embeddings: np.ndarray, cameras: np.ndarray, usual: float, weights: EvidenceWeights) -> np.ndarray:
    """(n, d) float32 rows measured from their ``cameras``' (n,) means, of length 1 and less; zeros stay zeros.

    1 less the product of two is their distance on this site: about 1 for two people, whatever the model makes of the site. What is near the mean
    stays shorter than 1 (``FLOOR``, of the spread): its direction is noise.
    """
    known = embeddings.any(1)
    if not known.any():
        return np.zeros_like(embeddings, np.float32)
    centres, spread = means_of(embeddings, cameras, one_vote_each(embeddings, cameras, usual, weights))
    out = embeddings - centres.astype(np.float32)[cameras]
    out /= np.sqrt(np.einsum("nd,nd->n", out, out) + SiteMeans.FLOOR * spread)[:, None].astype(np.float32)
    out[~known] = 0
    return out.astype(np.float32)


def rivals(pairs: np.ndarray, distance: np.ndarray, likely: np.ndarray, cameras: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(k,) margin of the pairs at ``asked`` (k,) over their rivals, the mean of both sides; bounded to +-``CLIP``.

    One side's margin is the ``distance`` (m,) of ``pairs`` (m, 2) less that to the nearest in the other's camera (``cameras`` (n,)) who is not the other:
    the nearest of whom the pair with the other is not ``likely`` (m,) bool, or a stranger at ``STRANGER`` where nobody is nearer. Kin to the
    ratio test (Lowe, 2004) and to adaptive score normalisation (Matejka et al., 2017).
    """
    count, every = len(cameras), int(cameras.max(initial=0)) + 1
    both, far = np.concatenate([pairs, pairs[:, ::-1]]), np.concatenate([distance, distance])
    key = both[:, 0] * every + cameras[both[:, 1]]
    order = np.lexsort((both[:, 1], far, key))
    sorted_key, sorted_far, sorted_other = key[order], far[order], both[order, 1]
    one = np.unique((pairs[:, 0] * count + pairs[:, 1])[likely])
    todo = np.concatenate([asked, asked + len(pairs)])
    margin = np.clip(far[todo] - STRANGER, -CLIP, CLIP)
    left, place = np.arange(len(todo)), np.searchsorted(sorted_key, key[todo])
    for _ in range(MOST_RIVALS):
        inside = place[left] < len(sorted_key)
        left = left[inside]
        left = left[sorted_key[place[left]] == key[todo[left]]]
        if not len(left):
            break
        other, rival = both[todo[left], 1], sorted_other[place[left]]
        code = np.minimum(other, rival) * count + np.maximum(other, rival)
        found = np.searchsorted(one, code)
        same = (other == rival) | (found < len(one)) & (one[np.minimum(found, len(one) - 1)] == code if len(one) else False)
        done = left[~same]
        margin[done] = np.clip(far[todo[done]] - np.minimum(sorted_far[place[done]], STRANGER), -CLIP, CLIP)
        left = left[same]
        place[left] += 1
    return 0.5 * (margin[: len(asked)] + margin[len(asked) :])


def prior_odds(matches: float, count: int) -> float:
    """Log odds that any two of ``count`` tracklets are one person, where each has so many ``matches``."""
    return float(np.log(matches / max(count - 1 - matches, 0.5)))


def bounded_matches(total: float, count: int, usual: float) -> float:
    """Matches of a tracklet from the ``total`` of its pairs' probabilities over ``count``, drawn to the ``usual`` as by ``MATCHES_TRUST`` tracklets more."""
    return min((2 * total + usual * MATCHES_TRUST) / (count + MATCHES_TRUST), 0.6 * (count - 1))


def matches_on_site(odds: np.ndarray, count: int, usual: float, prior: float, pairs: np.ndarray | float = 1.0) -> float:
    """How many of ``count`` tracklets match one, from the log odds of their pairs (m,), by EM; pairs not listed are no matches.

    ``pairs``: (m,) how many pairs have these odds.
    """
    matches = min(usual, 0.6 * (count - 1))
    for _ in range(EM_ROUNDS):
        chances = probability(odds + prior * prior_odds(matches, count)) * pairs
        matches = bounded_matches(float(chances.sum()), count, usual)
    return matches


class OddsHistogram:
    """Log odds of pairs, counted in bins of ``WIDTH`` nats, so that the number of matches on a site can be estimated anew at any time."""

    WIDTH, LEAST, MOST = 0.1, -16.0, 16.0

    def __init__(self) -> None:
        self.centres = np.arange(self.LEAST, self.MOST + self.WIDTH, self.WIDTH)
        self.counts = np.zeros(len(self.centres))

    def count(self, odds: np.ndarray | list[float], times: int) -> None:
        """Count (m,) log odds once more, or with ``times`` -1 once less."""
        at = np.rint((np.clip(odds, self.LEAST, self.MOST) - self.LEAST) / self.WIDTH).astype(np.int64)
        np.add.at(self.counts, at, times)


def looks_alike(
    pairs: np.ndarray, distance: np.ndarray, cameras: np.ndarray, usual: float, weights: EvidenceWeights, least: float
) -> tuple[np.ndarray, float]:
    """(m,) log odds of ``pairs`` (m, 2) from ``distance`` (m,) on a site whose tracklets are of ``cameras`` (n,); and its prior, which is in them.

    First a guess from distances, then twice the margin over those whom the round before took for others. The number of matches is
    estimated on the site by EM from the ``usual`` one. Pairs that no margin brings over ``least`` have the worst.
    """
    count, same = len(cameras), cameras[pairs[:, 0]] == cameras[pairs[:, 1]]
    if not len(pairs):
        return np.zeros(0), 0.0
    odds = weights.guess(distance)
    prior = prior_odds(matches_on_site(odds, count, usual, 1.0), count)
    margin = np.full(len(pairs), CLIP)
    for _ in range(2):
        likely = odds + prior > 0
        asked = np.flatnonzero(weights.odds(distance, np.full(len(pairs), -CLIP), same) + prior > least)
        margin[asked] = rivals(pairs, distance, likely, cameras, asked)
        odds = weights.odds(distance, margin, same)
        prior = weights.prior * prior_odds(matches_on_site(odds, count, usual, weights.prior), count)
    return odds + prior, prior


def gaps(tracklets: Tracklets, pairs: np.ndarray) -> np.ndarray:
    """(m,) seconds from the end of the earlier to the start of the later; negative where both are seen at once."""
    a, b = pairs.T
    return np.maximum(tracklets.start[a], tracklets.start[b]) - np.minimum(tracklets.end[a], tracklets.end[b])


def revisit(gap: np.ndarray, span: float, scale: float, unseen: np.ndarray | float = 0.0) -> np.ndarray:
    """Log odds from time alone: people are seen again soon rather than late.

    The time to the next sight of the same person is taken as log-uniform from ``scale`` to ``span`` seconds, that of somebody
    else as uniform over ``span``, the time all cameras cover together. ``unseen``: seconds of the gap in which a camera was blind; the
    person may have come at any moment of them.
    """
    return np.log(max(span, scale) * _likelihood(gap, unseen, span, scale))


def _likelihood(gap: np.ndarray, unseen: np.ndarray | float, span: float, scale: float) -> np.ndarray:
    """Probability per second that the same person comes after ``gap``, the mean over what was not seen of it."""
    span = max(span, scale)
    gap = np.clip(gap, 0, span)
    whole, blind = np.log((span + scale) / scale), np.clip(unseen, 0, gap)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.log((gap + scale) / (gap - blind + scale)) / (blind * whole)
    return np.where(blind > 1e-3, mean, 1 / ((gap + scale) * whole))


def transition(gap: np.ndarray, link: Link, span: float, scale: float, stray: float = 0.1, unseen: np.ndarray | float = 0.0) -> np.ndarray:
    """As ``revisit``, where a link says how long the way takes: triangular around its typical time, uniform without one; ``stray`` took
    another way.

    A link without times says no more than ``revisit``.
    """
    least, typical, most = link.min_time, link.typical_time, link.slowest
    if most is None:
        return revisit(gap, span, scale, unseen)

    def share(seconds: np.ndarray) -> np.ndarray:
        """Of the people, those who have made the way within ``seconds``."""
        done = np.clip(seconds, least, most)
        if typical is None:
            return (done - least) / (most - least)
        rise = (done - least) ** 2 / max((most - least) * (typical - least), 1e-9)
        fall = 1 - (most - done) ** 2 / max((most - least) * (most - typical), 1e-9)
        return np.where(done <= typical, rise, fall)

    if typical is None:
        density = np.where((gap >= least) & (gap <= most), 1 / (most - least), 0.0)
    else:
        rise = np.where(gap < typical, (gap - least) / max(typical - least, 1e-9), (most - gap) / max(most - typical, 1e-9))
        density = np.clip(rise, 0, 1) * 2 / (most - least)
    blind = np.clip(unseen, 0, np.maximum(gap, 0))
    density = np.where(blind > 1e-3, (share(gap) - share(gap - blind)) / np.maximum(blind, 1e-3), density)
    return np.log(max(span, scale) * ((1 - stray) * density + stray * _likelihood(gap, unseen, span, scale)))


def time(
    tracklets: Tracklets, pairs: np.ndarray, site: Site, scale: float, span: float | None = None, unseen: np.ndarray | None = None
) -> np.ndarray:
    """(m,) log odds from when the two were where; 0 where both are seen at once (whether that may be, ``forbidden`` says).

    ``span``: seconds that all cameras cover together; None: from the first start to the last end. ``unseen`` (m,): seconds between the two
    in which one of their cameras was blind.
    """
    if not len(pairs):
        return np.zeros(0)
    gap = gaps(tracklets, pairs)
    if span is None:
        span = float(tracklets.end.max() - tracklets.start.min())
    unseen = np.zeros(len(pairs)) if unseen is None else unseen
    out = revisit(gap, span, scale, unseen)
    if site.links:
        a, b = pairs.T
        first, later = np.where(tracklets.start[a] <= tracklets.start[b], (a, b), (b, a))
        ways = np.stack([tracklets.cameras[first], tracklets.cameras[later]], 1)
        for start, end in {(str(x), str(y)) for x, y in ways}:
            if (link := site.link(start, end)) is not None:
                on_it = (ways[:, 0] == start) & (ways[:, 1] == end)
                out[on_it] = transition(gap[on_it], link, span, scale, unseen=unseen[on_it])
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
    rows, index = np.unique(pairs, return_inverse=True)  # of the others no code is asked for
    left, likely, close = best[rows], [], []
    for _ in range(EXPANSION):
        close.append(left.argmax(1))
        at = np.arange(len(rows)), close[-1]
        likely.append(left[at] > LIKELY)
        left[at] = -1
    needed, place = np.unique(np.concatenate([rows, *close]), return_inverse=True)
    mutual = np.minimum(best[needed], best[:, needed].T)
    mutual[np.arange(len(needed)), needed] += 1
    mutual /= mutual.sum(1)[:, None]
    own, *others = place.reshape(1 + EXPANSION, -1)
    code = mutual[own]
    for other, weight in zip(others, likely, strict=True):
        code += mutual[other] * weight[:, None]
    code /= 1 + sum(likely, np.zeros(len(rows)))[:, None]
    a, b = index.reshape(-1, 2).T
    step = max(1, 4_000_000 // len(best))
    shared = np.concatenate([np.minimum(code[a[at : at + step]], code[b[at : at + step]]).sum(1) for at in range(0, len(pairs), step)])
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
