"""The warm-up that chooses the faster of two engines for a model, and the memory of its result."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import platform
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from detectors.runtime.engine import Engine

log = logging.getLogger(__name__)

SECONDS = 2.0  # longest warm-up
LEAST_ROUNDS = 5  # of each engine
CLEAR = 1.5  # ratio of the medians at which the least number of rounds is enough
WIN = 0.9  # what the challenger's median may be of the incumbent's to win: a close race is decided for fp32


@dataclass(frozen=True)
class Choice:
    """The engine chosen, median ms per batch of each engine, and whether this was measured now or remembered."""

    engine: str
    batch_ms: dict[str, float]
    remembered: bool = False

    def __str__(self) -> str:
        told = ", ".join(f"{name} {ms:.1f} ms" for name, ms in self.batch_ms.items())
        return f"runs on {self.engine} ({told} a batch{', as measured before' if self.remembered else ''})"


def compared(incumbent: Engine, challenger: Engine, feeds: Sequence[np.ndarray]) -> Choice:
    """Run both engines in turns, so that a slow moment affects both, and choose by the medians."""
    took: list[list[float]] = [[], []]
    for engine in (incumbent, challenger):
        engine.run(feeds)  # the first run allocates
    end = time.perf_counter() + SECONDS
    while len(took[0]) < LEAST_ROUNDS or time.perf_counter() < end:
        for engine, times in zip((incumbent, challenger), took, strict=True):
            began = time.perf_counter()
            engine.run(feeds)
            times.append(time.perf_counter() - began)
        ratio = median(took[1]) / median(took[0])
        if len(took[0]) >= LEAST_ROUNDS and max(ratio, 1 / ratio) >= CLEAR:
            break
    ms = {engine.providers[0]: round(1000 * median(times), 3) for engine, times in zip((incumbent, challenger), took, strict=True)}
    return Choice((challenger if median(took[1]) < WIN * median(took[0]) else incumbent).providers[0], ms)


def memory() -> Path:
    """The file that remembers the choices, in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "passerby/engines.json"


@cache
def machine() -> str:
    """What the speed of an engine depends on beside the model: CPU, cores, and versions of the engines."""
    versions = []
    for package in ("openvino", "onnxruntime", "onnxruntime-gpu"):
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    cpu = platform.processor() or platform.machine()
    try:  # Linux: the name that the kernel gives
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        cpu = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), cpu)
    except OSError:
        pass
    return "; ".join([platform.system(), cpu, f"{os.cpu_count()} cores", *versions])


def key(sha256: str, feeds: Sequence[np.ndarray], threads: int) -> str:
    told = [machine(), sha256, str(threads), *(f"{feed.dtype}{feed.shape}" for feed in feeds)]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()[:32]


def remembered(sha256: str, feeds: Sequence[np.ndarray], threads: int) -> Choice | None:
    """The choice for a model, its inputs and threads on this machine, or None."""
    entry = read().get(key(sha256, feeds, threads))
    try:
        return None if entry is None else replace(Choice(**entry), remembered=True)
    except TypeError:
        return None


def remember(choice: Choice, sha256: str, feeds: Sequence[np.ndarray], threads: int) -> None:
    """Keep a choice. A cache that cannot be written is no error: the next start measures again."""
    path = memory()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        draft.write_text(json.dumps(read() | {key(sha256, feeds, threads): asdict(choice)}, indent=1), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        log.info("%s: cannot be written (%s): the next start measures again", path, error.strerror)


def read() -> dict[str, Any]:
    try:
        kept = json.loads(memory().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return kept if isinstance(kept, dict) else {}
