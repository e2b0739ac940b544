"""Watches the clocks of live cameras by the people whom several of them see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from pipeline.formats.tracklet import Tracklet, feet_path
from pipeline.sinks.sink import Sink
from tracker import Site
from tracker.linking.clock_offsets import ClockOffset, ClockOffsets
from tracker.linking.updates import Key

WAIT = 30.0  # seconds after its end until a tracklet is compared: its identity is known by then
KEEP = 600.0  # seconds that it is kept for comparison
POINTS = 200  # of its path


@dataclass(eq=False)
class _Seen:
    key: Key
    start: float
    end: float
    path: np.ndarray


class ClockWatch(Sink):
    """Takes tracklets, or parts of them; ``review`` compares those of one identity, ``offsets`` says what is known.

    ``bound``: seconds beyond which an offset is told.
    """

    def __init__(self, site: Site, bound: float) -> None:
        self._site, self.bound = site, bound
        self._offsets = ClockOffsets(site)
        self._new: list[_Seen] = []
        self._old: list[_Seen] = []
        self._told: set[tuple[str, str]] = set()

    @property
    def offsets(self) -> list[ClockOffset]:
        return self._offsets.estimates()

    def due(self, now: float) -> bool:
        """Whether there is something to review."""
        return any(one.end <= now - WAIT for one in self._new)

    def finish(self, tracklet: Tracklet) -> None:
        place = self._site.cameras.get(tracklet.camera)
        rows = np.unique(np.linspace(0, len(tracklet.times) - 1, POINTS).round().astype(int))
        path = feet_path(tracklet.times[rows], tracklet.boxes[rows])
        path[:, 0] += 0.0 if place is None else place.offset
        self._new.append(_Seen((tracklet.camera, tracklet.track), float(path[0, 0]), float(path[-1, 0]), path))

    def review(self, now: float, identities: Mapping[Key, int]) -> list[ClockOffset]:
        """Compare what ended a while ago; returns the offsets that are now known to be beyond the bound, each once."""
        due = [one for one in self._new if one.end <= now - WAIT]
        self._new = [one for one in self._new if one.end > now - WAIT]
        for one in due:
            mine = identities.get(one.key)
            if mine is not None:
                same = [other for other in self._old if other.key[0] != one.key[0] and identities.get(other.key) == mine]
                self._compare(one, same)
            self._old.append(one)
        self._old = [one for one in self._old if one.end > now - KEEP]
        beyond = {(one.a, one.b): one for one in self.offsets if abs(one.seconds) - 2 * one.uncertainty > self.bound} if due else None
        if beyond is None:
            return []
        told, self._told = self._told, set(beyond)
        return [one for pair, one in beyond.items() if pair not in told]

    def _compare(self, one: _Seen, same: list[_Seen]) -> None:
        for other in same:
            if min(one.end, other.end) > max(one.start, other.start):
                self._offsets.seen_by_both(one.key[0], one.path, other.key[0], other.path)
        for first, later in (pair for other in same for pair in ((one, other), (other, one))):
            between = [x for x in (*same, one) if first.end < x.start < later.start and x is not later]
            if later.start > first.end and not between:
                self._offsets.walked(first.key[0], later.key[0], later.start - first.end)
