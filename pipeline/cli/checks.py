"""Shared by the model commands: options, path checks, recipes, error handling."""

from __future__ import annotations

import errno
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipeline.errors import PasserbyError, UsageError, writing

if TYPE_CHECKING:
    from pydantic import BaseModel

EPILOG = "Training and export require pip install 'passerby[train]'."
DATA_HELP = "Dataset: Market-1501, DukeMTMC-reID, CUHK03 or MSMT17 as published (folder or archive), or a folder of PERSON/CAMERA_*.jpg."
Recipe = Annotated[Path, typer.Argument(metavar="CONFIG", help="Recipe (YAML); see configs/.")]
Data = Annotated[Path, typer.Option(help=DATA_HELP)]
Out = Annotated[Path, typer.Option("-o", "--out", help="Output folder: checkpoints and log.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Number of threads; overrides the recipe.")]
Resume = Annotated[bool, typer.Option("--resume", help="Resume from the last checkpoint.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
R = TypeVar("R", bound="BaseModel")


@contextmanager
def user_errors() -> Iterator[None]:
    """Turn errors that a user can cause (missing package, wrong folder, unreadable image, full disk) into one-line user-facing errors."""
    with writing(Path("the output")):
        try:
            yield
        except PasserbyError:
            raise
        except ModuleNotFoundError as error:
            hint = str(error) if "pip install" in str(error) else f"{error.name} is not installed: pip install 'passerby[train]'"
            raise UsageError(hint) from None
        except (FileNotFoundError, NotADirectoryError, ValueError) as error:
            raise UsageError(str(error)) from None


@contextmanager
def progress_log() -> Iterator[None]:
    """Show messages of the model packages from INFO up, unless the user asked for errors only."""
    loggers = [logging.getLogger(name) for name in ("detectors", "reid")]
    for logger in loggers:
        logger.setLevel(logging.INFO if logging.getLogger().isEnabledFor(logging.WARNING) else logging.NOTSET)
    try:
        yield
    finally:
        for logger in loggers:
            logger.setLevel(logging.NOTSET)


def writable_folder(path: Path) -> Path:
    """Create the folder if it is missing, and check that it is writable before any work starts. Raises OutputError if it is not."""
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return path


def writable_file(path: Path, *suffixes: str) -> Path:
    """Check that a file can be written, before any work starts.

    Raises UsageError for a wrong suffix, OutputError if the folder is missing or not writable.
    """
    if suffixes and path.suffix.lower() not in suffixes:
        raise UsageError(f"{path}: must end in {' or '.join(suffixes)}")
    with writing(path):
        if not path.parent.is_dir():
            raise FileNotFoundError(f"no folder {path.parent}")
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return path


def read_recipe(path: Path, kind: type[R], threads: int | None) -> R:
    """Read and validate a recipe. Raises UsageError naming the file, the line and the dotted key."""
    from pipeline.formats.validation import validated
    from pipeline.formats.yaml_file import read_yaml

    file = read_yaml(path, "recipe")
    recipe = validated(kind, file.values, file.where)
    return recipe.model_copy(update={"threads": threads}) if threads else recipe


def precision_of(text: str, known: tuple[str, ...]) -> Any:
    """Return ``text`` if it is one of the ``known`` precisions. Raises UsageError otherwise."""
    if text not in known:
        raise UsageError(f"--precision {text}: must be one of {', '.join(known)}")
    return text


def write_image(path: Path, image: Any) -> None:
    """Write an image, (h, w, 3) uint8 BGR, in the format of the path's suffix. Raises OutputError."""
    import cv2

    with writing(path):
        try:
            path.write_bytes(cv2.imencode(path.suffix, image)[1].tobytes())
        except cv2.error as error:
            raise OSError(str(error)) from None


def print_figures(values: dict[str, Any], as_json: bool) -> None:
    """Print metrics as JSON, or one per line."""
    rounded = json.loads(json.dumps(values), parse_float=lambda text: round(float(text), 4))
    if as_json:
        print(json.dumps(rounded))
        return
    for name, value in rounded.items():
        if isinstance(value, dict):
            text = (
                f"{value['value']} ({value['low']} to {value['high']})"
                if "low" in value
                else ", ".join(f"{k} {v}" for k, v in value.items())
            )
        else:
            text = str(value)
        print(f"{name.replace('_', ' ')}: {text}")
