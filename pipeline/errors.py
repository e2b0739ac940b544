"""User-facing errors, each with the exit code of the command. Their messages never show credentials."""

from __future__ import annotations

from pipeline.address import redact

OK, SOURCE_FAILED, USAGE, NO_SOURCE, MODEL, OUTPUT = 0, 1, 2, 3, 4, 5


class PasserbyError(Exception):
    """What is wrong, where, and what would be right; ``code`` is the command's exit code."""

    code = USAGE

    def __init__(self, message: str) -> None:
        super().__init__(redact(message))


class UsageError(PasserbyError):
    """A wrong option, configuration or input file."""


class SourceError(PasserbyError):
    """A source that cannot be opened or read on."""

    code = NO_SOURCE


class OutputError(PasserbyError):
    """An output that cannot be written."""

    code = OUTPUT
