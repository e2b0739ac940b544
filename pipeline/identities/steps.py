"""The steps of the on-line linker: at which times it is told how tracks have grown, for live cameras and recorded runs alike."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from tracker import Event, Linker, TrackletUpdate

CATCH_UP = 100  # steps done one by one after a pause; what grew before is told at once


class LinkerSteps:
    """Does the steps of ``linker`` in their order. Before each, ``gather`` is asked what the tracks are up to its time, seconds of the site's
    clock.

    So a step sees of each track what was known at its time, however late it is done: decisions do not depend on when that is.
    """

    def __init__(self, linker: Linker, gather: Callable[[float], Iterable[TrackletUpdate]]) -> None:
        self.linker, self._gather = linker, gather
        self._done = -math.inf

    @property
    def told(self) -> float:
        """Seconds of the site's clock up to which the linker has been told everything; -inf before the first step."""
        return self._done * self.linker.settings.step

    def advance(self, now: float) -> list[Event]:
        """Do the steps that are due at ``now``: those ``linker.lateness`` seconds before."""
        settings = self.linker.settings
        last = math.floor((now - settings.lateness) / settings.step)
        first = int(max(self._done + 1, last - CATCH_UP))
        events: list[Event] = []
        for number in range(first, last + 1):
            self.linker.add(self._gather(number * settings.step))
            events += self.linker.advance((number + 0.5) * settings.step + settings.lateness)
        self._done = max(self._done, last)
        return events

    def finish(self, end: float) -> list[Event]:
        """Nothing comes any more after ``end``: do all steps that are left."""
        settings = self.linker.settings
        events = self.advance(math.ceil(end / settings.step) * settings.step + settings.lateness + settings.step / 2)
        return events + self.linker.finish()
