"""The on-line linker's state on disk, so that identities survive a restart and a crash."""

from __future__ import annotations

import io
import logging
import pickle
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pipeline.formats.shred import rewritten, shred
from tracker import Linker
from tracker.linking.updates import Key

log = logging.getLogger(__name__)
FORMAT = 2
SAFE = {
    "builtins": {"set", "frozenset"},
    "collections": {"defaultdict", "deque", "OrderedDict"},
    "numpy": {"dtype", "ndarray"},
    "numpy._core.multiarray": {"_reconstruct", "scalar"},
    "numpy.core.multiarray": {"_reconstruct", "scalar"},
    "numpy._core.numeric": {"_frombuffer"},
}


def parts_of_now(linker: Linker) -> dict[str, Any]:
    """What a restored linker takes from the running configuration, not from the file."""
    return {"site": linker.site, "settings": linker.settings, "association": linker.association}


class _Writer(pickle.Pickler):
    def __init__(self, file: Any, parts: dict[str, Any]) -> None:
        super().__init__(file, protocol=4)
        self._names = {id(part): name for name, part in parts.items()}

    def persistent_id(self, value: Any) -> str | None:
        return self._names.get(id(value))


class _Reader(pickle.Unpickler):
    """Takes arrays, containers and the tracker's own classes, and nothing else: a state file cannot run code."""

    def __init__(self, file: Any, parts: dict[str, Any]) -> None:
        super().__init__(file)
        self._parts = parts

    def find_class(self, module: str, name: str) -> Any:
        if name in SAFE.get(module, ()):
            return super().find_class(module, name)
        if module.split(".")[0] == "tracker" and "." not in name:
            found = super().find_class(module, name)
            if isinstance(found, type) and found.__module__.split(".")[0] == "tracker":
                return found
        raise pickle.UnpicklingError(f"{module}.{name} is not part of a linker's state")

    def persistent_load(self, name: str) -> Any:
        return self._parts[name]


def save(path: Path, linker: Linker, model: str, more: dict[str, Any] | None = None) -> None:
    """Write ``linker`` to ``path``, whole or not at all. ``model``: SHA-256 of the re-ID model; ``more``: plain containers. Raises OSError."""
    content = io.BytesIO()
    _Writer(content, parts_of_now(linker)).dump((FORMAT, model, linker, *(() if more is None else (more,))))
    scratch = path.with_suffix(".new")
    scratch.write_bytes(content.getvalue())
    scratch.replace(path)


def forget(path: Path, keys: Iterable[Key], now: float) -> str | None:
    """Erase tracklets from the state at ``path``; one that cannot be read is deleted, and said. Raises OSError."""
    if not path.is_file():
        return None
    new = Linker()
    try:
        with path.open("rb") as file:
            version, model, linker = _Reader(file, parts_of_now(new)).load()
        if version != FORMAT or not isinstance(linker, Linker):
            raise ValueError("of another version")
        linker.forget(keys, now)
    except Exception as error:  # pickle raises whatever a damaged file leads it to
        shred(path)
        return f"{path}: cannot be read ({error}) and is deleted; identities start anew"
    with rewritten(path) as scratch:
        save(scratch, linker, model)
    return None


def restored(path: Path, new: Linker, model: str) -> Linker:
    """The linker that was saved at ``path``, with the site and the settings of ``new``.

    ``new`` itself where there is none, and, with a warning, where it is of another re-ID model or version, or damaged.
    """
    return restored_with(path, new, model)[0]


def restored_with(path: Path, new: Linker, model: str) -> tuple[Linker, dict[str, Any]]:
    """As ``restored``, with the ``more`` that was saved beside it; empty where there is none."""
    if not path.is_file():
        return new, {}
    try:
        with path.open("rb") as file:
            version, other, linker, *more = _Reader(file, parts_of_now(new)).load()
    except Exception as error:  # pickle raises whatever a damaged file leads it to
        log.warning("%s: cannot be read (%s); identities start anew", path, error)
        return new, {}
    if version != FORMAT or other != model or not isinstance(linker, Linker):
        log.warning("%s: of another version or re-ID model; identities start anew", path)
        return new, {}
    return linker, more[0] if more else {}
