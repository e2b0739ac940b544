"""Search: who in the store is the person of a picture or a track, with the chance of it, and whether anybody is.

The chance is that of ``tracker.linking.evidence``, with the weights of the re-ID model: distances from the camera's mean, the margin over rivals,
the prior of the site. The means and the prior are measured on a sample of the store's own sightings; so is the threshold: searches for people of
the store, their own sightings left out, say which odds a search for somebody who is not there reaches in one of a hundred.
"""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.store.records import Sighting, Where
from pipeline.store.store import Store
from tracker.linking import evidence
from tracker.linking.association import HOPELESS, AssociationSettings
from tracker.linking.evidence import EvidenceWeights, SiteMeans

SAMPLE, PROBES, FEWEST_PROBES = 3000, 400, 100
NEAREST = 32  # sightings whose margins are looked at
STALE = 1.2  # the store is measured again when it has so many times as many sightings, or as few


@dataclass(frozen=True, eq=False)
class Measured:
    """What is measured on a store's sightings: ``means`` (cameras + 1, d) by the places that ``cameras`` gives, the site's own last; their ``spread``;
    ``prior``: log odds that two sightings are one person, as weighed."""

    cameras: Mapping[int, int]
    means: np.ndarray
    spread: float
    prior: float
    weights: EvidenceWeights

    def centre(self, camera: int | None) -> np.ndarray:
        """(d,) float32 mean of a camera by its number, that of the site for None and for a new one."""
        return self.means[self.cameras.get(-1 if camera is None else camera, len(self.means) - 1)]

    @property
    def floor(self) -> float:
        return SiteMeans.FLOOR * self.spread

    def centred(self, row: np.ndarray, camera: int | None) -> np.ndarray:
        """(d,) ``row`` as ``evidence.centred`` measures it."""
        left = row - self.centre(camera)
        return np.asarray(left / np.sqrt(left @ left + self.floor), np.float32)

    def centred_rows(self, rows: np.ndarray, cameras: np.ndarray) -> np.ndarray:
        """(n, d) ``rows`` of ``cameras`` (n,), by their numbers, as ``centred``."""
        left = rows - self.means[[self.cameras.get(int(camera), len(self.means) - 1) for camera in cameras]]
        return np.asarray(left / np.sqrt(np.einsum("nd,nd->n", left, left) + self.floor)[:, None], np.float32)


@dataclass(frozen=True)
class Threshold:
    """Log odds from which a hit is reported as a match. ``probes``: for how many people searches measured it; 0: too few, so that it is the highest odds that any of them reached, and even odds at least."""

    odds: float
    false_positive_rate: float
    probes: int

    @property
    def probability(self) -> float:
        return float(evidence.probability(np.array(self.odds)))


@dataclass(frozen=True)
class Hit:
    """A sighting that may be the person: ``probability`` 0..1, its log ``odds``, ``distance`` (1: a stranger on this site), whether it is a ``match``."""

    sighting: Sighting
    probability: float
    odds: float
    distance: float
    match: bool


@dataclass(frozen=True)
class Found:
    """The likeliest sightings first. ``compared``: how many there were."""

    hits: tuple[Hit, ...]
    threshold: Threshold
    compared: int

    @property
    def matches(self) -> tuple[Hit, ...]:
        return tuple(hit for hit in self.hits if hit.match)

    @property
    def others(self) -> tuple[Hit, ...]:
        """Hits under the threshold."""
        return tuple(hit for hit in self.hits if not hit.match)

    @property
    def nobody(self) -> bool:
        """Nobody here matches."""
        return not self.matches


@dataclass(frozen=True, eq=False)
class _Nearest:
    """Of each query the nearest sightings, by distance: ``ids`` and ``distance`` lists of (k,), ``compared`` in all."""

    ids: list[np.ndarray]
    distance: list[np.ndarray]
    compared: int


