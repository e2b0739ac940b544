"""ONNX files and OpenVINO IRs (``.xml`` with ``.bin``) run by OpenVINO on the CPU. Needs the extra ``[openvino]``."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml

from detectors.runtime.engine import Port
from detectors.runtime.errors import ModelError

Precision = Literal["fp32", "bf16"]
HINTS = {"fp32": "f32", "bf16": "bf16"}
KINDS: dict[str, Any] = {
    "f32": np.float32, "f16": np.float16, "f64": np.float64, "u8": np.uint8, "i64": np.int64, "i32": np.int32,
}  # fmt: skip


def installed() -> bool:
    """Whether the package openvino is."""
    try:
        return importlib.util.find_spec("openvino") is not None
    except ValueError:  # a module without a spec, as a test may put in its place
        return False


def best_precision() -> Precision:
    """``bf16`` if the CPU computes in it, else ``fp32``."""
    import openvino

    return "bf16" if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "fp32"


def weights_of(path: Path) -> Path:
    """The file with the weights: of an IR, the ``.bin`` beside it. Raises ModelError if a file is missing."""
    weights = path.with_suffix(".bin") if path.suffix == ".xml" else path
    for file in (path, weights):
        if not file.is_file():
            raise ModelError(f"{file}: no such model file")
    return weights


class OpenVinoEngine:
    """A model compiled for the CPU with ``threads`` threads (0: one per core); ``any_batch``: for batches of any size, whatever its file says.

    ``metadata``: of an IR, the exporter's ``metadata.yaml`` beside it and the model's own information; of an ONNX file, none. Raises ModelError
    if openvino is not installed or cannot load it.
    """

    def __init__(self, path: Path, precision: Precision = "fp32", threads: int = 0, any_batch: bool = False) -> None:
        if not installed():
            raise ModelError(f"{path}: needs OpenVINO: pip install 'passerby[openvino]'")
        import openvino

        weights_of(path)
        # threads are not tied to cores: decoding, encoding and other processes share them
        options: dict[str, Any] = {"INFERENCE_PRECISION_HINT": HINTS[precision], "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False}
        options["INFERENCE_NUM_THREADS"] = threads or (os.cpu_count() or 1)
        try:
            core = openvino.Core()
            model = core.read_model(path)
            if any_batch:
                model.reshape({port.get_any_name(): [-1, *list(port.get_partial_shape())[1:]] for port in model.inputs})
            compiled = core.compile_model(model, "CPU", options)
            self._request = compiled.create_infer_request()
        except RuntimeError as error:
            raise ModelError(f"{path}: OpenVINO cannot load it ({first_line(error)})") from None
        self.inputs, self.outputs = ports(model.inputs), ports(model.outputs)
        self.providers: tuple[str, ...] = (f"OpenVINO CPU {precision}",)
        self.metadata = information(path, model) if path.suffix == ".xml" else {}

    def run(self, feeds: Sequence[np.ndarray]) -> list[Any]:
        """All outputs for one array per input."""
        results = self._request.infer(list(feeds), share_inputs=True)
        return [np.array(results[at]) for at in range(len(self.outputs))]


def first_line(error: Exception) -> str:
    """The line of OpenVINO's message that says most: the last that is not a place in its source."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    told = [line for line in lines if not line.startswith(("Exception from", "Check '"))]
    return (told or lines or ["no reason given"])[-1][:200]


def ports(entries: Sequence[Any]) -> tuple[Port, ...]:
    found = []
    for entry in entries:
        name = next(iter(sorted(entry.get_names())), entry.get_node().get_friendly_name())
        shape = entry.get_partial_shape()
        sides = tuple(side.get_length() if side.is_static else None for side in shape) if shape.rank.is_static else ()
        kind = entry.get_element_type().get_type_name()
        found.append(Port(name, sides, kind, KINDS.get(kind)))
    return tuple(found)


def information(path: Path, model: Any) -> dict[str, str]:
    """What the exporters of an IR say of it, under the keys of their ONNX files: ``names``, ``imgsz``, ``stride``, ``task``.

    From ``metadata.yaml`` (ultralytics), and from the section ``model_info`` of the file, whose ``labels`` stand between blanks.
    """
    found: dict[str, str] = {}
    try:
        labels = str(model.get_rt_info(["model_info", "labels"]).astype(str))
        found["names"] = str([label.replace("_", " ") for label in labels.split()])
    except RuntimeError:
        pass  # says nothing
    beside = path.with_name("metadata.yaml")
    if beside.is_file():
        try:
            said = yaml.safe_load(beside.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ModelError(f"{beside}: cannot be read ({str(error).splitlines()[0]})") from None
        if isinstance(said, Mapping):
            found |= {str(key): str(value) for key, value in said.items()}
    return found
