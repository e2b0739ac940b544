"""On-line linking: tracklets of many cameras, as they grow, to identities; decisions may be put off and taken back.

Evidence, constraints and clustering are those of offline association, of the tracklets that changed and the people near them
alone. Time moves in steps of the tracklets' own clock; a step waits ``lateness`` for its updates, so the order in which they come
decides nothing, and an update that comes twice changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

import numpy as np
from pydantic import Field

from detectors.runtime.settings import Nats, Seconds, Settings
from tracker.linking.appearance_graph import LookGraph
from tracker.linking.association import AssociationSettings
from tracker.linking.clustering import adjacency, groups, mean_ties, revise
from tracker.linking.updates import Event, Exemplar, Key, TrackletUpdate
from tracker.site import Site

UNLIKELY = -3.0  # nats: ties under this bring no person into question
MOST_PEOPLE = 8  # that come into question for one tracklet


class LinkerSettings(Settings):
    """Online linking: identities while the cameras run, with the log odds of `association`.

    - Time advances in steps. Updates may arrive up to `lateness` late and in any order; the result is the same.
    - A tracklet gets an identity when it carries enough evidence or has waited long enough. The decision is reviewed each time the
      evidence doubles, and is final once the tracklet has ended and `settle_time` has passed.
    """

    step: Seconds = Field(default=1.0, gt=0, title="Step", description="Interval between decisions.")
    lateness: Seconds = Field(default=5.0, ge=0, title="Allowed lateness", description="Time that a step waits for late updates.")
    min_weight: Annotated[float, Field(json_schema_extra={"unit": "sum of embedding qualities"})] = Field(
        default=2.0, ge=0, title="Minimum weight", description="Assign an identity once the embeddings of a tracklet weigh this much."
    )
    max_wait: Seconds = Field(
        default=5.0, ge=0, title="Maximum wait", description="Assign an identity at this age of a tracklet, whatever its embeddings weigh."
    )
    revision_margin: Nats = Field(
        default=2.0, ge=0, title="Revision margin", description="Revise an identity only if the total log odds grow by more than this."
    )
    settle_time: Seconds = Field(
        default=120.0, gt=0, title="Settle time", description="Make an identity final this long after the end of its tracklet."
    )
    exemplars: Annotated[int, Field(json_schema_extra={"unit": "embeddings"})] = Field(
        default=3, ge=1, title="Exemplars", description="Embeddings kept of a person's final tracklets, per camera."
    )
    retention: Seconds = Field(
        default=86400.0, gt=0, title="Retention", description="Forget tracklets and people last seen longer ago than this."
    )
    max_people: int = Field(
        default=10_000,
        ge=1,
        title="Maximum people",
        description="Number of people remembered; those not seen for the longest time are forgotten first.",
    )


@dataclass
class _Live:
    """A tracklet that may still grow or change its identity; rows of the tables, -1 for none."""

    update: TrackletUpdate
    look: int = -1
    sighting: int = -1
    reviewed: float = 0.0


@dataclass(frozen=True, eq=False)
class _Region:
    """Looks (r,) that are clustered together, pairs (m, 2) of them that have ties, by their place here, and their weights (m,)."""

    looks: list[int]
    pairs: np.ndarray
    weights: np.ndarray


@dataclass
class Linker:
    """Identities over cameras while they run: ``add`` what is new, ``advance`` the clock, take the events.

    ``late`` counts updates that came after their tracklet was settled.
    """

    site: Site = field(default_factory=Site)
    settings: LinkerSettings = field(default_factory=LinkerSettings)
    association: AssociationSettings = field(default_factory=AssociationSettings)

    def __post_init__(self) -> None:
        self.late = 0
        self._pending: dict[Key, dict[float, TrackletUpdate]] = {}
        self._live: dict[Key, _Live] = {}
        self.corrections = 0  # how many by hand were taken, for whoever reads them from a log
        self._settled: dict[Key, int] = {}  # row of sightings
        self._forgotten: dict[Key, float] = {}  # by hand, and when
        self._graph = LookGraph(self.site, self.association, self.settings.retention)
        self._people: dict[int, set[int]] = {}  # identity -> its looks
        self._width = 0
        self._number = 0
        self._step = -math.inf  # number of the last step done

    # what comes in and goes out

    def add(self, updates: Iterable[TrackletUpdate]) -> None:
        """Take updates in any order. Raises ValueError where an embedding has another dimension than those before."""
        for update in map(self._on_site_clock, updates):
            if update.embedding is not None:
                self._width = self._width or len(update.embedding)
                if self._width != len(update.embedding):
                    raise ValueError(
                        f"track {update.track} of {update.camera}: its embedding has {len(update.embedding)} dimensions, "
                        f"those before {self._width}"
                    )
            if update.key in self._forgotten:
                continue
            if update.key in self._settled:
                self.late += update.end > self._graph.sightings["end"][self._settled[update.key]]
                continue
            live = self._live.get(update.key)
            if live is None or update.end > live.update.end:
                waiting = self._pending.setdefault(update.key, {})
                if update.end not in waiting or waiting[update.end].weight < update.weight:
                    waiting[update.end] = update

    def blind(self, camera: str, start: float, end: float = math.inf) -> None:
        """A camera saw nothing from ``start`` to ``end``, seconds of its clock: not to have seen somebody then says nothing.

        Where the end is not known yet, tell it later with the same ``start``.
        """
        offset = self._offset(camera)
        self._graph.blind(camera, start + offset, end + offset)

    def _offset(self, camera: str) -> float:
        place = self.site.cameras.get(camera)
        return 0.0 if place is None else place.offset

    def _on_site_clock(self, update: TrackletUpdate) -> TrackletUpdate:
        offset = self._offset(update.camera)
        if not offset:
            return update
        path = None if update.path is None else update.path + np.array([offset, 0, 0])
        return replace(update, start=update.start + offset, end=update.end + offset, path=path)

    def advance(self, now: float) -> list[Event]:
        """Do every step that is ``lateness`` before ``now`` (seconds of the site's clock); its decisions in order."""
        events: list[Event] = []
        last = math.floor((now - self.settings.lateness) / self.settings.step)
        while (number := self._next()) <= last:
            events += self._do(number)
        return events

    def finish(self) -> list[Event]:
        """Do all that is left, as if nothing more came."""
        events: list[Event] = []
        while math.isfinite(number := self._next()):
            events += self._do(number)
        return events

    @property
    def identities(self) -> dict[Key, int]:
        """The identity of every tracklet that has one and is not forgotten."""
        person, look = self._graph.looks["person"], self._graph.sightings["look"]
        rows = self._settled | {key: live.sighting for key, live in self._live.items() if live.look >= 0}
        return {key: int(person[look[row]]) for key, row in rows.items()}

    def identity(self, key: Key) -> int | None:
        """The identity of one tracklet, None if it has none or is forgotten."""
        live = self._live.get(key)
        row = self._settled.get(key) if live is None or live.look < 0 else live.sighting
        return None if row is None else int(self._graph.looks["person"][self._graph.sightings["look"][row]])

    @property
    def time(self) -> float | None:
        """Seconds of the site's clock of the last step done, None before the first."""
        return self._step * self.settings.step if math.isfinite(self._step) else None

    @property
    def forgotten(self) -> frozenset[Key]:
        """The tracklets that somebody has told to forget, within ``retention``."""
        return frozenset(self._forgotten)

    def skip_numbers(self, last: int) -> None:
        """Numbers up to ``last`` have been given already, by somebody whose state is lost: no person gets one of them anew."""
        self._number = max(self._number, last)

    def change_site(self, site: Site) -> None:
        """Another site from now on; what was decided stays."""
        self.site = site
        self._graph.change_site(site)

    def __len__(self) -> int:
        """How many people are remembered."""
        return len(self._people)

    def exemplars(self, known: Mapping[int, float]) -> list[Exemplar]:
        """The people who have been seen later than it is ``known`` of them, seconds of the site's clock, by identity."""
        looks, seen = self._graph.looks, self._graph.sightings
        used = np.flatnonzero(looks.used & (looks["person"] > 0))
        last = np.full(int(looks["person"][used].max(initial=0)) + 1, -np.inf)
        np.maximum.at(last, looks["person"][used], looks["end"][used])
        out = []
        for number in np.flatnonzero(np.isfinite(last)).tolist():
            if last[number] <= known.get(number, -math.inf):
                continue
            mine = sorted(self._people[number])
            rows = np.array(sorted(row for look in mine for row in self._graph.seen[look]))
            rows = rows[np.lexsort((seen["start"][rows], seen["end"][rows]))]
            total = looks["sum"][[look for look in mine if looks["known"][look]]].sum(0)
            weight = float(np.linalg.norm(total))
            embedding = (total / np.float32(weight)).astype(np.float32) if weight > 0 else None
            out.append(Exemplar(number, np.stack([seen["start"][rows], seen["end"][rows]], 1), embedding, weight))
        return out

    # by hand

    def merge(self, tracklets: Iterable[Key], time: float) -> list[Event]:
        """Somebody says that ``tracklets`` are one person: so are all of their identities, now and later. Unknown ones are passed over."""
        looks = {int(self._graph.sightings["look"][row]) for row in self._rows(tracklets).values()}
        person = self._graph.looks["person"]
        numbers = sorted({int(person[look]) for look in looks})
        looks = looks.union(*(self._people[number] for number in numbers))
        if not looks:
            return []
        self._graph.join(looks)
        person[sorted(looks)] = numbers[0]
        self._people[numbers[0]] = looks
        for number in numbers[1:]:
            del self._people[number]
        return [Event("merged", time, numbers[0], None, None, number, 0.0, {"by": "hand"}) for number in numbers[1:]]

    def split(self, tracklets: Iterable[Key], others: Iterable[Key], time: float) -> list[Event]:
        """Somebody says that ``tracklets`` are one person and ``others`` another, now and later."""
        mine, person = self._rows(tracklets), self._graph.looks["person"]
        left = {int(self._graph.sightings["look"][row]) for row in self._rows(others).values()}
        numbers = {int(person[look]) for look in left}
        looks = self._looks_of(set(mine.values()))
        before = {look: int(self._graph.looks["person"][look]) for look in looks}
        self._graph.part(looks, left - looks)
        self._graph.join(looks)
        if not numbers & set(before.values()):
            return []
        self._number += 1
        for look, old in before.items():
            self._leave(look)
            self._graph.looks["person"][look] = self._number
            self._people.setdefault(self._number, set()).add(look)
            before[look] = old
        look_of = self._graph.sightings["look"]
        return [
            Event("split", time, self._number, camera, track, before[int(look_of[row])], 0.0, {"by": "hand"})
            for (camera, track), row in sorted(mine.items())
        ]

    def forget(self, tracklets: Iterable[Key], time: float) -> None:
        """Erase all that is known of ``tracklets``, in the site's means too; what still comes of them is not taken."""
        tracklets = set(tracklets)
        rows = self._rows(tracklets)
        for look in sorted(self._looks_of(set(rows.values()))):
            self._leave(look)
            self._graph.drop(look)
        for key in tracklets:
            self._live.pop(key, None)
            self._settled.pop(key, None)
            self._pending.pop(key, None)
            self._forgotten[key] = time
        self._graph.measure_anew()

    def _rows(self, tracklets: Iterable[Key]) -> dict[Key, int]:
        """The sightings of those tracklets that have an identity."""
        rows = self._settled | {key: live.sighting for key, live in self._live.items() if live.look >= 0}
        return {key: rows[key] for key in tracklets if key in rows}

    def _looks_of(self, sightings: set[int]) -> set[int]:
        """Looks that hold these sightings and no other: shared ones are divided."""
        looks = set()
        for look in sorted({int(self._graph.sightings["look"][row]) for row in sightings}):
            mine = self._graph.seen[look] & sightings
            if mine == self._graph.seen[look]:
                looks.add(look)
                continue
            new = self._graph.detach(look, mine)
            self._people[int(self._graph.looks["person"][new])].add(new)
            looks.add(new)
        return looks

    # a step

    def _next(self) -> float:
        """The number of the next step in which anything can happen."""
        times = [min(waiting) for waiting in self._pending.values()]
        for live in self._live.values():
            times.append(live.update.end + self.settings.settle_time)
            if live.look < 0:
                times.append(live.update.start + self.settings.max_wait)
        return max(math.ceil(min(times) / self.settings.step), self._step + 1) if times else math.inf

    def _do(self, number: float) -> list[Event]:
        self._step, time = number, number * self.settings.step
        self._apply(time)
        asked, over = [], []
        for key, live in sorted(self._live.items()):
            ended = live.update.end + self.settings.settle_time <= time
            weight = 0.0 if live.update.embedding is None else live.update.weight
            if live.look < 0:
                ready = weight >= self.settings.min_weight or time >= live.update.start + self.settings.max_wait
            else:
                ready = weight >= 2 * live.reviewed and weight > 0
            if ready or ended:
                live.reviewed = weight
                live.look, live.sighting = self._graph.write(live.update, live.look, live.sighting)
                asked.append(live.look)
            if ended:
                over.append(key)
        asked += self._contradicted(asked)
        asked += sorted(set(self._graph.outdated()) - set(asked))
        events: list[Event] = []
        paths = {live.look: live.update for live in self._live.values() if live.look >= 0 and live.update.path is not None}
        self._graph.compare(np.array(asked, np.int64), time, paths)
        for region in self._regions(asked):
            self._cluster(region, time, events)
        for key in over:
            self._settle(key)
        self._forget(time)
        return events

    def _apply(self, time: float) -> None:
        """Give every tracklet its latest state up to ``time``."""
        for key in sorted(self._pending):
            waiting = self._pending[key]
            due = [end for end in waiting if end <= time]
            if not due:
                continue
            update = waiting[max(due)]
            for end in due:
                del waiting[end]
            if not waiting:
                del self._pending[key]
            if key in self._settled:
                self.late += 1
                continue
            live = self._live.setdefault(key, _Live(update))
            live.update = update
            if live.look >= 0:
                self._graph.write(update, live.look, live.sighting)

    def _contradicted(self, asked: list[int]) -> list[int]:
        """Looks of living tracklets that have grown until they cannot be one person's with another of the same identity."""
        alive: dict[int, list[int]] = {}
        for _, live in sorted(self._live.items()):
            if live.look >= 0 and self._graph.looks["person"][live.look] > 0:
                alive.setdefault(int(self._graph.looks["person"][live.look]), []).append(live.look)
        several, known = [looks for looks in alive.values() if len(looks) > 1], set(asked)
        return [
            look
            for looks in map(several.__getitem__, self._graph.contradicted(several))
            for look, wrong in zip(looks, np.any(self._graph.conflicts(looks), 1), strict=True) if wrong and look not in known
        ]  # fmt: skip

    # decisions

    def _regions(self, asked: list[int]) -> list[list[int]]:
        """The looks to be clustered together: those asked about, people likely for them, and all that these share."""
        touched: dict[int, set[int]] = {}
        prior, person = self._graph.prior, self._graph.looks["person"]
        for row in asked:
            near = self._graph.ties.get(row, {})
            likely = [
                other for other in sorted(near, key=lambda other: (-near[other].total, other)) if near[other].total + prior > UNLIKELY
            ]
            people = dict.fromkeys(int(person[other]) for other in likely if person[other] > 0)
            touched[row] = {*list(people)[:MOST_PEOPLE], int(person[row])} - {0} | {-other - 1 for other in likely if other in asked}
            touched[row].add(-row - 1)
        regions: list[tuple[set[int], set[int]]] = []
        for row, people_near in touched.items():
            joined = [region for region in regions if region[1] & people_near]
            for region in joined:
                regions.remove(region)
            regions.append(({row}.union(*(r[0] for r in joined)), people_near.union(*(r[1] for r in joined))))
        return [
            sorted(rows.union(*(self._people[number] for number in people_near if number > 0))) for rows, people_near in regions
        ]  # fmt: skip

    def _cluster(self, looks: list[int], time: float, events: list[Event]) -> None:
        """Bring the identities of a region up to date."""
        region = _Region(looks, *self._graph.weights(looks))
        conflict = self._graph.conflicts(looks)
        person, start = self._graph.looks["person"][looks], self._graph.looks["start"][looks]
        before = np.where(person > 0, person, -1 - np.arange(len(looks)))
        a, b = np.nonzero(conflict & (before[:, None] == before))
        later = np.where(start[a] >= start[b], a, b)
        before[later] = -1 - later  # who came later was taken for a person who turns out to be elsewhere
        enemies = [set(np.flatnonzero(row).tolist()) for row in conflict]
        labels = revise(
            np.unique(before, return_inverse=True)[1], region.pairs, region.weights, self.association.missing_odds,
            lambda a, b: all(enemies[row].isdisjoint(b) for row in a), self.association.threshold, self.settings.revision_margin,
        )  # fmt: skip
        self._commit(region, person, self._numbers(person, labels), time, events)

    def _numbers(self, before: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """(r,) identities: a cluster takes that of most of its looks, the older where as many have it, if no other did."""
        overlap, count = np.unique(np.stack([before, labels], 1), axis=0, return_counts=True)
        taken: dict[int, int] = {}
        for (number, label), _ in sorted(zip(overlap.tolist(), count.tolist(), strict=True), key=lambda item: (-item[1], item[0])):
            if number > 0 and label not in taken and number not in taken.values():
                taken[label] = number
        for label in np.unique(labels).tolist():
            if label not in taken:
                self._number += 1
                taken[label] = self._number
        return np.array([taken[label] for label in labels.tolist()])

    def _commit(self, region: _Region, before: np.ndarray, after: np.ndarray, time: float, events: list[Event]) -> None:
        """Write the region's identities, and say what changed."""
        moved = np.flatnonzero(before != after)
        self._graph.looks["person"][region.looks] = after
        for row, old, new in zip(region.looks, before.tolist(), after.tolist(), strict=True):
            if old > 0:
                self._people[old].discard(row)
            self._people.setdefault(new, set()).add(row)
        gone = {number for number in before[moved].tolist() if number > 0 and not self._people[number]}
        for number in sorted(gone):
            del self._people[number]
        whole = {number: set(after[before == number].tolist()) for number in gone}
        for number, into in sorted(whole.items()):
            if len(into) == 1:
                rows = np.flatnonzero(before == number)
                odds, reasons = self._why(region, rows, np.flatnonzero((after == after[rows[0]]) & (before != number)))
                events.append(Event("merged", time, min(into), None, None, number, odds, reasons))
        for at in moved.tolist():
            old, new = int(before[at]), int(after[at])
            if old > 0 and len(whole.get(old, ())) == 1:
                continue
            odds, reasons = self._why(region, np.array([at]), np.flatnonzero((after == new) & (np.arange(len(after)) != at)))
            for sighting in sorted(self._graph.seen[region.looks[at]]):
                camera, track = self._graph.keys[sighting]
                events.append(Event("split" if old > 0 else "assigned", time, new, camera, track, old if old > 0 else None, odds, reasons))

    def _why(self, region: _Region, rows: np.ndarray, others: np.ndarray) -> tuple[float, dict[str, float | int | str]]:
        """Mean evidence between two groups of a region's looks, and the best tie between them."""
        if not len(others):  # a person of their own: as sure as nobody else fits
            return round(-max(self._best_alternative(region, row) for row in rows.tolist()), 3), {}
        a, b = region.pairs.T
        one, other = np.zeros((2, len(region.looks)), bool)
        one[rows], other[others] = True, True
        between = np.flatnonzero((one[a] & other[b]) | (one[b] & other[a]))
        every = len(rows) * len(others)
        mean = (region.weights[between].sum() + (every - len(between)) * self.association.missing_odds) / every
        if not len(between):
            return round(float(mean), 3), {}
        first, second = region.pairs[between[np.argmax(region.weights[between])]].tolist()
        tie = self._graph.ties[region.looks[first]][region.looks[second]]
        to = region.looks[second if other[second] else first]
        camera, track = self._graph.keys[max(self._graph.seen[to])]
        parts = {"appearance": round(tie.appearance, 3), "time": round(tie.time, 3), "place": round(tie.place, 3)}
        return round(float(mean), 3), {"camera": camera, "track": track, **parts}

    def _best_alternative(self, region: _Region, row: int) -> float:
        """The mean evidence for the person, not its own, who fits a look best."""
        person = self._graph.looks["person"][region.looks].tolist()
        near = adjacency(len(person), region.pairs, region.weights)
        ties = mean_ties(row, near[row], person, groups(person), self.association.missing_odds)
        return max((mean for number, mean in ties.items() if number != person[row]), default=self.association.missing_odds)

    # memory

    def _settle(self, key: Key) -> None:
        """A tracklet that has ended stays with whom it is; of too many looks of them in the camera the two most alike become one."""
        live = self._live.pop(key)
        self._settled[key] = live.sighting
        self._pending.pop(key, None)
        looks = self._graph.looks
        held = {one.look for one in self._live.values()}
        mine = np.array(sorted(self._people[int(looks["person"][live.look])] - held))
        mine = mine[(looks["camera"][mine] == looks["camera"][live.look]) & looks["known"][mine]]
        if len(mine) <= self.settings.exemplars:
            return
        alike = looks["unit"][mine] @ looks["unit"][mine].T
        np.fill_diagonal(alike, -np.inf)
        kept, gone = (int(mine[at]) for at in sorted(np.unravel_index(np.argmax(alike), alike.shape)))
        self._leave(gone)
        self._graph.fuse(kept, gone)

    def _leave(self, look: int) -> None:
        """Take a look from its person; who has none left is forgotten."""
        number = int(self._graph.looks["person"][look])
        self._people[number].discard(look)
        if not self._people[number]:
            del self._people[number]

    def _forget(self, time: float) -> None:
        """Drop what is ``retention`` old, and the people seen longest ago where there are too many."""
        looks, seen = self._graph.looks, self._graph.sightings
        self._graph.forget_blind(time - self.settings.retention)
        self._forgotten = {key: when for key, when in self._forgotten.items() if when >= time - self.settings.retention}
        old = looks.used & (looks["end"] < time - self.settings.retention)
        spare = len(self._people) - self.settings.max_people
        if spare > 0:
            last = {number: max(looks["end"][row] for row in rows) for number, rows in self._people.items()}
            alive = {int(looks["person"][live.look]) for live in self._live.values() if live.look >= 0}
            for number in sorted(set(last) - alive, key=lambda number: (last[number], number))[:spare]:
                old[list(self._people[number])] = True
        gone = np.flatnonzero(seen.used & ((seen["end"] < time - self.settings.retention) | old[seen["look"]]))
        for sighting in gone.tolist():
            self._settled.pop(self._graph.keys[sighting], None)
            self._graph.drop_sighting(sighting)
        for row in np.flatnonzero(old).tolist():
            self._leave(row)
            self._graph.drop(row)
