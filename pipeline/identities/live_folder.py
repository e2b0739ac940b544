"""The identities in a folder of live cameras: they follow from its events."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from tracker.linking.updates import Key

_IDENTITY = re.compile(rb'"(?:identity|other)": (\d+)')


def is_live(folder: Path) -> bool:
    """Whether ``passerby live`` writes, or wrote, into it."""
    return any(folder.glob("events-*.jsonl"))


def read_identities(folder: Path) -> tuple[list[Key], np.ndarray]:
    """The tracklets that have an identity, and their (n,) identities. Raises UsageError naming a line that is no event."""
    identity: dict[Key, int] = {}
    members: dict[int, set[Key]] = {}
    for path in sorted(folder.glob("events-*.jsonl")):
        with path.open(encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    _take(json.loads(line), identity, members)
                except (ValueError, KeyError, TypeError):
                    raise UsageError(f"{path}:{number}: not an event written by passerby live") from None
    keys = sorted(identity)
    return keys, np.array([identity[key] for key in keys], np.int64)


def _take(event: dict[str, Any], identity: dict[Key, int], members: dict[int, set[Key]]) -> None:
    kind = event["kind"]
    if kind == "merged":
        moved = members.pop(event["other"], set())
        members.setdefault(event["identity"], set()).update(moved)
        identity |= dict.fromkeys(moved, event["identity"])
    elif kind in ("assigned", "split", "forgotten"):
        key = (event["camera"], event["track"])
        if key in identity:
            members[identity.pop(key)].discard(key)
        if kind != "forgotten":
            identity[key] = event["identity"]
            members.setdefault(event["identity"], set()).add(key)


def highest_identity(folder: Path, since: float = 0.0) -> int:
    """The highest number in the events of files written after ``since``, seconds since 1970; 0 if there is none."""
    highest = 0
    for path in folder.glob("events-*.jsonl"):
        if path.stat().st_mtime >= since:
            with path.open("rb") as lines:
                highest = max((highest, *(int(number) for line in lines for number in _IDENTITY.findall(line))))
    return highest
