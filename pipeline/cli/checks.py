"""Checks shared by the training commands: paths that can be written, recipes, and their errors."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from pipeline.errors import OutputError, UsageError
from pipeline.formats.yaml_file import read_yaml

if TYPE_CHECKING:
    from pydantic import BaseModel


EPILOG = "Training and exporting need pip install 'passerby[train]'."


Recipe = Annotated[Path, typer.Argument(metavar="CONFIG", help="Recipe (YAML), see configs/.")]


DATA_HELP = "Market-1501, DukeMTMC-reID, CUHK03 or MSMT17 as published (folder or archive), or your own PERSON/CAMERA_*.jpg."


Data = Annotated[Path, typer.Option(help=DATA_HELP)]


Out = Annotated[Path, typer.Option("-o", "--out", help="Folder of the training: checkpoints and log.csv.")]


Threads = Annotated[int | None, typer.Option(min=1, help="Threads, instead of the recipe's.")]


Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]


Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


PICTURES = (".jpg", ".jpeg", ".png", ".webp")  # that a sheet can be


R = TypeVar("R", bound="BaseModel")


@contextmanager
def told_to_people() -> Iterator[None]:
    """A missing package, a wrong folder, a picture that cannot be read and a full disk are the user's to know, in a line."""
    from detectors.runtime.session import ModelError

    try:
        yield
    except ModelError:
        raise
    except ModuleNotFoundError as error:
        hint = str(error) if "pip install" in str(error) else f"{error.name} is missing: pip install 'passerby[train]'"
        raise UsageError(hint) from None
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise OutputError(f"{error.filename or 'the output'}: cannot be written ({error.strerror or error})") from None


def folder_to_write(path: Path) -> Path:
    """Made if it is not there. Raises OutputError where that cannot be, before any work is done for it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OutputError(f"{path}: no folder that can be written ({error.strerror or error})") from None
    return path


def file_to_write(path: Path, *endings: str) -> Path:
    """Raises UsageError for another ending, OutputError where its folder is missing or cannot be written, before any work is done for it."""
    if endings and path.suffix.lower() not in endings:
        raise UsageError(f"{path}: its name is to end in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{path}: cannot be written ({'it is a folder' if path.is_dir() else os.strerror(errno.EACCES)})")
    return path


def read_recipe(path: Path, kind: type[R], threads: int | None) -> R:
    """Raises UsageError naming the file and the dotted path."""
    from pydantic import ValidationError

    values = read_yaml(path, "recipe")
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a recipe is a group of keys ({', '.join(kind.model_fields)})")
    try:
        return kind.model_validate(values | ({"threads": threads} if threads else {}))
    except ValidationError as error:
        first = error.errors()[0]
        known = f"; known here: {', '.join(kind.model_fields)}" if first["type"] == "extra_forbidden" and len(first["loc"]) == 1 else ""
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}{known}") from None


def one_of_precisions(text: str, known: tuple[str, ...]) -> Any:
    if text not in known:
        raise UsageError(f"--precision {text}: one of {', '.join(known)}")
    return text


def write_picture(path: Path, picture: Any) -> None:
    import cv2

    try:
        path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    except (OSError, cv2.error) as error:
        raise OutputError(f"{path}: cannot be written ({error})") from None


def tell(values: dict[str, Any], as_json: bool) -> None:
    """Figures as JSON, or a line each."""
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
