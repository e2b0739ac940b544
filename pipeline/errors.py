"""User-facing errors and their exit codes. Those that models and writers raise are defined in ``detectors.runtime.errors``."""

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
    """A source that cannot be opened or read."""

    code = NO_SOURCE
