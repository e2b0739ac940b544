"""Reader of all YAML files: configuration, site file, recipes. It keeps line numbers and rejects duplicate keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from pipeline.errors import UsageError

Key = str | int  # key of a mapping or index of a sequence


@dataclass(frozen=True)
class YamlFile:
    """A YAML file: its ``values`` (None if it is empty), and their line numbers."""

    path: Path
    values: Any
    root: yaml.Node | None

    def where(self, keys: tuple[Key, ...]) -> str:
        """``FILE, line N`` of the value at ``keys``, or of the deepest part of that path that exists."""
        node = line = self.root
        for key in keys:
            if isinstance(node, yaml.MappingNode):
                found = [pair for pair in node.value if pair[0].value == str(key)]
                if not found:
                    break
                line, node = found[-1]  # keys merged by << come first
            elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
                line = node = node.value[key]
            else:
                break
        return str(self.path) if line is None else f"{self.path}, line {line.start_mark.line + 1}"


def read_yaml(path: Path, kind: str) -> YamlFile:
    """Read one document. Raises UsageError with file and line if it is missing or invalid. ``kind``: for messages, e.g. "site file"."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such {kind}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not readable ({error})") from None
    try:
        loader = yaml.SafeLoader(text)
        root = loader.get_single_node()
        for mapping in _mappings(root):
            _reject_duplicates(path, mapping)
        return YamlFile(path, None if root is None else loader.construct_document(root), root)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        line = f", line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{line}: not valid YAML ({getattr(error, 'problem', None) or error})") from None
    except (ValueError, RecursionError) as error:  # an impossible date; thousands of nested brackets
        raise UsageError(f"{path}: not valid YAML ({error})") from None


def _mappings(root: yaml.Node | None) -> Iterator[yaml.MappingNode]:
    """Every mapping once, even if several aliases refer to it."""
    seen: set[int] = set()
    todo = [] if root is None else [root]
    while todo:
        node = todo.pop()
        if id(node) in seen or not isinstance(node, yaml.CollectionNode):
            continue
        seen.add(id(node))
        if isinstance(node, yaml.MappingNode):
            yield node
            todo += [part for pair in node.value for part in pair]
        else:
            todo += node.value


def _reject_duplicates(path: Path, mapping: yaml.MappingNode) -> None:
    first: dict[tuple[str, str], yaml.Node] = {}
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode) and (before := first.setdefault((key.tag, key.value), key)) is not key:
            line, other = (node.start_mark.line + 1 for node in (key, before))
            raise UsageError(f"{path}, line {line}: duplicate key {key.value!r}, first on line {other}; remove one of them")
