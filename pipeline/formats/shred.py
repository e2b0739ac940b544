"""Deletion that leaves nothing in the file: its bytes are overwritten before it goes.

A file system that copies on write, a flash disk that moves blocks, and a backup keep what they keep; see docs/privacy.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

BLOCK = 1 << 20


def shred(path: Path) -> bool:
    """Overwrite a file with zeros and delete it; False if there is none. Raises OSError. One that has another name (hard link) is only deleted here."""
    try:
        with path.open("r+b") as file:
            if os.fstat(file.fileno()).st_nlink == 1:
                _overwrite(file)
    except FileNotFoundError:
        return False
    path.unlink()
    return True


@contextmanager
def rewritten(path: Path) -> Iterator[Path]:
    """A file to write beside ``path``; when the block ends it takes its place, and the old bytes are overwritten. If it raises, nothing changes."""
    scratch = path.with_name(f".{path.name}.new")
    try:
        yield scratch
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    with path.open("r+b") as old:
        scratch.replace(path)
        if os.fstat(old.fileno()).st_nlink == 0:
            _overwrite(old)


def _overwrite(file: BinaryIO) -> None:
    left = os.fstat(file.fileno()).st_size
    file.seek(0)
    while left > 0:
        left -= file.write(bytes(min(left, BLOCK)))
    file.flush()
    os.fsync(file.fileno())