class Searcher:
    """Searches ``store``. Raises UsageError if it has no embeddings."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._measured: tuple[int, Measured] | None = None

    def by_vectors(self, vectors: np.ndarray, where: Where | None = None, top: int = 20, camera: int | None = None) -> Found:
        """The sightings of ``where`` that are likeliest the person of ``vectors`` (n, d): embeddings of one or several pictures of one person.

        ``camera``: number of the camera that they are of, None if it is none of the store's. Raises UsageError for another dimension.
        """
        return self._search(_pooled(np.atleast_2d(vectors)), camera, where, top, set())

    def by_sighting(self, sighting: int, where: Where | None = None, top: int = 20) -> Found:
        """The sightings that are likeliest the person of ``sighting``, itself left out, and whoever its camera saw at the same time."""
        row, me = self.store.vectors.get(sighting), self.store.sightings.get(sighting)
        if row is None:
            raise UsageError(f"sighting {me.name} has no embedding: nothing to search by")
        same_time = self.store.sightings.ids(Where((me.camera,), me.start, me.end))
        camera = self.store.sightings.camera_numbers((me.camera,))[0]
        return self._search(row, camera, where, top, {sighting, *same_time.tolist()})

    def threshold(self, measured: Measured | None = None) -> Threshold:
        """The threshold at ``store.false_positive_rate``, measured if need be."""
        rate = self.store.settings.false_positive_rate
        known = self.store.db.row("SELECT sightings, value FROM measured WHERE key = ?", (f"threshold {rate}",))
        count = self.store.sightings.count()
        if known is not None and not _stale(known[0], count):
            odds, probes = json.loads(known[1])
            return Threshold(odds, rate, probes)
        people, best = self._impostors(measured or self.measured())
        of_each = [float(best[people == one].max()) for one in np.unique(people).tolist()]
        if len(of_each) < FEWEST_PROBES:  # too few to tell a rate: over even odds, and over whatever a search for somebody else reached
            found = Threshold(max(0.0, *of_each, 0.0), rate, 0)
        else:  # of searches and of people, whichever is stricter: searches for one person are not independent
            odds = max(float(np.quantile(some, 1 - rate, method="higher")) for some in (best, np.array(of_each)))
            found = Threshold(odds, rate, len(of_each))
        self._keep(f"threshold {rate}", count, json.dumps([found.odds, found.probes]).encode())
        return found

    def measured(self) -> Measured:
        """Means, spread and prior of the store, measured again if it has grown."""
        count = self.store.sightings.count()
        if self.store.vectors.dimension is None:
            raise UsageError(f"{self.store.path}: no embeddings to search")
        known = self.store.db.row("SELECT sightings, value FROM measured WHERE key = 'site'")
        if known is not None and not _stale(known[0], count):
            if self._measured is None or self._measured[0] != known[0]:
                self._measured = known[0], self._read(known[1])
            return self._measured[1]
        found = self._measure(count)
        out = io.BytesIO()
        np.savez(out, cameras=np.array(list(found.cameras), np.int64), means=found.means, numbers=np.array([found.spread, found.prior]))
        self._keep("site", count, out.getvalue())
        self._measured = count, found
        return found

    # one search

    def _search(self, query: np.ndarray, camera: int | None, where: Where | None, top: int, left_out: set[int]) -> Found:
        measured = self.measured()
        if len(query) != measured.means.shape[1]:
            raise UsageError(
                f"the query has {len(query)} dimensions, the store's embeddings {measured.means.shape[1]}: another re-ID model"
            )
        threshold = self.threshold(measured)
        near = self._nearest(measured, measured.centred(query, camera)[None], where, max(top, NEAREST), [left_out])
        ids, odds = self._odds(measured, measured.centred(query, camera), camera, near.ids[0], near.distance[0])
        order = np.argsort(-odds, kind="stable")[:top]
        sightings = {one.id: one for one in self.store.sightings.query(Where(sightings=tuple(ids[order].tolist())))}
        chance = evidence.probability(odds)
        hits = [
            Hit(sightings[int(ids[at])], float(chance[at]), float(odds[at]), float(near.distance[0][at]), bool(odds[at] >= threshold.odds))
            for at in order.tolist()
            if int(ids[at]) in sightings
        ]
        return Found(tuple(hits), threshold, near.compared)

    def _nearest(self, measured: Measured, queries: np.ndarray, where: Where | None, most: int, left_out: Sequence[set[int]]) -> _Nearest:
        """Scan what ``where`` chooses for the ``most`` nearest of each of ``queries`` (m, d), which are centred."""
        ids = [np.zeros(0, np.int64) for _ in queries]
        best = [np.zeros(0, np.float32) for _ in queries]
        limit = np.full(len(queries), np.inf, np.float32)
        out = [np.array(sorted(some), np.int64) for some in left_out]
        compared = 0
        for block in self.store.vectors.read_ahead(where):
            centre = measured.centre(block.camera)
            found = np.concatenate([queries, centre[None]]) @ block.rows.astype(np.float32).T
            length = np.sqrt(np.maximum(1 - 2 * found[-1] + centre @ centre, 0) + measured.floor)
            distance = (1 - (found[:-1] - (queries @ centre)[:, None]) / length).astype(np.float32)
            compared += len(block.ids)
            for at in np.flatnonzero((distance < limit[:, None]).any(1)).tolist():
                near = np.flatnonzero(distance[at] < limit[at])
                near = near[~np.isin(block.ids[near], out[at])]
                both, every = np.concatenate([best[at], distance[at][near]]), np.concatenate([ids[at], block.ids[near]])
                order = np.argsort(both, kind="stable")[:most]
                best[at], ids[at] = both[order], every[order]
                if len(order) == most:
                    limit[at] = best[at][-1]
        return _Nearest(ids, best, compared)

    def _odds(
        self, measured: Measured, query: np.ndarray, camera: int | None, ids: np.ndarray, distance: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Log odds of a query's nearest sightings, from their distance and the margin over rivals among them."""
        if not len(ids):
            return ids, np.zeros(0)
        cameras = np.array([_camera(one) for one in ids.tolist()], np.int64)
        rows = measured.centred_rows(self.store.vectors.of(ids), cameras)
        places = np.unique(np.concatenate([[-1 if camera is None else camera], cameras]), return_inverse=True)[1]
        a, b = np.triu_indices(len(ids), 1)
        pairs = np.concatenate([np.stack([np.zeros(len(ids), np.int64), np.arange(1, len(ids) + 1)], 1), np.stack([a + 1, b + 1], 1)])
        every = np.concatenate([distance.astype(np.float64), 1 - np.einsum("nd,nd->n", rows[a], rows[b])])
        weights, same = measured.weights, places[pairs[:, 0]] == places[pairs[:, 1]]
        odds = weights.guess(every) + measured.prior / max(weights.prior, 1e-9)
        asked = np.arange(len(pairs))
        for _ in range(2):
            margin = evidence.rivals(pairs, every, odds > 0, places, asked)
            odds = weights.odds(every, margin, same) + measured.prior
        return ids, odds[: len(ids)]

    # what is measured

    def _measure(self, count: int) -> Measured:
        """Means, spread and prior, of a sample."""
        settings = AssociationSettings()
        facts = self.store.facts
        weights = EvidenceWeights.model_validate_json(facts["evidence"]) if "evidence" in facts else settings.weighing
        ids, numbers, rows = self._sample(SAMPLE)
        names = {int(number): place for place, number in enumerate(np.unique(numbers).tolist())}
        cameras = np.array([names[int(number)] for number in numbers], np.int64)
        usual = settings.expected_matches * len(ids) / max(count, 1)
        votes = evidence.one_vote_each(rows, cameras, usual, weights) if len(ids) > 1 else np.ones(len(ids))
        means = SiteMeans()
        for place in range(len(names)):
            means.add(place, rows[cameras == place], votes[cameras == place])
        centres, spread = means.measure(len(names) + 1)
        measured = Measured(names, centres.astype(np.float32), spread, 0.0, weights)
        looks = measured.centred_rows(rows, numbers)
        pairs = evidence.neighbours(looks, settings.neighbours)
        _, prior = evidence.looks_alike(pairs, evidence.distances(looks, pairs), cameras, usual, weights, settings.missing_odds - HOPELESS)
        return Measured(names, measured.means, spread, prior, weights)

    def _impostors(self, measured: Measured) -> tuple[np.ndarray, np.ndarray]:
        """Searches for people of the store among everybody else's sightings: (n,) whom for, and (n,) the best odds."""
        db = self.store.db
        ids, numbers, rows = self._sample(PROBES)
        left_out, people = list[set[int]](), list[int]()
        for one in ids.tolist():
            who = db.value("SELECT identity FROM sightings WHERE id = ?", (one,))
            mine = {row[0] for row in db.rows("SELECT id FROM sightings WHERE identity = ?", (who,))} if who is not None else set()
            doubtful = db.rows(  # more likely the same person than not; those less likely are the look-alikes that a threshold is for
                """SELECT id FROM sightings WHERE identity IN (SELECT identity FROM sightings JOIN
                (SELECT a AS id, probability, answer FROM pairs WHERE b = :one UNION SELECT b, probability, answer FROM pairs WHERE a = :one)
                USING (id) WHERE answer = 'same' OR answer IS NOT 'different' AND probability > 0.5)""",
                {"one": one},
            )
            people.append(-one if who is None else who)
            left_out.append({one} | mine | {row[0] for row in doubtful})
        queries = measured.centred_rows(rows, numbers)
        near = self._nearest(measured, queries, None, NEAREST, left_out)
        best, whom = list[float](), list[int]()
        for at, person in enumerate(people):
            _, odds = self._odds(measured, queries[at], int(numbers[at]), near.ids[at], near.distance[at])
            if len(odds):
                best.append(float(odds.max()))
                whom.append(person)
        return np.array(whom, np.int64), np.array(best)

    def _sample(self, most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, camera numbers and (n, d) float32 embeddings of up to ``most`` sightings, evenly taken."""
        every = np.array([row[0] for row in self.store.db.rows("SELECT id FROM vectors ORDER BY id")], np.int64)
        ids = every[np.linspace(0, len(every) - 1, min(most, len(every))).astype(np.int64)] if len(every) else every
        return ids, np.array([_camera(one) for one in ids.tolist()], np.int64), self.store.vectors.of(ids)

    def _read(self, value: bytes) -> Measured:
        with np.load(io.BytesIO(value)) as file:
            spread, prior = file["numbers"].tolist()
            facts = self.store.facts
            weights = EvidenceWeights.model_validate_json(facts["evidence"]) if "evidence" in facts else AssociationSettings().weighing
            return Measured({int(number): place for place, number in enumerate(file["cameras"])}, file["means"], spread, prior, weights)

    def _keep(self, key: str, count: int, value: bytes) -> None:
        with self.store.db.writing() as db:
            db.execute("INSERT OR REPLACE INTO measured (key, sightings, value) VALUES (?, ?, ?)", (key, count, value))


def _camera(sighting: int) -> int:
    from pipeline.store.schema import camera_of

    return camera_of(sighting)


def _pooled(rows: np.ndarray) -> np.ndarray:
    """(d,) the mean of (n, d) unit rows, of unit length."""
    total = rows.astype(np.float32).sum(0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)


def _stale(then: int, now: int) -> bool:
    return not then / STALE <= now <= then * STALE
