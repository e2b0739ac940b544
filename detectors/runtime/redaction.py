"""Credentials never shown: the one form in which text that may hold an address is printed."""

from __future__ import annotations

import re

# scheme, any number of slashes (a path library may have folded them), then user and password up to the last @ before a blank or quote:
# a password may itself hold @ and /
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]+:/+)[^\s'\"<>|]*@")
_QUERY = re.compile(r"(?i)([?&;](?:pass(?:word|wd)?|pwd|token|secret|key|api[_-]?key|auth|sig(?:nature)?)=)[^&\s'\"<>]*")
HIDDEN = "***"


def redact(text: str) -> str:
    """``text`` with user names, passwords and tokens of every URL in it replaced by ``***``."""
    return _QUERY.sub(rf"\1{HIDDEN}", _USERINFO.sub(rf"\1{HIDDEN}@", text))
