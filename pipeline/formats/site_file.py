"""The site file: YAML to ``Site``."""

from __future__ import annotations

from pathlib import Path

from pipeline.formats.validation import validated
from pipeline.formats.yaml_file import read_yaml
from tracker import Site


def load_site(path: Path | None) -> Site:
    """Read a site file. None: nothing is known of the site. Raises UsageError naming file, line and dotted key."""
    if path is None:
        return Site()
    file = read_yaml(path, "site file")
    return validated(Site, file.values, file.where)
