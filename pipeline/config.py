"""The configuration of a run: frozen models whose defaults live with what they configure, read from YAML and ``--set``."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from detectors.load import DetectorSettings
from pipeline.errors import UsageError
from pipeline.formats.yaml_file import read_yaml
from reid.embedder import EmbedderSettings
from tracker.following.settings import TrackerSettings
from tracker.linking.association import AssociationSettings
from tracker.linking.linker import LinkerSettings
from tracker.refine import RefineSettings


class Reading(BaseModel):
    """How sources are read: each ``every``-th frame from ``start`` to ``end`` (seconds); ``rate``: of images, per second."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    every: int = Field(default=1, ge=1)
    start: float | None = Field(default=None, ge=0)
    end: float | None = Field(default=None, gt=0)
    rate: float | None = Field(default=None, gt=0)
    ahead: int = Field(default=8, ge=1, le=256)


class Output(BaseModel):
    """What is written: ``video`` or not, its ``quality`` (x264's CRF, less is better), ``trail`` in seconds, crops a sheet.

    ``fill``: gaps of up to so many seconds in a track are filled in ``tracks.txt`` by interpolation; 0 fills none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    video: bool = True
    quality: int = Field(default=26, ge=0, le=51)
    trail: float = Field(default=2.0, ge=0)
    fill: float = Field(default=2.0, ge=0, le=60)
    sheet_crops: int = Field(default=12, ge=1, le=64)


class MotionGate(BaseModel):
    """Whether still scenes skip the detector. ``most``: frames in a row at most, by which a new person can be late; 0: no gate.

    A scene is still where no spot of its grey picture differs by more than ``change`` levels from the last one that was looked at.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    most: int = Field(default=0, ge=0)
    change: float = Field(default=10.0, gt=0)


class Config(BaseModel):
    """Everything that decides a run's result, but its sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    detector: DetectorSettings = DetectorSettings()
    reid: EmbedderSettings = EmbedderSettings()
    tracker: TrackerSettings = TrackerSettings()
    association: AssociationSettings = AssociationSettings()
    linker: LinkerSettings = LinkerSettings()
    refine: RefineSettings = RefineSettings()
    reading: Reading = Reading()
    motion_gate: MotionGate = MotionGate()
    output: Output = Output()

    def as_dict(self) -> dict[str, Any]:
        return TypeAdapter(Config).dump_python(self, mode="json")


def _fields(kind: Any) -> dict[str, Any] | None:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return {name: info.annotation for name, info in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return get_type_hints(kind)
    return None


def _leaves(kind: Any, prefix: str = "") -> list[str]:
    names = []
    for name, inner in (_fields(kind) or {}).items():
        names += [f"{prefix}{name}", *_leaves(inner, f"{prefix}{name}.")]
    return names


def _check_keys(values: Mapping[Any, Any], kind: Any, where: str, prefix: str = "") -> None:
    known = _fields(kind) or {}
    for key, value in values.items():
        path = f"{prefix}{key}"
        if key not in known:
            every = _leaves(Config)
            near = [name for name in every if name.split(".")[-1] == str(key)] or difflib.get_close_matches(path, every, 1, 0.5)
            raise UsageError(
                f"{where}: unknown key {path!r}" + (f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(known)}")
            )
        if _fields(known[key]) is not None:
            if not isinstance(value, Mapping):
                raise UsageError(f"{where}: {path} must be a group of keys ({', '.join(_fields(known[key]) or {})}), not {value!r}")
            _check_keys(value, known[key], where, f"{path}.")


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        out[key] = _merge(out[key], value) if isinstance(value, Mapping) and isinstance(out.get(key), Mapping) else value
    return out


def nested(path: str, value: Any) -> dict[str, Any]:
    """``nested("a.b", 1)`` is ``{"a": {"b": 1}}``."""
    for key in reversed(path.split(".")):
        value = {key: value}
    return value


def _validated(values: Mapping[str, Any], where: str, whole: bool = True) -> Config:
    """``whole`` False: a part of the settings, which may fit only with the others."""
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        found = [one for one in error.errors() if whole or one["type"] != "value_error"]
        if not found:
            return Config()
        first = found[0]
        path = ".".join(str(part) for part in first["loc"])
        if first["type"] == "value_error":  # a settings class' own words, with the value in them
            raise UsageError(f"{where}: {path}: {first['msg'].removeprefix('Value error, ')}") from None
        raise UsageError(f"{where}: {path}: {first['msg']}, not {first['input']!r}") from None


def load_config(file: Path | None = None, sets: Iterable[str] = (), options: Mapping[str, Any] | None = None) -> Config:
    """Defaults, then the YAML ``file``, then ``options`` (dotted key -> value, None: not given), then ``sets`` (``key=value``).

    Raises UsageError naming the file or option, the dotted path, and the nearest known key.
    """
    values: dict[str, Any] = {}
    if file is not None:
        loaded = read_yaml(file, "configuration file")
        if loaded is not None and not isinstance(loaded, Mapping):
            raise UsageError(f"{file}: a configuration is a group of keys ({', '.join(Config.model_fields)})")
        values = dict(loaded or {})
        _check_keys(values, Config, str(file))
        _validated(values, str(file), whole=False)
    for key, value in (options or {}).items():
        if value is not None:
            values = _merge(values, nested(key, value))
    for item in sets:
        key, sign, text = item.partition("=")
        if not sign or not key:
            raise UsageError(f"--set {item}: write it as dotted.key=value, --set tracker.keep=5 for example")
        try:
            given = nested(key.strip(), yaml.safe_load(text))
        except yaml.YAMLError:
            raise UsageError(f"--set {item}: {text!r} is not a value; put quotes around text with signs in it") from None
        _check_keys(given, Config, f"--set {item}")
        _validated(given, f"--set {item}", whole=False)
        values = _merge(values, given)
    return _validated(values, "configuration")
