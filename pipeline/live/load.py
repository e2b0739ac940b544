"""What gives way when reading does not keep up, camera by camera: all frames, then the sub-stream, then key frames only. Pure: clocks are arguments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.sources.stream import Level, StreamStatus

LEVELS: tuple[Level, ...] = ("all", "substream", "key frames")
PATIENCE, RECOVERY = 3.0, 60.0  # seconds behind until a camera gives way; seconds in time until one gets more back


@dataclass
class _Camera:
    late_since: float | None = None
    fine_since: float | None = None


class Load:
    """Decides which camera is read less, or more again: one at a time, those first that are most behind.

    ``bound``: seconds that a camera's reading may be behind. Where the engine is too slow, the newest frame wins, and nothing is read less.
    """

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self._cameras: dict[str, _Camera] = {}
        self._changed = float("-inf")

    def decide(self, now: float, statuses: Mapping[str, StreamStatus], substreams: Mapping[str, bool]) -> tuple[str, Level] | None:
        """The camera that changes at ``now`` (monotonic seconds), and to which level; None if all stay."""
        self._cameras = {name: self._cameras.get(name, _Camera()) for name in statuses}
        for name, status in statuses.items():
            one, behind = self._cameras[name], status.behind
            if status.connection.state != "running" or behind is None:
                one.late_since = one.fine_since = None
                continue
            one.late_since = (one.late_since or now) if behind > self.bound else None
            one.fine_since = (one.fine_since or now) if behind < self.bound / 4 else None
        if now - self._changed < PATIENCE:
            return None
        late = [name for name, one in self._cameras.items() if one.late_since is not None and now - one.late_since >= PATIENCE]
        late = [name for name in late if statuses[name].level != LEVELS[-1]]
        if late:
            return self._change(now, max(late, key=lambda name: (statuses[name].behind or 0.0, name)), +1, statuses, substreams)
        everybody = all(one.late_since is None for one in self._cameras.values())
        fine = [
            name for name, one in self._cameras.items()
            if statuses[name].level != LEVELS[0] and one.fine_since is not None and now - one.fine_since >= RECOVERY
        ]  # fmt: skip
        if everybody and fine and now - self._changed >= RECOVERY:
            return self._change(now, max(fine, key=lambda name: (LEVELS.index(statuses[name].level), name)), -1, statuses, substreams)
        return None

    def _change(
        self, now: float, name: str, by: int, statuses: Mapping[str, StreamStatus], substreams: Mapping[str, bool]
    ) -> tuple[str, Level]:
        at = LEVELS.index(statuses[name].level) + by
        if LEVELS[at] == "substream" and not substreams.get(name, False):
            at += by
        self._changed, self._cameras[name] = now, _Camera()
        return name, LEVELS[at]
