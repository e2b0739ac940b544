"""Track ids that are never used twice, over restarts and crashes: they are reserved in blocks, on disk, before they are used."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.live.guard import Guard

BLOCK = 100_000  # ids that a start reserves per camera


class TrackIds:
    """The ids in use, by camera, in the file ``path``. Raises UsageError for a damaged file."""

    def __init__(self, path: Path) -> None:
        self.path, self.guard = path, Guard(f"{path}")
        self._taken: dict[str, int] = {}
        if path.is_file():
            try:
                self._taken = {str(name): int(first) for name, first in json.loads(path.read_text(encoding="utf-8")).items()}
            except (ValueError, AttributeError, TypeError):
                raise UsageError(f"{path}: damaged; restore it, or choose another output folder: ids would be used twice") from None

    def reserve(self, cameras: Iterable[str]) -> dict[str, int]:
        """The first free id of each camera; the next start begins ``BLOCK`` later. Raises OSError as writing does."""
        first = {name: self._taken.get(name, 1) for name in cameras}
        self._taken |= {name: number + BLOCK for name, number in first.items()}
        self._write()
        return first

    def keep(self) -> None:
        """Write the file again where somebody has removed it."""
        if not self.path.exists():
            with self.guard.trying():
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._write()

    def _write(self) -> None:
        scratch = self.path.with_suffix(".new")
        scratch.write_text(json.dumps(self._taken), encoding="utf-8")
        scratch.replace(self.path)
