"""What the store gives back: frozen records. Times are seconds since 1970, unless said otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

ClockKind = Literal["wall", "assumed"]
Answer = Literal["same", "different", "unsure"]


@dataclass(frozen=True)
class Source:
    """What fed the store: a run, or live cameras. ``folder``: absolute path of its outputs, None if there are none."""

    id: int
    kind: Literal["run", "live", "other"]
    folder: str | None
    label: str
    began: float


@dataclass(frozen=True)
class Camera:
    """A camera of the store. ``first``, ``last``: of its sightings, None without any; ``size``: width and height in px, if known."""

    id: int
    name: str
    sightings: int
    first: float | None
    last: float | None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Feed:
    """A camera of a source. ``epoch``, ``clock``, ``video`` as in ``Sighting``; ``folder``: of the source; ``first``, ``last``: of its sightings."""

    source: int
    camera: str
    epoch: float
    clock: ClockKind
    video: str | None
    folder: str | None
    first: float | None
    last: float | None


@dataclass(frozen=True)
class Sighting:
    """One track in one camera.

    ``start``, ``end``: seconds since 1970; ``epoch``: what must be subtracted from them for seconds of the source's video; ``clock``:
    ``assumed`` where the source has no wall time, so that ``epoch`` is only the time of the run. ``identity``: None until one is assigned;
    ``confidence`` 0..1 that it belongs there; ``pinned``: set by a correction, so that association no longer moves it. ``quality`` 0..1:
    mean of visibility times score over the ``embeddings`` embedded crops. ``video``: file below the source's folder, or None.
    """

    id: int
    source: int
    camera: str
    track: int
    session: int
    start: float
    end: float
    identity: int | None
    confidence: float | None
    pinned: bool
    boxes: int
    score: float
    quality: float
    embeddings: int
    crops: int
    epoch: float
    clock: ClockKind
    video: str | None

    @property
    def name(self) -> str:
        """``camera:track``, as commands take it."""
        return f"{self.camera}:{self.track}"


@dataclass(frozen=True, eq=False)
class Path:
    """The boxes of a sighting: ``frames`` (n,) from 1, ``times`` (n,) seconds since 1970, ``boxes`` (n, 4) x1, y1, x2, y2 px, ``scores`` (n,)."""

    frames: np.ndarray
    times: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Crop:
    """A picture of a sighting, JPEG; ``best``: the one of best quality."""

    number: int
    time: float
    best: bool
    jpeg: bytes


@dataclass(frozen=True)
class Identity:
    """A person. ``sightings``: how many; ``first``, ``last``: when first and last seen; ``confidence``: the lowest of its sightings;
    ``cover``: the sighting whose best crop shows the person best; ``cameras``: names, in alphabetical order."""

    id: int
    name: str | None
    tags: tuple[str, ...]
    sightings: int
    first: float
    last: float
    confidence: float
    cover: int | None
    cameras: tuple[str, ...]


@dataclass(frozen=True)
class HistoryEntry:
    """A change of an identity. ``kind``: ``assigned``, ``split``, ``merged`` by the program; ``same``, ``moved``, ``named``, ``tagged`` by people.

    ``sighting`` came to ``identity`` from ``other``; for ``merged`` and ``same``, ``other`` became part of ``identity``. ``actor``: None: the program.
    """

    time: float
    kind: str
    identity: int
    sighting: int | None
    other: int | None
    actor: str | None
    odds: float | None


@dataclass(frozen=True)
class UncertainPair:
    """Two sightings that may be one person, kept apart or together. ``probability`` 0..1; ``answer``: None until somebody gave one."""

    a: int
    b: int
    probability: float
    answer: Answer | None
    answered: float | None
    actor: str | None


@dataclass(frozen=True)
class Correction:
    """What somebody said. ``kind``: ``same``, ``different``, ``unsure``, ``moved``, ``named``, ``tagged``. ``sightings``: what it is about; ``others``:
    for ``same`` and ``different`` the other side; ``undone``: when it was taken back."""

    id: int
    time: float
    actor: str
    kind: str
    sightings: tuple[int, ...]
    others: tuple[int, ...]
    undone: float | None


@dataclass(frozen=True)
class StoredEvent:
    """Something that happened: ``camera_state``, ``session``, ``assigned``, ``merged``, ``split``, ``entered``, ``left``, ``crossed``, ``watch``."""

    id: int
    time: float
    kind: str
    camera: str | None
    sighting: int | None
    identity: int | None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Visit:
    """A stay of a sighting in a zone. ``left``: None while it lasts."""

    sighting: int
    zone: str
    entered: float
    left: float | None


@dataclass(frozen=True)
class AuditEntry:
    """Who did what. ``subject``: what it was about, ``identity:5`` for example; None after that was erased."""

    id: int
    time: float
    actor: str
    action: str
    subject: str | None
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Where:
    """A choice of sightings; all that is given must hold.

    ``cameras``: names; ``start``, ``end``: those that were seen at any time between, seconds since 1970; ``zone``: those that visited it;
    ``identities``; ``sightings``: ids; ``without_tag``: leave out people with this tag (``staff``); ``unassigned``: only those without identity.
    """

    cameras: tuple[str, ...] | None = None
    start: float | None = None
    end: float | None = None
    zone: str | None = None
    identities: tuple[int, ...] | None = None
    sightings: tuple[int, ...] | None = None
    without_tag: str | None = None
    unassigned: bool = False
