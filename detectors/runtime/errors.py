"""User-facing errors, each with the exit code of the command: the one hierarchy of the project. Messages never show credentials."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectors.runtime.redaction import redact

OK, SOURCE_FAILED, USAGE, NO_SOURCE, MODEL, OUTPUT = 0, 1, 2, 3, 4, 5


class PasserbyError(Exception):
    """What is wrong, where, and what to do; ``code`` is the exit code of the command."""

    code = USAGE

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class ModelError(PasserbyError, ValueError):
    """A model file that is missing, is not a model, or whose inputs, outputs or metadata do not fit."""

    code = MODEL


class OutputError(PasserbyError):
    """An output that cannot be written."""

    code = OUTPUT


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn an OSError in the block into OutputError: the file the system names, or else ``path``, cannot be written."""
    try:
        yield
    except OSError as error:
        raise OutputError(f"{error.filename or path}: cannot be written ({error.strerror or error})") from None
