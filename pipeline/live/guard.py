"""Outputs that cannot be written just now: the cameras go on, what is lost is counted, and both ends of the trouble are said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.errors import OutputError

log = logging.getLogger(__name__)


@dataclass
class Guard:
    """One output: how often writing it ``failed``, how many of its parts were ``lost``, and what is wrong now, if anything."""

    name: str
    failed: int = 0
    lost: int = 0
    problem: str | None = None

    @contextmanager
    def trying(self) -> Iterator[None]:
        """Errors of writing in this block end here; ``problem`` says then what they were."""
        try:
            yield
        except (OSError, OutputError) as error:
            self.fail(error)
        else:
            self.fine()

    def fail(self, error: Exception) -> None:
        self.failed += 1
        if self.problem is None:
            log.error("%s: cannot be written (%s); the cameras go on, and it is tried again", self.name, error)
        self.problem = str(error)

    def fine(self) -> None:
        if self.problem is not None:
            log.warning("%s: written again%s", self.name, f"; lost so far: {self.lost}" if self.lost else "")
        self.problem = None
