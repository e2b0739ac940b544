"""Cameras of a run: name, source, and optional detections or tracks given by the user."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from pipeline.address import Address, redact
from pipeline.config import Config
from pipeline.engine.given_tracks import GivenTracks
from pipeline.errors import SourceError, UsageError
from pipeline.formats.mot import DetectionsByFrame
from pipeline.formats.paths import is_safe_name, safe_name
from pipeline.formats.wall_clock import parse_time
from pipeline.sources.frame import Source
from pipeline.sources.images import IMAGES
from pipeline.sources.open import open_source
from pipeline.sources.segment_files import VIDEOS, by_camera_name, video_files, videos_in
from pipeline.sources.wall import WallRules

RESERVED = {  # outputs beside the cameras' folders
    "people", "given", "refined", "segments", "run.json", "index.html", "journal.bin", "tracklets.parquet", "crops.parquet", "identities.csv",
    "identities.parquet", "uncertain.csv", "events.jsonl", "corrections.jsonl", "store.db", "stores.txt", "exports",
}  # fmt: skip


@dataclass(frozen=True)
class CameraSpec:
    """A requested camera: its ``name``, the ``address`` of its source, and optionally a file of detections (``boxes``) or of ``tracks``.

    ``files``: its segments, where ``address`` only describes them; ``recorded_at``: when its recording began, as an option states it.
    """

    name: str
    address: Address
    boxes: Path | None = None
    tracks: Path | None = None
    files: tuple[Path, ...] = ()
    recorded_at: datetime | None = None

    @property
    def inputs(self) -> list[Path]:
        """Its input files."""
        source = list(self.files) if self.files else [] if self.address.is_url else [Path(self.address.raw)]
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
    """Camera name from an address: ``videos/gate 2.mp4`` -> ``gate_2``. A URL is named after its path or host, a glob of videos after what
    its names begin with (``nvr/ch01_*.mp4`` -> ``ch01``), another glob after its folder.
    """
    address = Address(path)
    plain = Path(address.place if address.is_url else path)
    name = plain.stem if plain.suffix else plain.name
    if magic := re.search(r"[*?\[]", plain.name):
        begin = "" if plain.suffix.lower() in IMAGES else plain.name[: magic.start()].strip("_-. ")
        folders = [part for part in plain.parts[:-1] if not re.search(r"[*?\[]", part)]
        name = begin or (folders[-1] if folders else "")
    return safe_name(name or (plain.resolve().name if "\0" not in path else ""), "camera")


def grouped_by_name(paths: Iterable[str], rules: WallRules) -> list[tuple[str, str, tuple[Path, ...]]]:
    """Name, address and segments of the cameras that plain paths are; no segments where the address says all.

    Files whose names differ in their time alone are one camera's, whether a shell or a folder lists them; a folder or glob of several
    cameras' segments is several cameras.
    """
    paths = list(paths)
    singles = [
        Path(path) for path in paths if Path(path).suffix.lower() in VIDEOS and not glob.has_magic(path) and not Address(path).is_url
    ]
    camera_of = {file: name for name, files in by_camera_name(singles, rules, several=True).items() for file in files}
    found: list[tuple[str, str, tuple[Path, ...]]] = []
    for path in paths:
        if (name := camera_of.get(Path(path))) is not None:
            files = tuple(file for file, camera in camera_of.items() if camera == name)
            if name not in {other for other, _, _ in found}:
                found.append((name, str(files[0].parent / f"{name}*{files[0].suffix}"), files))
            continue
        cameras = by_camera_name(_listed(path), rules, several=False)
        found += [(name, f"{path} ({name})", tuple(files)) for name, files in cameras.items()] or [(stem(path), path, ())]
    return found


def _listed(path: str) -> list[Path]:
    """The videos of a folder or glob; none for another path."""
    place = Path(path)
    try:
        if place.is_dir() and not (place / "seqinfo.ini").is_file():
            return videos_in(place)
        return video_files(map(Path, glob.glob(path, recursive=True))) if glob.has_magic(path) and not place.is_file() else []
    except (OSError, ValueError):  # not there, or not a path: opening it says so
        return []


def specify(
    paths: Iterable[str],
    named: Iterable[str] = (),
    detections: Iterable[str] = (),
    tracks: Iterable[str] = (),
    option: str = "--camera",
    recorded_at: Iterable[str] = (),
    rules: WallRules = WallRules(),  # noqa: B008 (immutable)
) -> list[CameraSpec]:
    """Cameras from plain paths, ``NAME=PATH`` options, and files of boxes or tracks (``PATH`` for a single camera, else ``NAME=PATH``).

    ``option``: the option that gave ``named``, for messages. ``recorded_at``: ``TIME`` for a single camera, else ``NAME=TIME``. Raises
    UsageError for no camera, an invalid or duplicate name, boxes or tracks of an unknown camera, or both for one camera.
    """
    grouped = grouped_by_name(paths, rules)
    found = [(name, path) for name, path, _ in grouped]
    segments = {name: files for name, _, files in grouped}
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
    times = {name: _time(text) for name, text in texts_by_camera("--recorded-at", recorded_at, names).items()}
    return [
        CameraSpec(name, Address(path), boxes.get(name), given.get(name), segments.get(name, ()), times.get(name)) for name, path in found
    ]


def _time(text: str) -> datetime:
    try:
        return parse_time(text)
    except ValueError as error:
        raise UsageError(f"--recorded-at {error}") from None


def by_camera(option: str, items: Iterable[str], names: list[str]) -> dict[str, Path]:
    """Files by camera name. Raises UsageError, naming ``option``, for a camera that is not among ``names``."""
    return {name: Path(path) for name, path in texts_by_camera(option, items, names).items()}


def texts_by_camera(option: str, items: Iterable[str], names: list[str]) -> dict[str, str]:
    """Values by camera name. Raises UsageError, naming ``option``, for a camera that is not among ``names``."""
    out: dict[str, str] = {}
    for item in items:
        name, sign, path = item.partition("=")
        if not sign:
            if len(names) > 1:
                raise UsageError(f"{option} {item}: with several cameras, expected NAME=PATH, once per camera")
            name, path = names[0], item
        if name not in names:
            raise UsageError(f"{option} {item}: no camera named {name!r}; cameras: {', '.join(names)}")
        out[name] = path
    return out


def open_cameras(specs: Iterable[CameraSpec], config: Config) -> tuple[list[Camera], dict[str, str]]:
    """Open the cameras; returns those that opened, and by name the error message of each that did not.

    ``detector.classes`` also chooses among the classes of given boxes and tracks. Raises UsageError for a file of boxes or tracks that is missing or not MOTChallenge
    text.
    """
    cameras, refused = [], {}
    for spec in specs:
        reading, classes = config.reading, config.detector.classes
        boxes = DetectionsByFrame(spec.boxes, classes) if spec.boxes is not None else None
        tracks = GivenTracks(spec.tracks, config.tracker, classes) if spec.tracks is not None else None
        rules = WallRules.of(reading, spec.recorded_at)
        try:
            source = open_source(spec.address.raw, reading.rate, rules, spec.files)
            for given in (boxes, tracks):
                if given is not None and given.note is not None:
                    source.progress.warn(given.note)
            cameras.append(Camera(spec.name, source, boxes, tracks))
        except SourceError as error:
            refused[spec.name] = str(error)
        except Exception as error:  # a library's unexpected error must not stop the other cameras
            reason = getattr(error, "strerror", None) or f"{type(error).__name__}: {error}"
            refused[spec.name] = redact(f"{spec.address}: cannot be read ({reason})")
    return cameras, refused
