"""Track ids that are never used twice, over restarts and crashes: they are reserved in blocks, on disk, before they are used."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UsageError

BLOCK = 100_000  # ids that a start reserves per camera


def reserve(path: Path, cameras: Sequence[str]) -> dict[str, int]:
    """The first free id of each camera; the next start begins ``BLOCK`` later. Raises UsageError for a damaged file, OSError as writing does."""
    taken: dict[str, int] = {}
    if path.is_file():
        try:
            taken = {str(name): int(first) for name, first in json.loads(path.read_text(encoding="utf-8")).items()}
        except (ValueError, AttributeError, TypeError):
            raise UsageError(f"{path}: damaged; restore it, or choose another output folder: ids would be used twice") from None
    first = {name: taken.get(name, 1) for name in cameras}
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(taken | {name: number + BLOCK for name, number in first.items()}), encoding="utf-8")
    scratch.replace(path)
    return first
