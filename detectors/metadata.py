"""What exporters write into the metadata of an ONNX file: class names, input size, stride, task."""

from __future__ import annotations

import ast
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass

DEFAULT_SIZE, DEFAULT_STRIDE = 640, 32  # px


@dataclass(frozen=True)
class Facts:
    """``names`` by class index, or None; longest side of the input ``size`` and greatest ``stride`` in px; ``task`` ("" if not stated)."""

    names: dict[int, str] | None
    size: int
    stride: int
    task: str


def read_metadata(metadata: Mapping[str, str]) -> Facts:
    """Metadata as ultralytics' exporters of any age, or others, write them.

    ``names``: a dict, a list, or words between commas; ``imgsz``: a number or a list; ``stride``: a number or one of each feature map.
    What cannot be read counts as not stated.
    """
    sizes, strides = numbers(metadata.get("imgsz", "")), numbers(metadata.get("stride", ""))
    return Facts(
        names_in(metadata.get("names", "")) or None,
        max(sizes, default=DEFAULT_SIZE),
        max(strides, default=DEFAULT_STRIDE),
        metadata.get("task", "").strip().lower(),
    )


def names_in(text: str) -> dict[int, str]:
    """``{0: 'person'}``, ``['person', 'car']``, ``{"0": "person"}`` in JSON, or ``person, car`` -> names by index."""
    value = literal(text)
    if isinstance(value, Mapping):
        try:
            return {int(index): str(name) for index, name in value.items()}
        except (TypeError, ValueError):  # {'person': 0}
            return {int(index): str(name) for name, index in value.items() if str(index).isdecimal()}
    if not isinstance(value, (list, tuple)):
        value = [part.strip() for part in text.replace("\n", ",").split(",") if part.strip()]
    return {index: str(name) for index, name in enumerate(value)}


def numbers(text: str) -> list[int]:
    """The positive whole numbers of ``640``, ``640.0`` or ``[480, 640]``; none if it cannot be read."""
    value = literal(text)
    values = value if isinstance(value, (list, tuple)) else [value]
    return [int(one) for one in values if isinstance(one, (int, float)) and math.isfinite(one) and one >= 1]


def literal(text: str) -> object:
    """A literal of Python or JSON; None if it is neither."""
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
    return None
