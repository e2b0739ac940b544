"""The re-ID bundle: one ONNX file whose metadata say what it needs, what it gives and how to threshold it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detectors.runtime.errors import ModelError
from detectors.runtime.session import Device, Session, open_model

KEY = "passerby.reid"
SEAL = "passerby.sha256"
UNSEALED = "?" * 64  # stands in a file where its own SHA-256 goes


class Calibration(BaseModel):
    """Thresholds measured on identities the model never saw, on cosine distances between single crops.

    ``gate``: pairs further apart are taken as different people; P(same | distance) = 1 / (1 + exp(slope * distance + offset)).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: float = Field(gt=0, le=2)
    slope: float
    offset: float


class BundleFacts(BaseModel):
    """What a bundle says of itself. ``mean`` and ``std`` apply to RGB in 0..255; crops are resized bilinearly to ``height`` x ``width``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    name: str
    height: int = Field(ge=8)
    width: int = Field(ge=8)
    colour: Literal["RGB", "BGR"] = "RGB"
    interpolation: Literal["bilinear"] = "bilinear"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    dimension: int = Field(ge=1)
    distance: Literal["cosine"] = "cosine"
    calibration: Calibration
    pooled: Calibration | None = Field(default=None, description="the same for tracklets' pooled embeddings")
    data: str
    licence: str
    commit: str
    recipe: dict[str, object] = Field(default_factory=dict)

    @property
    def for_tracklets(self) -> Calibration:
        """The calibration of pooled embeddings, or where there is none that of single crops."""
        return self.pooled or self.calibration


def sealed(content: bytes) -> bytes:
    """An ONNX file whose metadata say ``UNSEALED`` for ``SEAL``, with the SHA-256 that it then has in that place."""
    before, _, after = content.rpartition(UNSEALED.encode())
    return before + hashlib.sha256(content).hexdigest().encode() + after


def as_written(path: Path, seal: str) -> bool:
    """Whether a file is what ``sealed`` once made of it."""
    return hashlib.sha256(path.read_bytes().replace(seal.encode(), UNSEALED.encode(), 1)).hexdigest() == seal


def check_seal(path: Path, metadata: dict[str, str]) -> None:
    """Raises ModelError where a file's ``metadata`` name another SHA-256 than its own."""
    if SEAL in metadata and not as_written(path, metadata[SEAL]):
        raise ModelError(f"{path}: its SHA-256 is not the one it was written with: damaged or changed since; get or export it again")


def open_bundle(path: Path, device: Device = "auto", threads: int = 0) -> tuple[Session, BundleFacts]:
    """Open a bundle and check it against its own metadata.

    Raises ModelError for a file that is no model, that is not as it was written, that has no bundle metadata, or whose input or output
    differ from them.
    """
    session = open_model(path, device, threads)
    check_seal(path, session.metadata)
    if KEY not in session.metadata:
        raise ModelError(f"{path}: no re-ID bundle: its metadata lack {KEY!r}; make one with passerby reid export")
    try:
        facts = BundleFacts.model_validate(json.loads(session.metadata[KEY]))
    except (ValidationError, json.JSONDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (KEY,), "msg": str(error)}
        raise ModelError(f"{path}: bundle metadata {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    needs, gives = session.input_shape, session.session.get_outputs()[0].shape
    if list(needs[1:]) != [3, facts.height, facts.width]:
        raise ModelError(f"{path}: the model takes {needs}, its metadata say 3 x {facts.height} x {facts.width}")
    if isinstance(needs[0], int):
        raise ModelError(f"{path}: the model takes {needs[0]} crops at a time; a bundle has a dynamic batch")
    if gives[-1] != facts.dimension:
        raise ModelError(f"{path}: the model gives {gives}, its metadata say {facts.dimension} dimensions")
    return session, facts
