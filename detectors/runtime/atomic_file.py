"""Files that are there whole or not at all."""

from __future__ import annotations

from pathlib import Path


def put(draft: Path, out: Path) -> None:
    """Give ``out`` the content of ``draft``, of any file system, at once: where that fails ``out`` stays what it was. Raises OSError."""
    beside = out.with_name(f"{out.name}.tmp")
    try:
        beside.write_bytes(draft.read_bytes())
        beside.replace(out)
    except OSError:
        beside.unlink(missing_ok=True)
        raise
