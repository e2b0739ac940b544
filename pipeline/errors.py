"""User-facing errors, each with the exit code of the command. Those that models and writers raise live in ``detectors.runtime.errors``."""

from __future__ import annotations

from detectors.runtime.errors import (
    MODEL,
    NO_SOURCE,
    OK,
    OUTPUT,
    SOURCE_FAILED,
    USAGE,
    ModelError,
    OutputError,
    PasserbyError,
    writing,
)

__all__ = [
    "MODEL", "NO_SOURCE", "OK", "OUTPUT", "SOURCE_FAILED", "USAGE", "ModelError", "OutputError", "PasserbyError", "SourceError", "UsageError",
    "writing",
]  # fmt: skip


class UsageError(PasserbyError):
    """A wrong option, configuration or input file."""


class SourceError(PasserbyError):
    """A source that cannot be opened or read on."""

    code = NO_SOURCE
