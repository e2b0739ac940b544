"""A stop flag set by SIGINT and SIGTERM."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class StopFlag:
    """Set by SIGINT or SIGTERM: the run ends after the step it is in, with valid outputs."""

    signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or 0)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turn the first SIGINT or SIGTERM into a flag; a second one ends the program at once."""
    flag = StopFlag()

    def handle(number: int, _: Any) -> None:
        if flag.signal is not None:
            raise SystemExit(128 + number)
        flag.signal = number

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, old in before.items():
            signal.signal(number, old)
