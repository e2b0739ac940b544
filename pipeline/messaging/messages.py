"""The messages of an edge, versioned; ``docs/schemas/edge-message.schema.json`` is generated from them, so that anybody's edge can publish.

One JSON object each. (``edge``, ``session``, ``number``) says which message it is: a double is recognised by it, and a gap is counted.
"""

from __future__ import annotations

import base64
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator, model_validator

from tracker import TrackletUpdate
from tracker.linking.evidence import EvidenceWeights

MAX_DIMENSION = 8192
LARGEST = 1_000_000  # characters of a message
Name = Annotated[str, Field(min_length=1, max_length=100)]
Time = Annotated[float, Field(description="Seconds since 1970, by the clock of the camera or the edge.")]


class _Message(BaseModel):
    """What every message has. Unknown keys are ignored: a later edge of the same version may say more."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    version: Literal[1] = 1
    edge: Name = Field(description="Name of the edge, unique on the site.")
    session: Name = Field(description="A start of the edge: never the same twice.")
    number: int = Field(ge=0, lt=2**53, description="Counts the messages of the session, from 0 and without gaps.")


class ModelFacts(BaseModel):
    """Which re-ID model makes the embeddings, and what their distances mean. All edges of a site must use one model."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)

    sha256: Name = Field(description="SHA-256 of the model's file, or any name that only this model has.")
    evidence: EvidenceWeights | None = Field(default=None, description="Fitted weights of the evidence; null: the usual ones.")


class TrackletMessage(_Message):
    """A track so far: all that is known up to ``end``. A later one takes its place, an earlier one that comes late changes nothing."""

    kind: Literal["tracklet"] = "tracklet"
    camera: Name = Field(description="Name of the camera, unique on the site.")
    track: int = Field(ge=0, lt=2**53, description="Number of the track, never used twice by the camera.")
    start: Time
    end: Time
    weight: float = Field(default=1.0, ge=0, description="Sum of the qualities, 0 to 1 each, of the crops in the embedding.")
    embedding: str | None = Field(
        default=None,
        max_length=MAX_DIMENSION * 3,
        description="The pooled embedding, of length 1: little-endian float16 values, base64. null: none yet.",
        json_schema_extra={"contentEncoding": "base64"},
    )
    model: Name | None = Field(default=None, description="`sha256` of the model that made the embedding, as in the clock messages.")
    path: list[tuple[float, float, float]] = Field(
        default=[], max_length=1024, description="The feet's way lately: seconds, x and y in px each. Used on sites with ground planes."
    )

    @field_validator("embedding")
    @classmethod
    def _embedding(cls, text: str | None) -> str | None:
        if text is not None:
            decoded_embedding(text)
        return text

    @model_validator(mode="after")
    def _whole(self) -> TrackletMessage:
        if self.embedding is not None and self.model is None:
            raise ValueError("an embedding needs its model's name")
        if self.end < self.start:
            raise ValueError(f"end {self.end} precedes start {self.start}")
        return self

    @property
    def update(self) -> TrackletUpdate:
        """For the linker."""
        embedding = None if self.embedding is None else decoded_embedding(self.embedding)
        path = np.array(self.path, np.float64).reshape(-1, 3) if self.path else None
        return TrackletUpdate(self.camera, self.track, self.start, self.end, embedding, self.weight, path)


class CameraStateMessage(_Message):
    """A camera changed its state: see docs/live.md."""

    kind: Literal["camera_state"] = "camera_state"
    camera: Name
    time: Time
    state: Name
    reason: str | None = Field(default=None, max_length=1000)


class BlindMessage(_Message):
    """A camera saw nothing for a while: not to have seen somebody then says nothing. Sent when it is noticed, and again when the end is known."""

    kind: Literal["blind"] = "blind"
    camera: Name
    time: Time
    start: Time
    end: Time | None = Field(
        default=None, description="Seconds since 1970; null: not known yet. Sent again with the same start when it is."
    )


class ClockMessage(_Message):
    """All up to ``time`` has been published, or will be within the site's ``linker.lateness``. Send one every second, also if nobody is seen:
    the centre decides as far as the clocks of all its edges have come."""

    kind: Literal["clock"] = "clock"
    time: Time
    model: ModelFacts | None = Field(default=None, description="null: the edge has no re-ID model.")


AnyMessage = TrackletMessage | CameraStateMessage | BlindMessage | ClockMessage
EDGE_MESSAGE: TypeAdapter[AnyMessage] = TypeAdapter(Annotated[AnyMessage, Field(discriminator="kind")])


def encoded_embedding(embedding: np.ndarray) -> str:
    """(d,) as base64 of little-endian float16."""
    return base64.b64encode(embedding.astype("<f2").tobytes()).decode("ascii")


def decoded_embedding(text: str) -> np.ndarray:
    """(d,) float32, of length 1 again after the rounding. Raises ValueError where it is no finite vector, or of length 0."""
    content = base64.b64decode(text, validate=True)
    if not content or len(content) % 2 or len(content) > 2 * MAX_DIMENSION:
        raise ValueError(f"embedding: {len(content)} bytes are no vector of float16 with up to {MAX_DIMENSION} values")
    vector = np.frombuffer(content, "<f2").astype(np.float32)
    norm = float(np.linalg.norm(vector))
    if not np.isfinite(norm) or norm < 1e-3:
        raise ValueError("embedding: not a finite vector of length 1")
    return vector / np.float32(norm)


def encode(message: AnyMessage) -> bytes:
    return message.model_dump_json().encode()


def decode(content: bytes) -> AnyMessage:
    """Raises ValueError, in one line, for what is no message of this version."""
    if len(content) > LARGEST:
        raise ValueError(f"{len(content)} bytes; a message has at most {LARGEST}")
    try:
        return EDGE_MESSAGE.validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def tracklet(edge: str, session: str, number: int, update: TrackletUpdate, model: str | None) -> TrackletMessage:
    """``update`` as a message, its embedding by ``model``; the path to the millisecond and the tenth of a pixel."""
    embedding = None if update.embedding is None else encoded_embedding(update.embedding)
    path = [] if update.path is None else [(round(t, 3), round(x, 1), round(y, 1)) for t, x, y in update.path.tolist()]
    return TrackletMessage(
        edge=edge, session=session, number=number, camera=update.camera, track=update.track, start=update.start, end=update.end,
        weight=update.weight, embedding=embedding, model=None if embedding is None else model, path=path,
    )  # fmt: skip
