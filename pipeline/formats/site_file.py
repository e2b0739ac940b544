"""The site file: YAML to ``Site``."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from pipeline.errors import UsageError
from pipeline.formats.yaml_file import read_yaml
from tracker import Site


def load_site(path: Path | None) -> Site:
    """Read a site file (None: nothing is known of the site). Raises UsageError naming the file, the line or dotted path."""
    if path is None:
        return Site()
    values = read_yaml(path, "site file")
    try:
        return Site.model_validate(values or {})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        known = f"; known here: {', '.join(Site.model_fields)}" if first["type"] == "extra_forbidden" and len(first["loc"]) == 1 else ""
        raise UsageError(f"{path}: {where}{': ' if where else ''}{first['msg'].removeprefix('Value error, ')}{known}") from None
