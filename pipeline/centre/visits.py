"""A site as an edge of a site above it: each visit of a person is a track there, and the site its camera."""

from __future__ import annotations

import math
from typing import Any

from tracker import Linker, TrackletUpdate


class Visits:
    """The people of a site's linker as updates for a parent linker, one per local identity that was seen again.

    A person who was not seen for ``gap`` seconds begins another visit, a new track: the parent, too, settles tracks that have ended. ``identity_of``
    says whose a track is, for as long as the person is remembered.
    """

    def __init__(self, site: str, gap: float) -> None:
        self.site, self.gap = site, gap
        self._open: dict[int, tuple[int, float, float]] = {}  # identity -> track, start, end of its latest visit
        self._known: dict[int, float] = {}
        self._tracks = 0
        self.identity_of: dict[int, int] = {}

    def updates(self, linker: Linker) -> list[TrackletUpdate]:
        """What is new since the last call."""
        out = []
        for one in linker.exemplars(self._known):
            track, start, end = self._open.get(one.identity, (0, 0.0, -math.inf))
            for begin, until in one.sightings.tolist():
                if until <= self._known.get(one.identity, -math.inf):
                    continue
                if not track or begin > end + self.gap:
                    self._tracks += 1
                    track, start = self._tracks, begin
                    self.identity_of[track] = one.identity
                start, end = min(start, begin), max(end, until)
            self._open[one.identity] = track, start, end
            self._known[one.identity] = float(one.sightings[:, 1].max())
            out.append(TrackletUpdate(self.site, track, start, end, one.embedding, one.weight))
        self._forget(linker)
        return out

    def _forget(self, linker: Linker) -> None:
        if linker.time is None:
            return
        gone = {number for number, end in self._known.items() if end < linker.time - linker.settings.retention}
        for number in gone:
            del self._known[number], self._open[number]
        if gone:
            self.identity_of = {track: number for track, number in self.identity_of.items() if number not in gone}

    def state(self) -> dict[str, Any]:
        """As plain containers."""
        return {"open": self._open, "known": self._known, "tracks": self._tracks, "identities": self.identity_of}

    def restore(self, state: dict[str, Any]) -> None:
        self._open, self._known, self._tracks, self.identity_of = state["open"], state["known"], state["tracks"], state["identities"]
