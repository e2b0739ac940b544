"""Generate pages and schemas from the code: ``make docs``.

From the settings models: ``docs/configuration.md``, ``configs/run.schema.json``, ``configs/site.schema.json``. From the messages of edges:
``docs/schemas/edge-message.schema.json``. From the public names of the packages: ``docs/api.md``.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel

import detectors
import pipeline
import reid
import tracker
from detectors.runtime.settings import Settings
from detectors.training import recipe as detector_recipe
from pipeline.config import Config
from pipeline.formats.site_file import CameraEntry, SiteFile
from pipeline.formats.validation import model_in
from pipeline.messaging.messages import EDGE_MESSAGE
from reid.training import recipe as reid_recipe
from reid.training.jitter import Jitter
from tracker.site import Line, Link, Zone

ROOT = Path(__file__).parent.parent

INTRODUCTION = """# Configuration

<!-- Generated from the settings models: change those, then run `make docs`. -->

`passerby run ... --config FILE` reads YAML with the groups below; [run.example.yaml](../configs/run.example.yaml) is an example. `--set
detector.size=640` sets one key. `--set` overrides the command's options, options override the file, and the file overrides the defaults.
`passerby run ... --dry-run` prints the result. Errors name the file, the line and the key.

Editors with a YAML language server complete and check the keys if a file begins with `# yaml-language-server:
$schema=run.schema.json` ([run.schema.json](../configs/run.schema.json); for site files [site.schema.json](../configs/site.schema.json)).

Names from DeepSORT, ByteTrack and ultralytics (`max_age`, `track_thresh`, `conf`, `imgsz`, ...) are not accepted; the error names
the equivalent key. Note the units: times are in seconds, not in frames.
"""

SITE = """# Site file

`passerby run ... --site FILE` and `passerby associate ... --site FILE` read a site file;
[site.example.yaml](../configs/site.example.yaml) is an example. All keys are optional.
"""

RECIPES = """# Recipes

`passerby reid train RECIPE`, `passerby reid distil RECIPE` and `passerby detector train RECIPE` read recipes; those of the shipped models are in [configs/](../configs).
"""

API = """# Python API

<!-- Generated from the docstrings: change those, then run `make docs`. -->

The public names of the four packages. Other names may change without notice. Settings models are described in
[configuration.md](configuration.md); they are immutable, and `settings.changed(key=value)` returns a changed, validated copy. `Key` is the (camera, track) of a tracklet.
"""


def pages() -> dict[Path, str]:
    """Each generated file and its text."""
    groups = [section(name, field.annotation, f"{name}.") for name, field in Config.model_fields.items()]
    site = [
        section("Site", SiteFile),
        section("cameras.NAME", CameraEntry),
        section("zones.NAME", Zone),
        section("lines.NAME", Line),
        section("links[]", Link),
    ]
    recipes = [
        section("passerby reid train", reid_recipe.Recipe), section("passerby reid distil", reid_recipe.DistilRecipe),
        section("jitter", Jitter, "jitter."), section("passerby detector train", detector_recipe.Recipe), section("stages[]", detector_recipe.Stage),
    ]  # fmt: skip
    return {
        ROOT / "docs/api.md": "\n".join([API, *(package_section(package) for package in (pipeline, detectors, reid, tracker))]),
        ROOT / "docs/configuration.md": "\n".join([INTRODUCTION, *groups, SITE, *site, RECIPES, *recipes]),
        ROOT / "configs/run.schema.json": schema(Config),
        ROOT / "configs/site.schema.json": schema(SiteFile),
        ROOT / "docs/schemas/edge-message.schema.json": _json(EDGE_MESSAGE.json_schema()),
    }


def schema(kind: type[BaseModel]) -> str:
    return _json(kind.model_json_schema())


def _json(values: dict[str, Any]) -> str:
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def section(title: str, kind: Any, prefix: str = "") -> str:
    """A heading, the model's docstring, and a table of its keys."""
    model = kind.model_json_schema()
    required = model.get("required", ())
    rows = [
        f"| `{prefix}{key}` | {'required' if key in required else default_of(field)} | {unit(field)} | {bounds(field)} | {meaning(kind, key)} |"
        for key, field in model["properties"].items()
    ]
    head = ["| key | default | unit | bounds | what it does |", "|---|---|---|---|---|"]
    return "\n".join([f"## {title}", "", model["description"], "", *head, *rows, ""])


def default_of(field: dict[str, Any]) -> str:
    value = field.get("default", {} if field.get("type") == "object" else None)
    if isinstance(value, dict) and value:
        return "see below"
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def meaning(kind: Any, key: str) -> str:
    """Title and description; the JSON Schema has no title for a group of settings."""
    field = kind.model_fields[key]
    return f"**{field.title}.** {field.description}"


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
        if text := ", ".join(f"{word} {value}" for word, value in words if value is not None):
            return text
    return ""


