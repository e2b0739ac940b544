"""Names and places of files: what may be a file's name, and that nothing is written outside of the output folder."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import OutputError, UsageError

NAME = re.compile(r"^\w[\w.-]*$")  # letters, digits, _, - and .; not a dot first
LONGEST = 100  # bytes, so that endings still fit


def is_safe_name(name: str) -> bool:
    """Whether ``name`` can be a folder's name on any file system that we know."""
    return bool(NAME.match(name)) and len(name.encode()) <= LONGEST and not name.endswith(".")


def safe_name(text: str, otherwise: str) -> str:
    """``text`` as a name: other characters become ``_``; ``otherwise`` if nothing is left."""
    name = re.sub(r"[^\w.-]+", "_", text).lstrip(".-").rstrip(".")
    while len(name.encode()) > LONGEST:
        name = name[:-1]
    return name.rstrip(".") or otherwise


def inside(out: Path, *parts: str) -> Path:
    """``out/parts``. Raises OutputError if that is not below ``out``."""
    path = out.joinpath(*parts)
    root = out.resolve()
    if not path.resolve().is_relative_to(root) or path.resolve() == root:
        raise OutputError(f"{path}: not below the output folder {out}; nothing is written there")
    return path


def local(path: Path) -> str:
    """The absolute path: Arrow takes a relative one with a colon in it for an address."""
    return str(path.absolute())


def for_ffmpeg(path: Path) -> str:
    """The path as an address of FFmpeg's ``file`` protocol, so that no character in it means anything."""
    return f"file:{path.absolute()}"


def run_labels(folders: Sequence[Path]) -> list[str]:
    """A name for each run folder, all different, of as few of its last path components as that takes.

    Raises UsageError if a folder is given twice.
    """
    places = [folder.resolve() for folder in folders]
    for at, place in enumerate(places):
        if place in places[:at]:
            raise UsageError(f"{folders[at]}: the same run as {folders[places.index(place)]}; give each run once")
    for depth in range(1, max((len(place.parts) for place in places), default=1) + 1):
        labels = [safe_name("_".join(place.parts[-depth:]), "run") for place in places]
        if len(set(labels)) == len(labels):
            return labels
    return [f"{label}-{number}" for number, label in enumerate(labels, 1)]
