"""Write the pages and schemas that follow from the settings models: ``make docs``.

``docs/configuration.md``, ``configs/run.schema.json`` and ``configs/site.schema.json``.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from detectors.training import recipe as detector
from pipeline.config import Config
from pipeline.formats.site_file import CameraEntry, SiteFile
from reid.training import recipe as reid
from tracker.site import Link

ROOT = Path(__file__).parent.parent

INTRODUCTION = """# Configuration

<!-- Generated from the settings models: change those, then run `make docs`. -->

`passerby run ... --config FILE` reads YAML with the groups below; [run.example.yaml](../configs/run.example.yaml) is one. `--set
detector.size=640` sets one key. `--set` overrides the command's options, options override the file, and the file overrides the defaults.
`passerby run ... --dry-run` prints the result. Errors name the file, the line and the key.

Editors with a YAML language server complete and check the keys where a file begins with `# yaml-language-server:
$schema=run.schema.json` ([run.schema.json](../configs/run.schema.json); for site files [site.schema.json](../configs/site.schema.json)).

Names from DeepSORT, ByteTrack and ultralytics (`max_age`, `track_thresh`, `conf`, `imgsz`, ...) are not accepted, but the error names
the key that does the same. Note the units: times are in seconds, not in frames.
"""

SITE = """# Site file

`passerby run ... --site FILE` and `passerby associate ... --site FILE` read what is known of the site;
[site.example.yaml](../configs/site.example.yaml) is one. Everything is optional.
"""

RECIPES = """# Recipes

`passerby reid train RECIPE` and `passerby detector train RECIPE` read these; the recipes of the shipped models are in
[configs/](../configs).
"""


def pages() -> dict[Path, str]:
    """Each generated file and its text."""
    groups = [section(name, field.annotation, f"{name}.") for name, field in Config.model_fields.items()]
    site = [section("Site", SiteFile), section("cameras.NAME", CameraEntry), section("links[]", Link)]
    recipes = [
        section("passerby reid train", reid.Recipe), section("passerby detector train", detector.Recipe),
        section("stages[]", detector.Stage),
    ]  # fmt: skip
    return {
        ROOT / "docs/configuration.md": "\n".join([INTRODUCTION, *groups, SITE, *site, RECIPES, *recipes]),
        ROOT / "configs/run.schema.json": schema(Config),
        ROOT / "configs/site.schema.json": schema(SiteFile),
    }


def schema(kind: type[BaseModel]) -> str:
    return json.dumps(kind.model_json_schema(), indent=1, ensure_ascii=False) + "\n"


def section(title: str, kind: Any, prefix: str = "") -> str:
    """A heading, the model's docstring, and a table of its keys."""
    model = kind.model_json_schema()
    required = model.get("required", ())
    rows = [
        f"| `{prefix}{key}` | {'required' if key in required else default_of(field)} | {unit(field)} | {bounds(field)} | {meaning(field)} |"
        for key, field in model["properties"].items()
    ]
    head = ["| key | default | unit | bounds | what it does |", "|---|---|---|---|---|"]
    return "\n".join([f"## {title}", "", model["description"], "", *head, *rows, ""])


def default_of(field: dict[str, Any]) -> str:
    value = field.get("default", {} if field.get("type") == "object" else None)
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def meaning(field: dict[str, Any]) -> str:
    return f"**{field['title']}.** {field['description']}"


def unit(field: dict[str, Any]) -> str:
    return next((part["unit"] for part in kinds(field) if "unit" in part), "")


def bounds(field: dict[str, Any]) -> str:
    """In words: ``0 to 1``, ``at least 1``, ``over 0``, or the values to choose from."""
    for part in kinds(field):
        if "enum" in part:
            return ", ".join(f"`{value}`" for value in part["enum"])
        low, over, high, under = (part.get(name) for name in ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum"))
        if low is not None and high is not None:
            return f"{low} to {high}"
        words = [("at least", low), ("over", over), ("at most", high), ("under", under)]
        if said := ", ".join(f"{word} {value}" for word, value in words if value is not None):
            return said
    return ""


def kinds(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The field itself, and what it may be."""
    return [field, *field.get("anyOf", ())]


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text, encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")
