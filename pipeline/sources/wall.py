"""When a recording began, by the rules of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, tzinfo
from pathlib import Path
from typing import Literal

from pipeline.config import Reading
from pipeline.formats.wall_clock import epoch, time_in_name, time_zone
from pipeline.sources.frame import Began


@dataclass(frozen=True)
class WallRules:
    """Where the wall-clock time of a recording comes from: ``recorded_at`` (an option), else its name, else its container.

    ``zone``: of times without one; None: this computer's. ``pattern``: of names, see ``time_in_name``. ``use``: which of them may be used.
    """

    recorded_at: datetime | None = None
    zone: tzinfo | None = None
    pattern: str | None = None
    use: Literal["auto", "name", "container", "none"] = "auto"

    @classmethod
    def of(cls, reading: Reading, recorded_at: datetime | None = None) -> WallRules:
        return cls(recorded_at, time_zone(reading.time_zone), reading.time_pattern, reading.clock)

    def named(self, path: Path, again: bool = False) -> float | None:
        """Seconds since 1970 that the file's name states, or None. ``again``: the second time, in the hour that the end of summer time
        repeats.
        """
        found = time_in_name(path, self.pattern) if self.use in ("auto", "name") else None
        return None if found is None else epoch(found[0].replace(fold=int(again)), self.zone)

    def began(self, path: Path, created: float | None) -> Began | None:
        """When the recording at ``path`` began; ``created``: as its container states it."""
        if self.recorded_at is not None:
            return Began(epoch(self.recorded_at, self.zone), "option")
        if (named := self.named(path)) is not None:
            return Began(named, "file name")
        if created is not None and self.use in ("auto", "container"):
            return Began(created, "container")
        return None
