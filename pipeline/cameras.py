"""Cameras of a run: a name and a source each, with the boxes the user brings, if any."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors import Detections
from detectors.boxes_file import read_boxes
from pipeline.errors import SourceError, UsageError
from pipeline.sources import Source, open_source

NAME = re.compile(r"^[\w][\w.-]*$")


@dataclass(frozen=True)
class CameraSpec:
    """What the user asked for: a camera's ``name``, its source's ``path``, and a file of boxes or None."""

    name: str
    path: str
    boxes: Path | None = None


@dataclass(frozen=True)
class Camera:
    """An open camera; ``boxes`` maps frames (from 1) to given detections, None where a detector finds them.

    ``area`` (h, w) bool: where people's feet count, None everywhere.
    """

    name: str
    source: Source
    boxes: dict[int, Detections] | None
    area: np.ndarray | None = None


def stem(path: str) -> str:
    """A camera's name from its path: ``videos/gate 2.mp4`` -> ``gate_2``; a glob is named after its folder."""
    plain = Path(path)
    name = plain.parent.name if any(sign in plain.name for sign in "*?[") else plain.stem if plain.suffix else plain.name
    return re.sub(r"[^\w.-]+", "_", name or plain.resolve().name).lstrip(".-") or "camera"


def specify(paths: Iterable[str], named: Iterable[str] = (), detections: Iterable[str] = ()) -> list[CameraSpec]:
    """Cameras from plain paths, ``NAME=PATH`` options, and box files (``PATH`` for a single camera, else ``NAME=PATH``).

    Raises UsageError for no camera, a name that is no file name, two cameras of one name, or boxes of no camera.
    """
    found = [(stem(path), path) for path in paths]
    for item in named:
        name, sign, path = item.partition("=")
        if not sign or not path:
            raise UsageError(f"--camera {item}: write it as NAME=PATH")
        if not NAME.match(name):
            raise UsageError(f"--camera {item}: a camera's name is letters, digits, '_', '-' and '.'")
        found.append((name, path))
    if not found:
        raise UsageError("no video given: passerby run VIDEO [VIDEO ...] -o OUT")
    names = [name for name, _ in found]
    for name in names:
        if names.count(name) > 1:
            paths_of = ", ".join(path for other, path in found if other == name)
            raise UsageError(f"two cameras named {name!r} ({paths_of}): give them names by --camera NAME=PATH")
    boxes: dict[str, Path] = {}
    for item in detections:
        name, sign, path = item.partition("=")
        if not sign:
            if len(found) > 1:
                raise UsageError(f"--detections {item}: with several cameras write it as NAME=PATH, once a camera")
            name, path = names[0], item
        if name not in names:
            raise UsageError(f"--detections {item}: no camera named {name!r}; there are {', '.join(names)}")
        boxes[name] = Path(path)
    return [CameraSpec(name, path, boxes.get(name)) for name, path in found]


def open_cameras(specs: Iterable[CameraSpec], rate: float | None) -> tuple[list[Camera], dict[str, str]]:
    """Open what can be opened: cameras, and per name the message of what could not.

    Raises UsageError for a file of boxes that is not there or not MOTChallenge text: that is no fault of a source.
    """
    cameras, refused = [], {}
    for spec in specs:
        boxes = None
        if spec.boxes is not None:
            try:
                boxes = read_boxes(spec.boxes)
            except FileNotFoundError:
                raise UsageError(f"--detections {spec.boxes}: no such file") from None
            except (OSError, ValueError) as error:
                raise UsageError(f"--detections {error}") from None
        try:
            cameras.append(Camera(spec.name, open_source(spec.path, rate), boxes))
        except SourceError as error:
            refused[spec.name] = str(error)
        except Exception as error:  # a library's surprise at one file must not take the other cameras down
            refused[spec.name] = f"{spec.path}: cannot be read ({getattr(error, 'strerror', None) or f'{type(error).__name__}: {error}'})"
    return cameras, refused
