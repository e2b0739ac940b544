"""What goes into the on-line linker, tracklets as they grow, and what comes out, events."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

Key = tuple[str, int]  # camera, track


@dataclass(frozen=True, eq=False)
class TrackletUpdate:
    """A tracklet so far: all that is known of a track up to ``end``; a later one takes its place.

    ``start``, ``end``: seconds of the camera's clock. ``embedding`` (d,) unit float32 pooled so far, or None; ``weight``: sum of the
    qualities of the looks in it. ``path`` (k, 3): seconds and the feet's x, y in px.
    Raises ValueError for a time that is not one, and for an embedding that is not a finite vector.
    """

    camera: str
    track: int
    start: float
    end: float
    embedding: np.ndarray | None = None
    weight: float = 1.0
    path: np.ndarray | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.start) and math.isfinite(self.end) and self.end >= self.start):
            raise ValueError(f"track {self.track} of {self.camera}: its time {self.start} to {self.end} s is not one")
        if self.embedding is not None and not (self.embedding.ndim == 1 and np.isfinite(self.embedding).all()):
            raise ValueError(f"track {self.track} of {self.camera}: its embedding is not a finite vector")

    @property
    def key(self) -> Key:
        return self.camera, self.track


@dataclass(frozen=True, eq=False)
class Exemplar:
    """A person as one linker knows them, for one above it: when they were seen, and the mean of their looks.

    ``sightings`` (k, 2): start and end, seconds of the site's clock, by end; ``embedding`` (d,) unit float32, or None; ``weight``: as of an update.
    """

    identity: int
    sightings: np.ndarray
    embedding: np.ndarray | None
    weight: float


@dataclass(frozen=True)
class Event:
    """What was decided at ``time``; ``key`` is the same whenever the same is decided, so that taking it twice is no harm.

    ``assigned``: a tracklet got its first ``identity``. ``split``: it left identity ``other`` for ``identity``. ``merged``: identity
    ``other`` is ``identity`` from now on with all its tracklets (``camera`` and ``track`` None). ``odds``: the mean evidence that ties
    it to its identity, nats, and ``reasons``, the best single tie: which tracklet, what its looks and the time between say.
    """

    kind: Literal["assigned", "merged", "split"]
    time: float
    identity: int
    camera: str | None
    track: int | None
    other: int | None
    odds: float
    reasons: dict[str, float | int | str]

    @property
    def key(self) -> str:
        return "/".join(str(part) for part in (f"{self.time:.3f}", self.kind, self.identity, self.camera, self.track, self.other))


def apply_events(identities: dict[Key, int], events: Iterable[Event]) -> dict[Key, int]:
    """``identities`` after ``events`` in their order; taking an event twice changes nothing."""
    out = dict(identities)
    for event in events:
        if event.kind == "merged":
            out = {key: event.identity if number == event.other else number for key, number in out.items()}
        elif event.camera is not None and event.track is not None:
            out[event.camera, event.track] = event.identity
    return out
