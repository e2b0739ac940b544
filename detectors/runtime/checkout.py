"""Which commit of the project is running: what a run's record and a model's bundle say of where they come from."""

from __future__ import annotations

import subprocess
from pathlib import Path


def commit() -> str | None:
    """The commit of the checkout this code runs from; None where it is installed elsewhere."""
    here = Path(__file__).parent
    try:
        found = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD", "--show-prefix"], capture_output=True, text=True, timeout=5, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = found.stdout.split()
    return lines[0] if found.returncode == 0 and lines[1:] == [f"{here.name}/"] else None
