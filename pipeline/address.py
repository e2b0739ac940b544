"""Addresses of sources, paths or URLs, and their redacted form: the only one that may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from detectors.runtime.redaction import redact

__all__ = ["Address", "redact"]

_SCHEME = re.compile(r"(?i)^[a-z][a-z0-9+.-]*://")


@dataclass(frozen=True)
class Address:
    """The path or URL of a source. ``str()`` and ``repr()`` are redacted; only ``raw``, for opening it, contains the credentials."""

    raw: str = field(repr=False)

    @property
    def is_url(self) -> bool:
        """Whether it is a URL rather than a path."""
        return bool(_SCHEME.match(self.raw))

    @property
    def place(self) -> str:
        """Host and path of a URL, without credentials and query."""
        return re.split(r"[?#]", self.raw.partition("://")[2].rpartition("@")[2])[0].rstrip("/")

    @property
    def redacted(self) -> str:
        return redact(self.raw)

    def __str__(self) -> str:
        return self.redacted

    def __repr__(self) -> str:
        return f"Address({self.redacted!r})"
