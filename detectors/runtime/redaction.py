"""Credentials never shown: the one form in which text that may hold an address is printed."""

from __future__ import annotations

import re

# scheme, any number of slashes (a path library may have folded them), then user and password up to the last @ before a blank or quote:
# a password may itself hold @ and /
_USERINFO = re.compile(r"(?i)\b([a-z][a-z0-9+.-]+:/+)[^\s'\"<>|]*@")
_BARE = re.compile(r"(?<![\w/@.])[^\s/:@'\"<>|=,;]+:(?![/\\])[^\s'\"<>|]+@(?=[\w.-]+(?::\d+)?(?:[/\s'\"]|$))")  # the same without a scheme
_QUERY = re.compile(r"(?i)([?&;](?:pass(?:word|wd)?|pwd|token|secret|key|api[_-]?key|auth|sig(?:nature)?)=)[^&\s'\"<>]*")
_PATH = re.compile(r"(?i)([/_](?:pass(?:word|wd)?|pwd|token|secret)=)[^&/\s'\"<>]*")  # recorders take them in the path
HIDDEN = "***"


def redact(text: str) -> str:
    """``text`` with user names, passwords and tokens of every URL in it replaced by ``***``."""
    text = _BARE.sub(f"{HIDDEN}@", _USERINFO.sub(rf"\1{HIDDEN}@", text))
    return _PATH.sub(rf"\1{HIDDEN}", _QUERY.sub(rf"\1{HIDDEN}", text))
