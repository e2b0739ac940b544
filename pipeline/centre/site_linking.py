"""Messages to identities: one linker per site, fed with what edges have published, stepped as far as their clocks have come."""

from __future__ import annotations

import heapq
import logging
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.centre.edges import Edges
from pipeline.live.state import restored_with, save
from pipeline.messaging.messages import CameraStateMessage, ClockMessage, ModelFacts, TrackletMessage, decode
from tracker import AssociationSettings, Event, Linker, LinkerSettings, Site, TrackletUpdate

log = logging.getLogger(__name__)


class SiteLinking:
    """The centre without a broker. Messages are taken in any order, as often as they come; the same within ``linker.lateness`` gives the same events.

    ``take`` never raises for a message's content: what is wrong is counted in ``refused``, and said once per kind.
    """

    def __init__(
        self, site: Site, settings: LinkerSettings, association: AssociationSettings, expected: Iterable[str] = (), idle: float = 60.0
    ) -> None:
        self.site, self.settings, self.association = site, settings, association
        self.edges = Edges(expected, idle)
        self.linker: Linker | None = None  # from the first decision on: the clocks before it say which re-ID model it is
        self.model: ModelFacts | None = None
        self.refused = self.late = 0
        self.states: list[CameraStateMessage] = []  # since the last ``advance``
        self._early: list[tuple[str | None, TrackletUpdate]] = []  # before the first decision, with their models
        self._notes: list[tuple[float, str, float, float]] = []  # noticed when, camera, blind from, to: told in the order of time
        self._said: set[str] = set()

    def take(self, entry: float, content: bytes) -> None:
        """A message and the time of its entry in the stream, seconds."""
        try:
            message = decode(content)
        except ValueError as error:
            self._refuse("message", f"a message is refused: {error}")
            return
        if not self.edges.take(entry, message.edge, message.session, message.number):
            return
        if isinstance(message, ClockMessage):
            self._clock(message)
        elif not self.edges.owns(message.edge, message.camera):
            owner = self.edges.cameras[message.camera]
            self._refuse(message.camera, f"edge {message.edge}: camera {message.camera} belongs to edge {owner}; its messages are refused")
        elif isinstance(message, TrackletMessage):
            self._update(message.model, message.update)
        elif isinstance(message, CameraStateMessage):
            self.states.append(message)
        else:
            end = math.inf if message.end is None else message.end
            heapq.heappush(self._notes, (message.time + self._offset(message.camera), message.camera, message.start, end))

    def _clock(self, message: ClockMessage) -> None:
        self.model = self.model or message.model
        edge = self.edges.known[message.edge]
        edge.clock = max(edge.clock, message.time)

    def _new(self) -> Linker:
        association = self.association
        if association.evidence is None and self.model is not None and self.model.evidence is not None:
            association = association.changed(evidence=self.model.evidence)
        return Linker(self.site, self.settings, association)

    def _update(self, model: str | None, update: TrackletUpdate) -> None:
        if self.linker is None:
            self._early.append((model, update))
        elif update.end + self._offset(update.camera) < self.edges.watermark - self.settings.retention:
            self.late += 1  # the linker has forgotten whom it would be about
        else:
            self._add(self.linker, model, update)

    def _add(self, linker: Linker, model: str | None, update: TrackletUpdate) -> None:
        if model is not None and (self.model is None or model != self.model.sha256):
            self._refuse(
                f"model {model}", f"camera {update.camera}: embeddings of another re-ID model ({model[:12]}) than the site's; refused"
            )
            return
        try:
            linker.add([update])
        except ValueError as error:
            self._refuse("update", f"an update is refused: {error}")

    def _refuse(self, kind: str, message: str) -> None:
        self.refused += 1
        if kind not in self._said:
            self._said.add(kind)
            log.warning("%s", message)

    def advance(self) -> list[Event]:
        """Decide as far as the clocks of the edges have come."""
        watermark = self.edges.watermark
        if not math.isfinite(watermark):
            return []
        if self.linker is None:
            self.linker = self._new()
            for model, update in self._early:
                self._add(self.linker, model, update)
            self._early = []
        events: list[Event] = []
        while self._notes and self._notes[0][0] + self.settings.lateness <= watermark:
            time, camera, start, end = heapq.heappop(self._notes)
            events += self.linker.advance(time + self.settings.lateness)
            self.linker.blind(camera, start, end)
        return events + self.linker.advance(watermark)

    def _offset(self, camera: str) -> float:
        place = self.site.cameras.get(camera)
        return 0.0 if place is None else place.offset

    @property
    def people(self) -> int:
        return 0 if self.linker is None else len(self.linker)

    def save(self, path: Path, more: dict[str, Any]) -> None:
        """Everything so far, and ``more`` in plain containers, whole or not at all. Raises OSError."""
        own = {
            "edges": self.edges.state(), "refused": self.refused, "late": self.late, "early": self._early, "notes": self._notes, "linked": self.linker is not None,
            "model": None if self.model is None else self.model.model_dump_json(),
        }  # fmt: skip
        save(path, self.linker or self._new(), "centre", own | more)

    def restore(self, path: Path) -> dict[str, Any]:
        """Go on from what was saved; returns the ``more`` of then, empty where there is nothing, or, with a warning, nothing usable."""
        more = restored_with(path, self._new(), "centre")[1]
        if "edges" not in more:
            return {}
        self.edges.restore(more["edges"])
        self.refused, self.late, self._early = more["refused"], more["late"], more["early"]
        self._notes = more["notes"]
        self.model = None if more["model"] is None else ModelFacts.model_validate_json(more["model"])
        if more["linked"]:
            self.linker = restored_with(path, self._new(), "centre")[0]  # again: now with the model's evidence
        return more
