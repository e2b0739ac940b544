"""Addresses of sources: a path or a URL, and the one form in which it may be shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

# scheme, any number of slashes (a path library may have folded them), then user and password up to the last @ before a blank or quote:
# a password may itself hold @ and /
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]+:/+)[^\s'\"<>|]*@")
_QUERY = re.compile(r"(?i)([?&;](?:pass(?:word|wd)?|pwd|token|secret|key|api[_-]?key|auth|sig(?:nature)?)=)[^&\s'\"<>]*")
_SCHEME = re.compile(r"(?i)^[a-z][a-z0-9+.-]*://")
HIDDEN = "***"


def redact(text: str) -> str:
    """``text`` with user names, passwords and tokens of every URL in it replaced by ``***``."""
    return _QUERY.sub(rf"\1{HIDDEN}", _USERINFO.sub(rf"\1{HIDDEN}@", text))


@dataclass(frozen=True)
class Address:
    """Where a source is. ``str()`` and ``repr()`` are redacted; only ``raw``, for the library that opens it, has the credentials."""

    raw: str = field(repr=False)

    @property
    def is_url(self) -> bool:
        """Whether it names a stream on a network, not a file."""
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
