"""Which messages of a session have come: doubles are known, gaps are counted."""

from __future__ import annotations

from dataclasses import dataclass, field

WINDOW = 20_000  # messages behind the newest that are waited for


@dataclass
class Sequence:
    """Numbers from 0: all up to ``through`` have come or are given up (``lost``), and ``ahead`` of it some."""

    through: int = -1
    ahead: set[int] = field(default_factory=set)
    newest: int = -1
    lost: int = 0
    doubled: int = 0

    def take(self, number: int) -> bool:
        """Whether it is new; a double, and one that was given up, are not."""
        if number <= self.through or number in self.ahead:
            self.doubled += 1
            return False
        self.newest = max(self.newest, number)
        self.ahead.add(number)
        self._close(self.through)
        if len(self.ahead) > WINDOW or self.newest - self.through > 4 * WINDOW:
            first = min(self.ahead)
            self.lost += first - self.through - 1
            self._close(first - 1)
        return True

    def _close(self, through: int) -> None:
        while through + 1 in self.ahead:
            through += 1
            self.ahead.discard(through)
        self.through = through

    @property
    def missing(self) -> int:
        """Messages before the newest that have not come, given up or not."""
        return self.lost + self.newest - self.through - len(self.ahead)