def kinds(field: dict[str, Any]) -> list[dict[str, Any]]:
    """The field itself, and what it may be."""
    return [field, *field.get("anyOf", ())]


def package_section(package: ModuleType) -> str:
    """The public names of a package, and the models that their fields hold."""
    named = {name: getattr(package, name) for name in package.__all__}
    parts = dict.fromkeys(named)
    for one in named.values():
        parts |= {kind.__name__: kind for kind in records_in(one) if kind.__name__ not in named}
    entries = [entry(name, kind or named[name]) for name, kind in parts.items()]
    return "\n".join([f"## {package.__name__}", "", prose(package), "", *entries])


def records_in(kind: Any) -> Iterator[type[BaseModel]]:
    """Models, other than settings, that a model's fields hold."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, Settings):
        for field in kind.model_fields.values():
            if (inner := model_in(field.annotation)) is not None and not issubclass(inner, Settings):
                yield inner
                yield from records_in(inner)


def entry(name: str, what: Any) -> str:
    """A heading, the signature, the docstring, the fields of a record, and the public methods."""
    lines = [f"### {name}", ""]
    if not isinstance(what, type):
        return "\n".join([*lines, f"`{name}{signature(what)}`", "", prose(what), ""])
    if issubclass(what, Settings):
        lines += [prose(what), "", "Settings: [configuration.md](configuration.md).", ""]
    else:
        called = "__init__" in vars(what) and not issubclass(what, BaseModel) and not getattr(what, "_is_protocol", False)
        lines += [f"`{name}{signature(what)}`", ""] if called else []
        lines += [prose(what), "", *fields(what)]
    for method, function in vars(what).items():
        plain = function.__func__ if isinstance(function, classmethod | staticmethod) else function
        if method.startswith("_") or (not inspect.isfunction(plain) and not isinstance(plain, property)):
            continue
        if isinstance(plain, property):
            shown, text = f"`.{method}`: `{plain.fget.__annotations__['return']}`", prose(plain.fget)
        else:
            shown, text = f"`.{method}{signature(getattr(what, method), bound=not isinstance(function, staticmethod))}`", prose(plain)
        lines.append(f"- {shown}" + (f"<br>{text}".replace("\n\n", "<br>") if text else ""))
    return "\n".join([*lines, ""] if lines[-1] else lines)


def fields(kind: type) -> list[str]:
    """A table of the fields of a dataclass or a model."""
    if issubclass(kind, BaseModel):
        found = [(name, "required" if field.is_required() else shown(field.get_default())) for name, field in kind.model_fields.items()]
    elif dataclasses.is_dataclass(kind):
        missing = dataclasses.MISSING
        found = [
            (
                field.name,
                "computed" if field.default_factory is not missing else "required" if field.default is missing else shown(field.default),
            )
            for field in dataclasses.fields(kind)
        ]
    else:
        return []
    types = {name: text for base in reversed(kind.__mro__) for name, text in vars(base).get("__annotations__", {}).items()}
    rows = []
    for name, default in found:
        text = types[name].replace("|", "\\|")  # in a table
        rows.append(f"| `{name}` | `{text}` | {default if default in ('required', 'computed') else f'`{default}`'} |")
    return ["| field | type | default |", "|---|---|---|", *rows, ""]


def signature(what: Callable[..., Any], bound: bool = False) -> str:
    """Parameters with their types and defaults, without ``self``."""
    found = inspect.signature(what)
    words = []
    for name, parameter in found.parameters.items():
        if name in ("self", "cls"):
            continue
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}.get(parameter.kind, "")
        kind = "" if parameter.annotation is parameter.empty else f": {parameter.annotation}"
        words.append(f"{stars}{name}{kind}" + ("" if parameter.default is parameter.empty else f" = {shown(parameter.default)}"))
    result = "" if isinstance(what, type) or found.return_annotation is found.empty else f" -> {found.return_annotation}"
    return f"({', '.join(words)}){result}"


def shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return f"{type(value).__name__}()"
    return "..." if callable(value) or repr(value) == "<factory>" else repr(value)


def prose(what: Any) -> str:
    """The docstring as Markdown: one line per paragraph and list item, code in single backticks."""
    text = re.sub(r"``(.+?)``", r"`\1`", inspect.cleandoc(what.__doc__ or ""), flags=re.S)
    return re.sub(r"(?<!\n)\n *(?!\n|- )", " ", text)


if __name__ == "__main__":
    for path, text in pages().items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"written: {path.relative_to(ROOT)}")
