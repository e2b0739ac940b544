"""The newest frame of each live camera: a reader puts, the engine takes; a frame that nobody took in time is dropped and counted."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field, replace
from typing import Generic, TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class FrameCounts:
    """What became of a camera's frames: ``received`` = ``processed`` + ``dropped`` + ``corrupt`` + ``failed`` + ``in_hand``."""

    received: int = 0
    processed: int = 0
    dropped: int = 0
    corrupt: int = 0
    failed: int = 0

    @property
    def in_hand(self) -> int:
        """Waiting in the mailbox, or taken and still with the engine."""
        return self.received - self.processed - self.dropped - self.corrupt - self.failed


@dataclass
class Arrivals:
    """Wakes whoever waits for a frame of any camera."""

    condition: threading.Condition = field(default_factory=threading.Condition)


class Mailbox(Generic[Item]):
    """One slot per camera; a newer item replaces an older one."""

    def __init__(self, arrivals: Arrivals) -> None:
        self.arrivals, self._counts = arrivals, FrameCounts()
        self._item: Item | None = None

    def put(self, item: Item) -> None:
        with self.arrivals.condition:
            dropped = self._item is not None
            self._item = item
            self._counts = replace(self._counts, received=self._counts.received + 1, dropped=self._counts.dropped + dropped)
            self.arrivals.condition.notify_all()

    def count(self, *, dropped: int = 0, corrupt: int = 0, failed: int = 0) -> None:
        """Frames that were received and are not put."""
        with self.arrivals.condition:
            now = self._counts
            self._counts = replace(
                now, received=now.received + dropped + corrupt + failed, dropped=now.dropped + dropped, corrupt=now.corrupt + corrupt,
                failed=now.failed + failed,
            )  # fmt: skip

    def take(self) -> Item | None:
        """The newest item, once. It stays in hand until ``done``. For callers that hold ``arrivals.condition``, and others."""
        with self.arrivals.condition:
            item, self._item = self._item, None
            return item

    def done(self) -> None:
        """The item taken last has been processed."""
        with self.arrivals.condition:
            self._counts = replace(self._counts, processed=self._counts.processed + 1)

    def abandon(self) -> None:
        """Drop what waits, at the end."""
        with self.arrivals.condition:
            if self._item is not None:
                self._item, self._counts = None, replace(self._counts, dropped=self._counts.dropped + 1)

    @property
    def waiting(self) -> bool:
        return self._item is not None

    @property
    def counts(self) -> FrameCounts:
        with self.arrivals.condition:
            return self._counts
