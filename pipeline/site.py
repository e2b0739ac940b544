"""The site file: YAML to ``Site``."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import ValidationError

from pipeline.errors import UsageError
from tracker import Site


def load_site(path: Path | None) -> Site:
    """Read a site file (None: nothing is known of the site). Raises UsageError naming the file, the line or dotted path."""
    if path is None:
        return Site()
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        return Site.model_validate(values or {})
    except FileNotFoundError:
        raise UsageError(f"{path}: no such site file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable ({error})") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        raise UsageError(
            f"{path}{f', line {mark.line + 1}' if mark else ''}: not valid YAML ({getattr(error, 'problem', error)})"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = f"; known here: {', '.join(Site.model_fields)}" if first["type"] == "extra_forbidden" and len(first["loc"]) == 1 else ""
        raise UsageError(f"{path}: {where}{': ' if where else ''}{first['msg'].removeprefix('Value error, ')}{known}") from None
