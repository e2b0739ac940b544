"""Time alternatives in turns, so that a slow moment of the machine affects all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping
from typing import TypeVar

Way = TypeVar("Way", bound=Hashable)


def in_turns(ways: Mapping[Way, Callable[[], object]], rounds: int) -> dict[Way, list[float]]:
    """Milliseconds of ``rounds`` calls of each way, after one warm-up call."""
    took: dict[Way, list[float]] = {way: [] for way in ways}
    for turn in range(rounds + 1):
        for way, call in ways.items():
            began = time.perf_counter()
            call()
            if turn:
                took[way].append((time.perf_counter() - began) * 1000)
    return took
