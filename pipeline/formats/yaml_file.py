"""A user's YAML file, read with errors for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UsageError


def read_yaml(path: Path, kind: str) -> Any:
    """What the file holds, None where it is empty. Raises UsageError naming the file and line; ``kind``: "site file" for example."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such {kind}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', error)})") from None
