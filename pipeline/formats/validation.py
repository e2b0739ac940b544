"""Validate a user's values against a model. Errors name the place, the dotted key, the problem, and what is expected."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from pipeline.errors import UsageError
from pipeline.formats.other_names import ELSEWHERE, RENAMED
from pipeline.formats.yaml_file import Key

M = TypeVar("M", bound=BaseModel)


def validated(kind: type[M], values: Any, where: Callable[[tuple[Key, ...]], str], whole: bool = True) -> M:
    """``values`` as a ``kind``. ``where``: maps the path of an invalid value to its place, e.g. file and line.

    ``whole`` False: ``values`` are incomplete, so rules that involve several keys are not checked. Raises UsageError.
    """
    try:
        return kind.model_validate({} if values is None else values)
    except ValidationError as error:
        found = [one for one in error.errors() if whole or one["type"] != "value_error"]
        if not found:
            return kind()
        first = min(found, key=lambda one: one["type"] != "extra_forbidden")  # an unknown key explains the others
        path, problem = ".".join(map(str, first["loc"])), _problem(kind, first)
        raise UsageError(": ".join(filter(None, (where(first["loc"]), path, problem)))) from None


def _problem(kind: type[BaseModel], error: ErrorDetails) -> str:
    match error["type"]:
        case "extra_forbidden":
            return _unknown_key(kind, error["loc"])
        case "missing":
            return "this key is required"
        case "model_type":
            group = _model_at(kind, error["loc"])
            return f"must be a group of keys ({', '.join(group.model_fields)}), not {error['input']!r}"
        case "value_error":  # raised by the model's validator; includes the value
            return error["msg"].removeprefix("Value error, ")
    value = "" if isinstance(error["input"], Mapping) else f", not {error['input']!r}"
    return _expected(error) + value


EXPECTED = {  # where the library's own words are those of a programmer
    "string_type": "must be text; quote it",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "set_type": "must be a list",
    "dict_type": "must be a group of keys",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a valid number",
    "float_parsing": "must be a valid number",
    "path_type": "must be a path",
    "none_required": "must be left out",
}


def _expected(error: ErrorDetails) -> str:
    kind, bounds = error["type"], error.get("ctx", {})
    if kind in EXPECTED:
        return EXPECTED[kind]
    if kind == "too_short":
        return f"must have at least {bounds['min_length']} entries"
    if kind == "too_long":
        return f"must have at most {bounds['max_length']} entries"
    return error["msg"].replace("Input should be", "must be").replace("Input should have", "must have")


def _unknown_key(kind: type[BaseModel], path: tuple[Key, ...]) -> str:
    """Explain an unknown key: renamed, another tool's name, or misspelled."""
    dotted, key = ".".join(part for part in path if isinstance(part, str)), str(path[-1])
    every, here = list(dotted_keys(kind)), list(_model_at(kind, path[:-1]).model_fields)
    renamed = [
        ".".join(map(str, (*path[:-1], new.split(".")[-1]))) if old == dotted else new  # the same place, with its index
        for old, new in RENAMED.items() if new in every and old in (dotted, f"{old.split('.')[0]}.{dotted}")
    ]  # fmt: skip
    if renamed:
        return f"unknown key; renamed to {' or '.join(renamed)}"
    if (same := ELSEWHERE.get(key.lower().replace("-", "_"))) is not None and same.key in every:
        return f"unknown key; {same}"
    near = [dotted.removesuffix(key) + name for name in difflib.get_close_matches(key, here, 1)]
    alike = difflib.get_close_matches(key, [name.split(".")[-1] for name in every], 1)  # in another group
    near += [name for name in every if name.split(".")[-1] in alike]
    return f"unknown key; did you mean {near[0]}?" if near else f"unknown key; expected one of {', '.join(here)}"


def dotted_keys(kind: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """Dotted keys of a model and of nested models; keys and indices of containers are left out (``links.start``)."""
    for name, field in kind.model_fields.items():
        yield f"{prefix}{name}"
        if (inner := model_in(field.annotation)) is not None:
            yield from dotted_keys(inner, f"{prefix}{name}.")


def _model_at(kind: type[BaseModel], path: tuple[Key, ...]) -> type[BaseModel]:
    """The innermost model along ``path``."""
    for part in path:
        if part in kind.model_fields:
            kind = model_in(kind.model_fields[str(part)].annotation) or kind
    return kind


def model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := model_in(part)) is not None), None)
