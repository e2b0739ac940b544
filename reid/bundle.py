"""The re-ID bundle: one ONNX file with metadata for preprocessing, output and thresholds."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from detectors.runtime.errors import ModelError
from detectors.runtime.session import Device, Session, open_model
from reid import published

KEY = "passerby.reid"
SEAL = "passerby.sha256"
UNSEALED = "?" * 64  # placeholder for the SHA-256 of the file
WARM_UP_CROPS = 8
MIN_COSINE = 0.995  # of embeddings by a faster engine to those in fp32


class Calibration(BaseModel):
    """Thresholds on cosine distance, measured on held-out identities.

    ``gate``: pairs at a larger distance count as different people; P(same | distance) = 1 / (1 + exp(slope * distance + offset)).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    gate: float = Field(gt=0, le=2)
    slope: float
    offset: float


class EvidenceWeights(BaseModel):
    """What distances between embeddings mean on any site, nats: see ``tracker.linking.evidence``, whose fields these are."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    distance: float
    rival: float
    same_camera: float
    constant: float
    prior: float = Field(ge=0)
    first_distance: float
    first_constant: float
    vote_distance: float
    vote_constant: float


class BundleFacts(BaseModel):
    """Metadata of a bundle. ``mean`` and ``std`` apply to RGB in 0..255; crops are resized bilinearly to ``height`` x ``width`` px.

    ``calibration`` is that of single crops, ``pooled`` that of the mean embeddings of tracklets.
    """

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
    pooled: Calibration | None = Field(default=None, description="calibration of pooled tracklet embeddings")
    evidence: EvidenceWeights | None = Field(default=None, description="what distances mean to association; bundles of before have none")
    data: str
    licence: str
    commit: str
    recipe: dict[str, object] = Field(default_factory=dict)

    @property
    def for_tracklets(self) -> Calibration:
        """The calibration of pooled embeddings, or that of single crops if there is none."""
        return self.pooled or self.calibration


def sealed(content: bytes) -> bytes:
    """Replace ``UNSEALED`` in the metadata of an ONNX file by the SHA-256 of that file."""
    before, _, after = content.rpartition(UNSEALED.encode())
    return before + hashlib.sha256(content).hexdigest().encode() + after


def intact(path: Path, seal: str) -> bool:
    """Whether a file is unchanged since ``sealed`` wrote it."""
    return hashlib.sha256(path.read_bytes().replace(seal.encode(), UNSEALED.encode(), 1)).hexdigest() == seal


def check_seal(path: Path, metadata: dict[str, str]) -> None:
    """Raises ModelError if the SHA-256 in a file's ``metadata`` is not that of the file."""
    if SEAL in metadata and not intact(path, metadata[SEAL]):
        raise ModelError(f"{path}: checksum mismatch: the file is damaged or was modified; download or export it again")


def open_bundle(path: Path, device: Device = "auto", threads: int = 0) -> tuple[Session, BundleFacts]:
    """Open a bundle and check it against its metadata. Those of an OpenVINO IR are in a file beside it, of the same name and ``.json``, or, of a
    published model, in this package.

    Raises ModelError for a file that is not a model, fails its checksum, has no bundle metadata, or has another input or output than
    they state; and as ``open_model`` does.
    """
    session = open_model(path, device, threads, any_batch=True)
    check_seal(path, session.metadata)
    told = session.metadata.get(KEY) if path.suffix != ".xml" else facts_of_ir(path)
    if told is None:
        where = f"no {KEY!r} in its metadata" if path.suffix != ".xml" else f"no {path.stem}.json beside it"
        raise ModelError(
            f"{path}: not a re-ID bundle ({where}); make one with passerby reid export, or, of another project's network, with passerby reid wrap"
        )
    try:
        facts = BundleFacts.model_validate(json.loads(told))
    except (ValidationError, json.JSONDecodeError) as error:
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (KEY,), "msg": str(error)}
        raise ModelError(f"{path}: bundle metadata {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    takes, gives = session.input_shape, list(session.outputs[0].shape)
    if list(takes[1:]) != [3, facts.height, facts.width]:
        raise ModelError(f"{path}: the model takes {takes}, but its metadata state 3 x {facts.height} x {facts.width}")
    if isinstance(takes[0], int):
        raise ModelError(f"{path}: has a fixed batch of {takes[0]} crops; a bundle needs a dynamic batch")
    if gives[-1] != facts.dimension:
        raise ModelError(f"{path}: the model gives {gives}, but its metadata state {facts.dimension} dimensions")
    crops = np.random.default_rng(0).integers(0, 256, (WARM_UP_CROPS, 3, facts.height, facts.width)).astype(np.float32)
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (facts.mean, facts.std))
    session.accelerate(difference, (crops - mean) / std)
    return session, facts


def facts_of_ir(path: Path) -> str | None:
    """The metadata of an OpenVINO IR in JSON, or None. Raises ModelError if they cannot be read."""
    beside = path.with_suffix(".json")
    for file in (beside, published.facts_file(path)):
        try:
            if file is not None and file.is_file():
                return file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ModelError(f"{file}: cannot be read ({error})") from None
    return None


def difference(expected: list[Any], found: list[Any]) -> str | None:
    """What differs too much between two engines' embeddings of the same crops, or None."""
    before, after = expected[0], found[0]
    lengths = np.linalg.norm(before, axis=1) * np.linalg.norm(after, axis=1)
    least = float(((before * after).sum(1) / np.maximum(lengths, 1e-12)).min())
    return None if least >= MIN_COSINE else f"embeddings have a cosine of {least:.4f} to those in fp32"
