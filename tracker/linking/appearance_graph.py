"""How tracklets look and when they were where, with the evidence that ties them: what the on-line linker knows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tracker.linking import evidence
from tracker.linking.association import AssociationSettings
from tracker.linking.column_table import looks_table, sightings_table
from tracker.linking.evidence import Tracklets
from tracker.linking.updates import Key, TrackletUpdate
from tracker.site import Site

REVIEW, REVIEWED = 1.5, 512  # all looks are compared anew when there are so many times as many, up to so many
BY_HAND = 1e3  # nats between two looks that somebody has said to be one person's
RENEW = 1.02  # times the votes of before from which on the means are measured again


_NOBODY: frozenset[int] = frozenset()


class Tie(NamedTuple):
    """Evidence between two looks, nats, the site's prior left out; ``total`` is the sum of the first three. ``chance``: 0..1, of looks and
    prior as they were then.
    """

    appearance: float
    time: float
    place: float
    total: float
    chance: float


class _Likeliest(NamedTuple):
    """A look's best neighbours and the totals of their ties, the best first."""

    looks: list[int]
    totals: list[float]


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
        self._best: dict[int, _Likeliest] = {}  # look -> its likeliest neighbours, as far as they were asked for
        self._cameras: dict[str, int] = {}
        self._means = evidence.SiteMeans()  # of all looks compared so far
        self._pairs = evidence.OddsHistogram()  # what looks say of ties, and of the pairs that were compared and have none:
        self._untied: dict[int, np.ndarray] = {}  # look -> the odds of those with looks that came before it
        self._centres, self._spread = np.zeros((0, 0), np.float32), self._means.USUAL_SPREAD  # as last measured,
        self._measured = 0.0  # of so many votes
        self._alike: dict[int, set[int]] = {}  # look -> neighbours that are likely the same person, by looks
        self._voted: set[int] = set()
        self._reviewed = 2  # looks that there were when all were compared anew
        self._unmeasured: set[int] = set()  # looks that were written since the last comparison
        self._waits = np.zeros((0, 0))
        self._first = math.inf
        self._together: dict[int, int] = {}  # look -> number of the group that somebody has said to be one person's
        self._apart: dict[int, set[int]] = {}  # look -> looks that somebody has said to be another person's
        self._blind: dict[str, dict[float, float]] = {}  # camera -> begin -> end of what it did not see

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
        else:
            self.looks.put(look, **seen)
            self.sightings.put(sighting, **seen)
        if update.embedding is not None:
            self.looks.put(look, known=True, unit=update.embedding, sum=update.embedding * update.weight)
            self._unmeasured.add(look)
        return look, sighting

    def change_site(self, site: Site) -> None:
        self.site, self._waits = site, np.zeros((0, 0))

    def blind(self, camera: str, start: float, end: float) -> None:
        """The camera saw nothing from ``start`` to ``end``, seconds of the site's clock; the same start again changes the end."""
        self._blind.setdefault(camera, {})[start] = end

    def forget_blind(self, before: float) -> None:
        for camera, intervals in self._blind.items():
            self._blind[camera] = {start: end for start, end in intervals.items() if end >= before}

    def _unseen(self, tracklets: Tracklets, pairs: np.ndarray) -> np.ndarray:
        """(m,) seconds between the two of a pair in which one of their cameras was blind, at most all of them."""
        begin, end = np.minimum(tracklets.end[pairs[:, 0]], tracklets.end[pairs[:, 1]]), tracklets.start[pairs].max(1)
        out = np.zeros(len(pairs))
        for camera, intervals in self._blind.items():
            of = np.flatnonzero((tracklets.cameras[pairs] == camera).any(1))
            for first, last in intervals.items():
                out[of] += np.clip(np.minimum(end[of], last) - np.maximum(begin[of], first), 0, None)
        return np.minimum(out, np.maximum(end - begin, 0))

    @property
    def prior(self) -> float:
        """Log odds that any two looks are one person's, from how many match so far."""
        return self.settings.weighing.prior * self._expected_odds()

    def _expected_odds(self) -> float:
        count, pairs = int(self.looks["known"].sum()), self._pairs
        if count < 2:
            return 0.0
        matches = evidence.matches_on_site(pairs.centres, count, self.settings.expected_matches, self.settings.weighing.prior, pairs.counts)
        return evidence.prior_odds(matches, count)

    def outdated(self) -> list[int]:
        """Looks whose ties were made when little was known of the site: all, each time that there are half as many more, up to ``REVIEWED``.

        The means are made anew of them, too, as offline.
        """
        known = np.flatnonzero(self.looks["known"])
        if not REVIEW * self._reviewed <= len(known) <= REVIEWED:
            return []
        self._reviewed = len(known)
        self.measure_anew()
        return known.tolist()

    def measure_anew(self) -> None:
        """Make the means of the looks that there are, as offline."""
        known = np.flatnonzero(self.looks["known"])
        self._means, self._measured, self._voted = evidence.SiteMeans(), -1.0, set(known.tolist())
        self._centres = np.zeros((0, 0), np.float32)
        if not len(known):
            return
        units, cameras = self.looks["unit"][known], self.looks["camera"][known]
        votes = evidence.one_vote_each(units, cameras, self.settings.expected_matches, self.settings.weighing)
        for camera in np.unique(cameras).tolist():
            mine = cameras == camera
            self._means.add(camera, units[mine], votes[mine])

    def _measure(self) -> None:
        """Measure the site's means again where cameras or, by a fiftieth, votes have come; what is stored stays as it is."""
        votes, width = self._means.votes, self.looks["unit"].shape[1]
        written, self._unmeasured = self._unmeasured, set()
        if self._centres.shape[0] == len(self._cameras) and 0 <= votes <= RENEW * self._measured:
            self._measure_from_centre(np.array(sorted(written), np.int64))
            return
        if votes:
            means, self._spread = self._means.measure(len(self._cameras))
            self._centres = means.astype(np.float32)
        else:
            self._centres = np.zeros((len(self._cameras), width), np.float32)
        self._measured = votes
        self._measure_from_centre(np.flatnonzero(self.looks["known"]))

    def _measure_from_centre(self, rows: np.ndarray) -> None:
        """Set ``scale`` of looks: 1 over their length as ``evidence.centred`` has it."""
        for begin in range(0, len(rows), 1024):
            some = rows[begin : begin + 1024]
            left = self.looks["unit"][some] - self._centres[self.looks["camera"][some]]
            length = np.einsum("nd,nd->n", left, left) + self._means.FLOOR * self._spread
            self.looks["scale"][some] = 1 / np.sqrt(length)

    def _distances(self, rows: np.ndarray) -> np.ndarray:
        """(n, looks) distances of ``rows`` (n,) as ``evidence.centred`` measures them; inf where two cannot be one person or are nobody."""
        looks = self.looks
        left = looks["unit"][rows] - self._centres[looks["camera"][rows]]
        alike = left @ looks["unit"].T
        alike -= (left @ self._centres.T)[:, looks["camera"]]  # free rows take the last camera's: masked below
        distance = 1.0 - alike * looks["scale"][rows][:, None] * looks["scale"]
        gap = np.maximum(looks["start"][rows][:, None], looks["start"]) - np.minimum(looks["end"][rows][:, None], looks["end"])
        distance[gap < self._least()[looks["camera"][rows]][:, looks["camera"]]] = np.inf
        distance[:, ~looks["known"]] = np.inf
        distance[np.arange(len(rows)), rows] = np.inf
        return distance

    def _margins(self, near: np.ndarray, far: np.ndarray) -> np.ndarray:
        """(n, k) margins of looks' neighbours ``near`` (n, k) at distances ``far`` over rivals among them: see ``evidence.rivals``."""
        camera = self.looks["camera"][near]
        rival = camera[:, :, None] == camera[:, None, :]
        rival[:, np.arange(near.shape[1]), np.arange(near.shape[1])] = False
        for row, some in enumerate(near.tolist()):
            place = {look: at for at, look in enumerate(some)}
            for at, look in enumerate(some):
                if alike := place.keys() & self._alike.get(look, _NOBODY):
                    rival[row, at, [place[other] for other in alike]] = False
        nearest = np.where(rival, far[:, None, :], np.inf).min(2)
        return np.clip(far - np.minimum(nearest, evidence.STRANGER), -evidence.CLIP, evidence.CLIP)

    def compare(self, rows: np.ndarray, time: float, paths: dict[int, TrackletUpdate]) -> None:
        """Make the ties of ``rows`` (n,) of looks anew: to their nearest neighbours.

        ``time``: now; ``paths``: look -> the tracklet, where it still lives and its path is known. Rivals are those of the looks asked
        about. Who has been taken for the same person is a rival nevertheless, if looks do not say so: a wrong decision must not
        speak for itself.
        """
        looks = self.looks
        rows = rows[looks["known"][rows]]
        count = int(looks["known"].sum())
        if not len(rows):
            return
        self._measure()
        if count > 1:
            for _ in range(2 if len(rows) == count else 1):  # of all at once the second time knows who is likely whom
                self._tie(rows, min(self.settings.neighbours, count - 1), time, paths)
        for row in rows.tolist():
            if row not in self._voted:  # once, however it looks later
                self._voted.add(row)
                same = sum(tie.chance for tie in self.ties.get(row, {}).values())
                self._means.add(int(looks["camera"][row]), looks["unit"][row][None], 1 / (1 + same))

    def _tie(self, rows: np.ndarray, most: int, time: float, paths: dict[int, TrackletUpdate]) -> None:
        distance = self._distances(rows)
        near = np.argpartition(distance, most - 1, axis=1)[:, :most]
        apart = np.take_along_axis(distance, near, 1)
        margin = self._margins(near, apart)
        for row in rows.tolist():
            self._untie(row)
        one, at = np.nonzero(np.isfinite(apart))
        if not len(one):
            return
        pairs_of = np.sort(np.stack([rows[one], near[one, at]], 1), axis=1)
        both, index = np.unique(pairs_of, axis=0, return_inverse=True)
        seen_from = np.bincount(index.ravel())
        far = np.bincount(index.ravel(), apart[one, at]) / seen_from
        margins = np.bincount(index.ravel(), margin[one, at]) / seen_from
        local, index = np.unique(both, return_inverse=True)
        pairs = index.reshape(-1, 2)
        tracklets = self._tracklets(local, paths)
        span = min(max(time - self._first, 0.0), self.retention)
        unseen = self._unseen(tracklets, pairs) if self._blind else None
        when = self.settings.time_weight * evidence.time(tracklets, pairs, self.site, self.settings.revisit_time, span, unseen)
        where = evidence.ground(tracklets, pairs, self.site, self.settings.ground_noise, self.settings.floor_area)
        same_camera = self.looks["camera"][both[:, 0]] == self.looks["camera"][both[:, 1]]
        looks_odds = self.settings.weighing.odds(far, margins, same_camera)
        prior = self.prior
        chances = evidence.probability(looks_odds + prior)
        told = looks_odds + when + where > self.settings.missing_odds - prior
        self._count_untied(rows, both[~told], looks_odds[~told])
        told = np.flatnonzero(told)
        self._pairs.count(looks_odds[told], 1)
        guess = evidence.probability(self.settings.weighing.guess(far) + self._expected_odds())  # a margin over oneself tells nothing
        alike = (np.maximum(chances, guess)[told] > 0.5).tolist()
        columns = (looks_odds, when, where, looks_odds + when + where, chances)
        ties = map(Tie, *(column[told].tolist() for column in columns))
        for (a, b), tie, same in zip(both[told].tolist(), ties, alike, strict=True):
            self.ties.setdefault(a, {})[b] = tie
            self.ties.setdefault(b, {})[a] = tie
            if same:
                self._alike.setdefault(a, set()).add(b)
                self._alike.setdefault(b, set()).add(a)
            self._best.pop(b, None)

    def _count_untied(self, rows: np.ndarray, pairs: np.ndarray, odds: np.ndarray) -> None:
        """Count pairs (m, 2) that have no tie, each with the look of the two that came later, if it is one of ``rows``."""
        start = self.looks["start"][pairs]
        later = pairs[np.arange(len(pairs)), (start[:, 1] >= start[:, 0]).astype(np.int64)]
        order = np.argsort(later, kind="stable")
        later, odds = later[order], odds[order]
        first, last = np.searchsorted(later, rows), np.searchsorted(later, rows, side="right")
        for row, begin, end in zip(rows.tolist(), first.tolist(), last.tolist(), strict=True):
            if end > begin:
                self._untied[row] = odds[begin:end]
                self._pairs.count(odds[begin:end], 1)

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

    def _likeliest(self, row: int) -> _Likeliest:
        """The best neighbours of a look."""
        if row not in self._best:
            near = self.ties.get(row, {})
            looks = sorted(near, key=lambda other: (-near[other].total, other))[: self.settings.shared_neighbours]
            self._best[row] = _Likeliest(looks, [near[other].total for other in looks])
        return self._best[row]

    def weights(self, region: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """(m, 2) pairs of the region's looks that have ties, by their place in it, and their (m,) weights."""
        place = {row: at for at, row in enumerate(region)}
        tied = ((at, place[other]) for row, at in place.items() for other in filter(place.__contains__, self.ties.get(row, {})))
        pairs = [(a, b) for a, b in tied if b > a]
        told = [
            (at, place[other])
            for row, at in place.items() if row in self._together
            for other in place if place[other] > at and self._together.get(other) == self._together[row]
        ] if self._together else []  # fmt: skip
        if told:
            others, weights = self._weights([pair for pair in pairs if pair not in set(told)], region, place)
            return np.concatenate([others, np.array(told)]), np.concatenate([weights, np.full(len(told), BY_HAND)])
        return self._weights(pairs, region, place)

    def _weights(self, pairs: list[tuple[int, int]], region: list[int], place: dict[int, int]) -> tuple[np.ndarray, np.ndarray]:
        if not pairs:
            return np.zeros((0, 2), np.int64), np.zeros(0)
        prior = self.prior
        reached = list(region)
        for row in region:
            for at, other in enumerate(self._likeliest(row).looks):
                reached.append(other)
                if at < evidence.EXPANSION:
                    reached += self._likeliest(other).looks
        around = {row: at for at, row in enumerate(dict.fromkeys(reached))}
        likeliest = [self._likeliest(row) for row in around]
        second = np.array([around.get(other, -1) for some in likeliest for other in some.looks])
        first = np.repeat(np.arange(len(around)), [len(some.looks) for some in likeliest])
        odds = np.array([total for some in likeliest for total in some.totals])
        inside = second >= 0
        best = np.zeros((len(around), len(around)))
        best[first[inside], second[inside]] = evidence.probability(odds[inside] + prior)
        common = evidence.shared_in_small(best, np.array(pairs))
        totals = [self.ties[region[a]][region[b]].total for a, b in pairs]
        return np.array(pairs), np.array(totals) + prior + self.settings.in_common(common, len(self.sightings))

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
        if self._together or self._apart:
            place = {row: at for at, row in enumerate(region)}
            group = np.array([self._together.get(row, -1 - at) for row, at in place.items()])
            out[group[:, None] == group] = False
            for row, at_row in place.items():
                for other in self._apart.get(row, set()) & place.keys():
                    out[at_row, place[other]] = out[place[other], at_row] = True
        np.fill_diagonal(out, False)
        return out

    def contradicted(self, people: Sequence[list[int]]) -> list[int]:
        """Which of ``people``, by their looks, have two that cannot be one person's; by their places in ``people``."""
        if self._apart or self._together:
            return [at for at, looks in enumerate(people) if self.conflicts(looks).any()]
        own = [[row for look in looks for row in self.seen[look]] for looks in people]
        by_size: dict[int, list[int]] = {}
        for at, rows in enumerate(own):
            by_size.setdefault(len(rows), []).append(at)
        seen, least, out = self.sightings, self._least(), []
        for places in by_size.values():
            of = np.array([own[at] for at in places])  # (people, sightings)
            start, end, camera = seen["start"][of], seen["end"][of], seen["camera"][of]
            gap = np.maximum(start[:, :, None], start[:, None, :]) - np.minimum(end[:, :, None], end[:, None, :])
            wrong = gap < least[camera[:, :, None], camera[:, None, :]]
            wrong &= seen["look"][of][:, :, None] != seen["look"][of][:, None, :]
            out += np.array(places)[wrong.any((1, 2))].tolist()
        return sorted(out)

    # said by hand

    def join(self, looks: set[int]) -> None:
        """These looks are one person's, whatever they look like; what was said to part them no longer counts."""
        numbers = {self._together[look] for look in looks if look in self._together}
        number = min(numbers, default=max(self._together.values(), default=0) + 1)
        looks = looks | {look for look, group in self._together.items() if group in numbers}
        self._together |= dict.fromkeys(looks, number)
        for look in looks:
            self._apart[look] = self._apart.get(look, set()) - looks

    def part(self, looks: set[int], others: set[int]) -> None:
        """``looks`` are one person's, and ``others`` another's."""
        for look in looks:
            self._together.pop(look, None)
            self._apart.setdefault(look, set()).update(others)
        for other in others:
            self._apart.setdefault(other, set()).update(looks)

    def detach(self, look: int, sightings: set[int]) -> int:
        """Give some sightings of a look a look of their own, of the same appearance; returns it."""
        rows, looks = sorted(sightings), self.looks
        share, latest = len(rows) / len(self.seen[look]), rows[int(np.argmax(self.sightings["end"][rows]))]
        copied = {name: looks[name][look].copy() for name in ("known", "unit", "person", "camera", "scale")}
        when = {name: self.sightings[name][latest] for name in ("start", "end")}
        new = looks.add(**copied, **when, sum=looks["sum"][look] * share)
        looks.put(look, sum=looks["sum"][look] * (1 - share))
        self.sightings["look"][rows] = new
        self.seen[new], self.seen[look] = set(rows), self.seen[look] - set(rows)
        self._voted.add(new)
        self._unmeasured.add(new)
        return new

    def fuse(self, kept: int, gone: int) -> None:
        """Make one look of two, at the later's time; ``gone`` is free after."""
        looks = self.looks
        total = looks["sum"][kept] + looks["sum"][gone]
        latest = kept if looks["end"][kept] >= looks["end"][gone] else gone
        unit = total / max(float(np.linalg.norm(total)), 1e-9)
        looks.put(kept, sum=total, unit=unit, start=looks["start"][latest], end=looks["end"][latest])
        self._unmeasured.add(kept)
        moved = self.seen.pop(gone)
        self.sightings["look"][sorted(moved)] = kept
        self.seen[kept] |= moved
        if gone in self._together:
            self.join({kept, gone})
        for other in self._apart.get(gone, set()):
            self._apart.setdefault(kept, set()).add(other)
            self._apart[other].add(kept)
        self.drop(gone)

    def drop(self, look: int) -> None:
        """Forget a look and its sightings."""
        for sighting in self.seen.pop(look, ()):
            self.drop_sighting(sighting)
        self._untie(look)
        self._voted.discard(look)
        self._together.pop(look, None)
        for other in self._apart.pop(look, ()):
            self._apart[other].discard(look)
        self._unmeasured.discard(look)
        self.looks.drop(look)

    def drop_sighting(self, sighting: int) -> None:
        del self.keys[sighting]
        self.seen.get(int(self.sightings["look"][sighting]), set()).discard(sighting)
        self.sightings.drop(sighting)

    def _untie(self, look: int) -> None:
        ties = self.ties.pop(look, {})
        self._pairs.count([tie.appearance for tie in ties.values()], -1)
        if look in self._untied:
            self._pairs.count(self._untied.pop(look), -1)
        for other in ties:
            self._alike.get(other, set()).discard(look)
            del self.ties[other][look]
            self._best.pop(other, None)
        self._best.pop(look, None)
        self._alike.pop(look, None)
