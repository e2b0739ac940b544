"""When live cameras saw nothing: the gaps between their frames. Pure: times come in, intervals come out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple


class Interval(NamedTuple):
    """A camera saw nothing from ``start`` to ``end``, seconds of its clock; ``end`` None: it still sees nothing."""

    camera: str
    start: float
    end: float | None


class BlindTimes:
    """Finds the gaps of at least ``least`` seconds, by camera, between frames.

    ``since``: the time up to which an earlier process saw all; None: there was none, and nothing is said of the time before the first frame.
    """

    def __init__(self, least: Mapping[str, float], since: float | None = None) -> None:
        self._least = dict(least)
        self._last: dict[str, float] = {} if since is None else dict.fromkeys(least, since)
        self._open: set[str] = set()

    def frame(self, camera: str, time: float) -> Interval | None:
        """A frame has come: the gap that it ends, if it is one."""
        last = self._last.get(camera)
        self._last[camera] = time
        was_open = camera in self._open
        self._open.discard(camera)
        if last is None or time <= last or (time - last < self._least[camera] and not was_open):
            return None
        return Interval(camera, last, time)

    def quiet(self, now: float) -> list[Interval]:
        """Gaps that have grown long enough by ``now``; each is said once."""
        found = [name for name, last in self._last.items() if name not in self._open and now - last >= self._least[name]]
        self._open.update(found)
        return [Interval(name, self._last[name], None) for name in found]

    def watch(self, least: Mapping[str, float]) -> None:
        """The cameras are others from now on; those that stay go on."""
        self._least = dict(least)
        self._last = {name: last for name, last in self._last.items() if name in least}
        self._open &= set(least)
