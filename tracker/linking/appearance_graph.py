"""How tracklets look and when they were where, with the evidence that ties them: what the on-line linker knows."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from tracker.linking import evidence
from tracker.linking.association import AssociationSettings
from tracker.linking.column_table import looks_table, sightings_table
from tracker.linking.evidence import Tracklets
from tracker.linking.updates import Key, TrackletUpdate
from tracker.site import Site


class Tie(NamedTuple):
    """Evidence between two looks, nats; ``total`` is the sum of the others."""

    appearance: float
    time: float
    place: float
    total: float


class LookGraph:
    """Looks of tracklets, or of several settled ones of a person in a camera, and the ties between neighbours.

    ``looks`` and ``sightings`` are tables; ``keys``: sighting -> its tracklet; ``seen``: look -> its
    sightings; ``ties``: look -> neighbouring look -> evidence.
    ``retention``: seconds that people are remembered, the most that the evidence of time counts with.
    """

    def __init__(self, site: Site, settings: AssociationSettings, retention: float) -> None:
        self.site, self.settings, self.retention = site, settings, retention
        self.looks, self.sightings = looks_table(0), sightings_table()
        self.keys: dict[int, Key] = {}
        self.seen: dict[int, set[int]] = {}
        self.ties: dict[int, dict[int, Tie]] = {}
        self._best: dict[int, list[int]] = {}  # look -> its likeliest neighbours, as far as they were asked for
        self._cameras: dict[str, int] = {}
        self._background = evidence.Background()
        self._waits = np.zeros((0, 0))
        self._first = math.inf

    def write(self, update: TrackletUpdate, look: int = -1, sighting: int = -1) -> tuple[int, int]:
        """Put a tracklet's state into the tables; returns its rows of looks and of sightings, new ones for -1."""
        camera = self._cameras.setdefault(update.camera, len(self._cameras))
        self._first = min(self._first, update.start)
        seen = {"camera": camera, "start": update.start, "end": update.end}
        if update.embedding is not None and not self.looks["unit"].shape[1]:
            self.looks.widen("unit", "sum", width=len(update.embedding))
        if look < 0:
            look = self.looks.add(person=0, **seen)
            sighting = self.sightings.add(look=look, **seen)
            self.seen[look] = {sighting}
            self.keys[sighting] = update.key
            if update.embedding is not None:
                self._background.add(camera, update.embedding)
        else:
            self.looks.put(look, **seen)
            self.sightings.put(sighting, **seen)
        if update.embedding is not None:
            self.looks.put(look, known=True, unit=update.embedding, sum=update.embedding * update.weight)
        return look, sighting

    @property
    def prior(self) -> float:
        """Nats against any two being one person, the more the more there are."""
        return self.settings.prior(len(self.sightings))

    def compare(self, rows: np.ndarray, time: float, paths: dict[int, TrackletUpdate]) -> None:
        """Make the ties of ``rows`` (n,) of looks anew: to their nearest neighbours.

        ``time``: now; ``paths``: look -> the tracklet, where it still lives and its path is known.
        """
        for row in rows.tolist():
            self._untie(row)
        looks, shift = self.looks, self._background.shift(len(self._cameras))
        rows = rows[looks["known"][rows]]
        count = int(looks["known"].sum())
        if not len(rows) or count < 2:
            return
        distance = 1.0 - looks["unit"][rows] @ looks["unit"].T
        distance += shift[looks["camera"][rows]][:, looks["camera"]].astype(np.float32)  # free rows take the last camera's: masked below
        gap = np.maximum(looks["start"][rows][:, None], looks["start"]) - np.minimum(looks["end"][rows][:, None], looks["end"])
        distance[gap < self._least()[looks["camera"][rows]][:, looks["camera"]]] = np.inf
        distance[:, ~looks["known"]] = np.inf
        distance[np.arange(len(rows)), rows] = np.inf
        most = min(self.settings.neighbours, count - 1)
        near = np.argpartition(distance, most - 1, axis=1)[:, :most]
        at = np.repeat(np.arange(len(rows)), most), near.ravel()
        at = tuple(part[np.isfinite(distance[at])] for part in at)
        both = np.unique(np.sort(np.stack([rows[at[0]], at[1]], 1), axis=1), axis=0)
        far = dict(zip(zip(rows[at[0]].tolist(), at[1].tolist(), strict=True), distance[at].tolist(), strict=True))
        local, index = np.unique(both, return_inverse=True)
        pairs = index.reshape(-1, 2)
        tracklets = self._tracklets(local, paths)
        span = min(max(time - self._first, 0.0), self.retention)
        when = self.settings.time_weight * evidence.time(tracklets, pairs, self.site, self.settings.revisit_time, span)
        where = evidence.ground(tracklets, pairs, self.site, self.settings.ground_noise, self.settings.floor_area)
        far_apart = np.array([far.get((a, b), far.get((b, a), 0.0)) for a, b in both.tolist()])
        looks_odds = evidence.appearance(far_apart, self.settings.slope, self.settings.offset)
        least = self.settings.missing_odds + self.prior
        for (a, b), tie in zip(
            both.tolist(), map(Tie, looks_odds.tolist(), when.tolist(), where.tolist(), (looks_odds + when + where).tolist()), strict=True
        ):
            if tie.total > least:
                self.ties.setdefault(a, {})[b] = tie
                self.ties.setdefault(b, {})[a] = tie
                self._best.pop(b, None)

    def _tracklets(self, rows: np.ndarray, paths: dict[int, TrackletUpdate]) -> Tracklets:
        """Looks as tracklets, each at its latest sighting; paths of those that live."""
        names = np.array(list(self._cameras), object)
        updates = [paths.get(row) for row in rows.tolist()]
        walked = tuple(np.zeros((0, 3)) if update is None or update.path is None else update.path for update in updates)
        looks = self.looks
        return Tracklets(
            names[looks["camera"][rows]], rows, looks["start"][rows], looks["end"][rows], np.zeros((len(rows), 0), np.float32), walked
        )

    def _least(self) -> np.ndarray:
        """(cameras, cameras) seconds that must lie between two sightings of a person; -inf where both may see them at once."""
        names = list(self._cameras)
        if self._waits.shape[0] != len(names):
            self._waits = np.array([[self.site.wait(one, other) for other in names] for one in names])
        return self._waits

    def _likeliest(self, row: int) -> list[int]:
        """The best neighbours of a look."""
        if row not in self._best:
            near = self.ties.get(row, {})
            self._best[row] = sorted(near, key=lambda other: (-near[other].total, other))[: self.settings.shared_neighbours]
        return self._best[row]

    def weights(self, region: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """(m, 2) pairs of the region's looks that have ties, by their place in it, and their (m,) weights."""
        place = {row: at for at, row in enumerate(region)}
        pairs = [(at, place[other]) for row, at in place.items() for other in self.ties.get(row, {}) if place.get(other, -1) > at]
        if not pairs:
            return np.zeros((0, 2), np.int64), np.zeros(0)
        prior = self.prior
        odds = np.array([self.ties[region[a]][region[b]].total for a, b in pairs]) - prior
        around = dict(place)
        for row in region:
            for at, other in enumerate(self._likeliest(row)):
                around.setdefault(other, len(around))
                for next_but_one in self._likeliest(other) if at < evidence.EXPANSION else ():
                    around.setdefault(next_but_one, len(around))
        cells = [
            (at, around[other], self.ties[row][other].total - prior)
            for row, at in around.items() for other in self._likeliest(row) if other in around
        ]  # fmt: skip
        first, second, total = zip(*cells, strict=True)
        best = np.zeros((len(around), len(around)))
        best[first, second] = evidence.probability(np.array(total))
        common = evidence.shared_in_small(best, np.array(pairs))
        return np.array(pairs), odds + self.settings.in_common(common, len(self.sightings))

    def conflicts(self, region: list[int]) -> np.ndarray:
        """(r, r) bool: looks that cannot be one person's."""
        own = [(at, sighting) for at, look in enumerate(region) for sighting in sorted(self.seen[look])]
        at, rows = np.array(own, np.int64).reshape(-1, 2).T
        seen = self.sightings
        start, end, camera = seen["start"][rows], seen["end"][rows], seen["camera"][rows]
        gap = np.maximum(start[:, None], start) - np.minimum(end[:, None], end)
        a, b = np.nonzero(gap < self._least()[np.ix_(camera, camera)])
        out = np.zeros((len(region), len(region)), bool)
        out[at[a], at[b]] = True
        np.fill_diagonal(out, False)
        return out

    def fuse(self, kept: int, gone: int) -> None:
        """Make one look of two, at the later's time; ``gone`` is free after."""
        looks = self.looks
        total = looks["sum"][kept] + looks["sum"][gone]
        latest = kept if looks["end"][kept] >= looks["end"][gone] else gone
        unit = total / max(float(np.linalg.norm(total)), 1e-9)
        looks.put(kept, sum=total, unit=unit, start=looks["start"][latest], end=looks["end"][latest])
        moved = self.seen.pop(gone)
        self.sightings["look"][sorted(moved)] = kept
        self.seen[kept] |= moved
        self.drop(gone)

    def drop(self, look: int) -> None:
        """Forget a look and its sightings."""
        for sighting in self.seen.pop(look, ()):
            self.drop_sighting(sighting)
        self._untie(look)
        self.looks.drop(look)

    def drop_sighting(self, sighting: int) -> None:
        del self.keys[sighting]
        self.seen.get(int(self.sightings["look"][sighting]), set()).discard(sighting)
        self.sightings.drop(sighting)

    def _untie(self, look: int) -> None:
        for other in self.ties.pop(look, {}):
            del self.ties[other][look]
            self._best.pop(other, None)
        self._best.pop(look, None)
