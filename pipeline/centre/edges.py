"""What the centre knows of each edge: its clock, its sessions, its cameras. How far the site may decide follows from the clocks."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from pipeline.centre.sequence import Sequence

MAX_SESSIONS = 8  # remembered of an edge, the newest
QUIET = 2.0  # seconds between two entries of the stream that count at most: while the broker is away nobody is idle


@dataclass
class Edge:
    """``clock``: seconds since 1970 up to which it has published; ``heard``: the stream's active time of its last message."""

    clock: float = -math.inf
    heard: float = 0.0
    received: int = 0
    lost: int = 0  # in sessions that are forgotten
    doubled: int = 0
    sessions: dict[str, Sequence] = field(default_factory=dict)

    def take(self, session: str, number: int) -> bool:
        """Whether the message is new."""
        self.received += 1
        if session not in self.sessions:
            self.sessions[session] = Sequence()
            if len(self.sessions) > MAX_SESSIONS:
                old = self.sessions.pop(min(self.sessions))
                self.lost, self.doubled = self.lost + old.missing, self.doubled + old.doubled
        return self.sessions[session].take(number)

    @property
    def missing(self) -> int:
        return self.lost + sum(one.missing for one in self.sessions.values())

    @property
    def doubles(self) -> int:
        return self.doubled + sum(one.doubled for one in self.sessions.values())


class Edges:
    """All edges of a site. Time is that of the broker's entries, so that a replay decides as the first time.

    ``expected``: edges to wait for before the first decision. ``idle``: seconds without a message after which an edge is not waited for.
    """

    def __init__(self, expected: Iterable[str], idle: float) -> None:
        self.idle = idle
        self.expected = frozenset(expected)
        self.known = {name: Edge() for name in sorted(self.expected)}
        self.cameras: dict[str, str] = {}  # camera -> edge
        self._active = 0.0  # seconds that the stream has been written to
        self._entry = -math.inf  # time of the last entry

    def take(self, entry: float, edge: str, session: str, number: int) -> bool:
        """A message of the stream's entry at ``entry``, seconds: whether it is new."""
        if math.isfinite(self._entry):
            self._active += min(max(entry - self._entry, 0.0), QUIET)
        self._entry = max(self._entry, entry)
        one = self.known.setdefault(edge, Edge())
        one.heard = self._active
        return one.take(session, number)

    def is_idle(self, name: str) -> bool:
        return self._active - self.known[name].heard > self.idle

    def owns(self, edge: str, camera: str) -> bool:
        """Whether the camera is this edge's: the first that names it has it, until it is idle."""
        owner = self.cameras.setdefault(camera, edge)
        if owner != edge and self.is_idle(owner):
            owner = self.cameras[camera] = edge
        return owner == edge

    @property
    def watermark(self) -> float:
        """Seconds since 1970 up to which all edges that are not idle, and expected or have told their time, have published; -inf before."""
        counted = [
            one.clock for name, one in self.known.items()
            if not self.is_idle(name) and (name in self.expected or math.isfinite(one.clock))
        ]  # fmt: skip
        return min(counted, default=-math.inf)

    def state(self) -> dict[str, Any]:
        """As plain containers."""
        edges = {
            name: (one.clock, one.heard, one.received, one.lost, one.doubled,
                   {key: (s.through, s.ahead, s.newest, s.lost, s.doubled) for key, s in one.sessions.items()})
            for name, one in self.known.items()
        }  # fmt: skip
        return {"edges": edges, "cameras": self.cameras, "active": self._active, "entry": self._entry}

    def restore(self, state: dict[str, Any]) -> None:
        self.cameras, self._active, self._entry = state["cameras"], state["active"], state["entry"]
        for name, (clock, heard, received, lost, doubled, sessions) in state["edges"].items():
            known = {key: Sequence(*values) for key, values in sessions.items()}
            self.known[name] = Edge(clock, heard, received, lost, doubled, known)
