"""The commit of the running code, for the record of a run and the metadata of a model."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str | None:
    """Commit hash of the checkout that this code runs from; None if it is installed elsewhere or git is missing."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD", "--show-prefix"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = found.stdout.split()
    return lines[0] if found.returncode == 0 and lines[1:] == ["detectors/runtime/"] else None
