"""Cameras of a run: name, source, and optional detections or tracks given by the user."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.address import Address, redact
from pipeline.engine.given_tracks import GivenTracks
from pipeline.errors import SourceError, UsageError
from pipeline.formats.mot import DetectionsByFrame
from pipeline.formats.paths import is_safe_name, safe_name
from pipeline.sources.frame import Source
from pipeline.sources.open import open_source
from tracker import TrackerSettings

RESERVED = {  # outputs beside the cameras' folders
    "people", "given", "refined", "segments", "run.json", "index.html", "journal.bin", "tracklets.parquet", "crops.parquet", "identities.csv",
    "identities.parquet", "uncertain.csv", "events.jsonl", "corrections.jsonl", "store.db", "stores.txt", "exports",
}  # fmt: skip


@dataclass(frozen=True)
class CameraSpec:
    """A requested camera: its ``name``, the ``address`` of its source, and optionally a file of detections (``boxes``) or of ``tracks``."""

    name: str
    address: Address
    boxes: Path | None = None
    tracks: Path | None = None

    @property
    def inputs(self) -> list[Path]:
        """Its input files."""
        source = [] if self.address.is_url else [Path(self.address.raw)]
        return [*source, *(path for path in (self.boxes, self.tracks) if path is not None)]


@dataclass(frozen=True)
class Camera:
    """An open camera.

    ``boxes``: given detections; None: run the detector. ``tracks``: given tracks; None: run the tracker. ``area`` (h, w) bool: where
    people are tracked, by their feet; None: everywhere.
    """

    name: str
    source: Source
    boxes: DetectionsByFrame | None
    tracks: GivenTracks | None = None
    area: np.ndarray | None = None

    @property
    def detected(self) -> bool:
        """Whether it needs a detector."""
        return self.boxes is None and self.tracks is None


def stem(path: str) -> str:
    """Camera name from an address: ``videos/gate 2.mp4`` -> ``gate_2``. A glob is named after its folder, a URL after its path or host."""
    address = Address(path)
    plain = Path(address.place if address.is_url else path)
    name = plain.parent.name if any(sign in plain.name for sign in "*?[") else plain.stem if plain.suffix else plain.name
    return safe_name(name or (plain.resolve().name if "\0" not in path else ""), "camera")


def specify(
    paths: Iterable[str],
    named: Iterable[str] = (),
    detections: Iterable[str] = (),
    tracks: Iterable[str] = (),
    option: str = "--camera",
) -> list[CameraSpec]:
    """Cameras from plain paths, ``NAME=PATH`` options, and files of boxes or tracks (``PATH`` for a single camera, else ``NAME=PATH``).

    ``option``: the option that gave ``named``, for messages. Raises UsageError for no camera, an invalid or duplicate name, boxes or
    tracks of an unknown camera, or both for one camera.
    """
    found = [(stem(path), path) for path in paths]
    for item in named:
        name, sign, path = item.partition("=")
        if not sign or not path:
            raise UsageError(f"{option} {item}: expected NAME=PATH")
        if not is_safe_name(name):
            raise UsageError(
                f"{option} {item}: a camera name may contain letters, digits, '_', '-' and '.', and may not start with '-' or '.'"
            )
        found.append((name, path))
    if not found:
        raise UsageError("no video given: passerby run VIDEO [VIDEO ...] -o OUT")
    names = [name for name, _ in found]
    for name, path in found:
        if name.lower() in RESERVED:
            raise UsageError(f"{Address(path)}: camera name {name!r} is the name of an output; name the camera with {option} NAME=PATH")
    for name in names:
        if names.count(name) > 1:
            paths_of = ", ".join(str(Address(path)) for other, path in found if other == name)
            raise UsageError(f"two cameras named {name!r} ({paths_of}): name them with {option} NAME=PATH")
    boxes, given = by_camera("--detections", detections, names), by_camera("--tracks", tracks, names)
    if both := sorted(set(boxes) & set(given)):
        raise UsageError(f"camera {both[0]!r} has both --detections and --tracks: use one of them")
    return [CameraSpec(name, Address(path), boxes.get(name), given.get(name)) for name, path in found]


def by_camera(option: str, items: Iterable[str], names: list[str]) -> dict[str, Path]:
    """Files by camera name. Raises UsageError, naming ``option``, for a camera that is not among ``names``."""
    out: dict[str, Path] = {}
    for item in items:
        name, sign, path = item.partition("=")
        if not sign:
            if len(names) > 1:
                raise UsageError(f"{option} {item}: with several cameras, expected NAME=PATH, once per camera")
            name, path = names[0], item
        if name not in names:
            raise UsageError(f"{option} {item}: no camera named {name!r}; cameras: {', '.join(names)}")
        out[name] = Path(path)
    return out


def open_cameras(specs: Iterable[CameraSpec], rate: float | None, settings: TrackerSettings) -> tuple[list[Camera], dict[str, str]]:
    """Open the cameras; returns those that opened, and by name the error message of each that did not.

    ``settings``: how often given tracks are embedded. Raises UsageError for a file of boxes or tracks that is missing or not MOTChallenge
    text.
    """
    cameras, refused = [], {}
    for spec in specs:
        boxes = DetectionsByFrame(spec.boxes) if spec.boxes is not None else None
        tracks = GivenTracks(spec.tracks, settings) if spec.tracks is not None else None
        try:
            cameras.append(Camera(spec.name, open_source(spec.address.raw, rate), boxes, tracks))
        except SourceError as error:
            refused[spec.name] = str(error)
        except Exception as error:  # a library's unexpected error must not stop the other cameras
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            refused[spec.name] = redact(f"{spec.address}: cannot be read ({reason})")
    return cameras, refused
