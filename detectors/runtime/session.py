"""Open models, and decide what runs them: ONNX Runtime or OpenVINO, by device, accuracy and speed."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from detectors.runtime import engine_choice, openvino_engine
from detectors.runtime.engine import Engine, Port
from detectors.runtime.engine_choice import Choice
from detectors.runtime.errors import ModelError
from detectors.runtime.onnxruntime_engine import GPU, OnnxRuntimeEngine

log = logging.getLogger(__name__)

Device = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]
DEVICE_HELP = (
    "Where the model runs. `auto`: CUDA if available, else the CPU, by OpenVINO if it is installed (`passerby[openvino]`) and wins a short "
    "warm-up. `cpu`: fp32 by ONNX Runtime. `openvino`: in bf16 where the CPU has it. OpenVINO IR files (`.xml`) always run by OpenVINO."
)
Agreement = Callable[[list[Any], list[Any]], "str | None"]


class Session:
    """An open model: its ``path``, file hash, ``metadata``, what runs it (``providers``), and the ``seconds`` spent in it so far.

    ``choice``: the warm-up that chose between two engines, or None if there was none.
    """

    def __init__(
        self, path: Path, engine: Engine, metadata: dict[str, str], device: Device = "cpu", threads: int = 0, any_batch: bool = False
    ) -> None:
        self.path, self.engine, self.metadata = path, engine, metadata
        self.device, self.threads, self.any_batch = device, threads, any_batch
        self.sha256 = sha256(*files_of(path))
        self.choice: Choice | None = None
        self.seconds = 0.0

    @property
    def providers(self) -> tuple[str, ...]:
        return self.engine.providers

    @property
    def inputs(self) -> tuple[Port, ...]:
        return self.engine.inputs

    @property
    def outputs(self) -> tuple[Port, ...]:
        return self.engine.outputs

    @property
    def input_shape(self) -> list[Any]:
        return list(self.inputs[0].shape)

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(port.name for port in self.outputs)

    def run(self, batch: Any, *others: Any) -> list[Any]:
        """All outputs for a ``batch`` as first input, and the ``others`` as the inputs after it."""
        began = time.perf_counter()
        out = self.engine.run((batch, *others))
        self.seconds += time.perf_counter() - began
        return out

    def accelerate(self, agree: Agreement, batch: Any, *others: Any) -> None:
        """Hand the model to OpenVINO where the device asks for it, or, for ``auto``, where that is faster.

        ``batch``, ``others``: inputs as the model will get them. ``agree(expected, found)`` compares the outputs with those in fp32, and says
        what differs too much, or None: then bf16 is not used, and an engine that differs in fp32 too is not used at all. Raises ModelError if
        ``openvino`` is asked for by name and cannot run the model.
        """
        feeds = (batch, *others)
        is_ir = self.path.suffix == ".xml"
        if self.device not in ("auto", "openvino") or not openvino_engine.installed() or "CUDAExecutionProvider" in self.providers:
            return
        kept = engine_choice.remembered(self.sha256, feeds, self.threads) if self.device == "auto" else None
        if kept is not None and kept.engine == self.providers[0]:
            self.choice = kept
            return
        expected = self.engine.run(feeds)
        candidate, refused = self._candidate(agree, expected, feeds, skip_fp32=is_ir)
        if candidate is None:
            if self.device == "openvino" and not is_ir:
                raise ModelError(f"{self.path}: device 'openvino' cannot run it: {refused}; use device 'cpu'")
            if refused:
                log.info("%s: not run by OpenVINO: %s", self.path.name, refused)
            return
        if self.device == "openvino" or (kept is not None and kept.engine == candidate.providers[0]):
            self.engine, self.choice = candidate, kept
            return
        self.choice = engine_choice.compared(self.engine, candidate, feeds)
        if self.choice.engine == candidate.providers[0]:
            self.engine = candidate
        log.info("%s: %s", self.path.name, self.choice)
        engine_choice.remember(self.choice, self.sha256, feeds, self.threads)

    def _candidate(
        self, agree: Agreement, expected: list[Any], feeds: Sequence[np.ndarray], skip_fp32: bool
    ) -> tuple[Engine | None, str | None]:
        """OpenVINO in the best precision whose outputs agree, or None and why; ``skip_fp32``: that engine runs already."""
        refused = None
        for precision in dict.fromkeys((openvino_engine.best_precision(), "fp32")):
            if precision == "fp32" and skip_fp32:
                continue
            try:
                candidate = openvino_engine.OpenVinoEngine(self.path, precision, self.threads, self.any_batch)
                differs = agree(expected, candidate.run(feeds))
            except (ModelError, RuntimeError) as error:
                differs = str(error).splitlines()[0][:200]
            if differs is None:
                return candidate, None
            refused = refused or f"in {precision} {differs}"
        return None, refused


def files_of(path: Path) -> tuple[Path, ...]:
    """The file of a model, and of an OpenVINO IR also its weights."""
    return (path, openvino_engine.weights_of(path)) if path.suffix == ".xml" else (path,)


def sha256(*paths: Path) -> str:
    """Hex SHA-256 of a file, or of several one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def open_model(path: Path, device: Device = "auto", threads: int = 0, any_batch: bool = False) -> Session:
    """Open an ONNX file, or an OpenVINO IR (``.xml``), with ``threads`` threads (0: one per core). ``any_batch``: an IR takes batches of any size,
    whatever its file says.

    It runs in fp32 until ``Session.accelerate`` finds something better. Raises ModelError for a missing file, a file that is no model, or a
    device that is not available.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    if path.suffix == ".xml":
        if device in GPU:
            raise ModelError(f"{path}: device {device!r} does not run OpenVINO files; use device 'auto' or 'openvino'")
        ir = openvino_engine.OpenVinoEngine(path, "fp32", threads, any_batch)
        return Session(path, ir, ir.metadata, device, threads, any_batch)
    if device == "openvino" and not openvino_engine.installed():
        raise ModelError(f"{path}: device 'openvino' is not available: pip install 'passerby[openvino]'; or use device 'auto' or 'cpu'")
    onnx = OnnxRuntimeEngine(path, device, threads)
    return Session(path, onnx, onnx.metadata, device, threads)
