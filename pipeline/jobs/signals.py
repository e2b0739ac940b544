"""What signals ask for: to stop (SIGINT, SIGTERM), to read the site file again (SIGHUP)."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class StopFlag:
    """Asks a run to end after the current step, with valid outputs. Set by a signal or by ``stop()``, from any thread."""

    signal: int | None = None

    def stop(self) -> None:
        self.signal = self.signal or signal.SIGTERM

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or 0)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turn the first SIGINT or SIGTERM into a stop flag; a second one ends the program at once. Main thread only."""
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


@contextmanager
def asked_by_hangup() -> Iterator[Callable[[], bool]]:
    """Whether SIGHUP has come since the last call. Main thread only; where the system has no such signal, it never has."""
    came = False

    def handle(*_: Any) -> None:
        nonlocal came
        came = True

    def asked() -> bool:
        nonlocal came
        before, came = came, False
        return before

    if not hasattr(signal, "SIGHUP"):
        yield asked
        return
    old = signal.signal(signal.SIGHUP, handle)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGHUP, old)
