"""Atomic file replacement."""

from __future__ import annotations

from pathlib import Path

from detectors.runtime.errors import writing


def put(draft: Path, out: Path) -> None:
    """Replace ``out`` by the content of ``draft``, which may lie on another file system, atomically.

    Raises OutputError if ``out`` cannot be written; it then keeps its old content.
    """
    content, temporary = draft.read_bytes(), out.with_name(f"{out.name}.tmp")
    with writing(out):
        try:
            temporary.write_bytes(content)
            temporary.replace(out)
        except OSError:
            if temporary.is_file():
                temporary.unlink()
            raise
