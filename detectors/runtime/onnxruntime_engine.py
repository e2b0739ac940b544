"""ONNX files run by ONNX Runtime, on the CPU or a GPU of NVIDIA."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from detectors.runtime.engine import Port
from detectors.runtime.errors import ModelError

KINDS: dict[str, Any] = {
    "tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64, "tensor(uint8)": np.uint8,
    "tensor(int64)": np.int64, "tensor(int32)": np.int32,
}  # fmt: skip
GPU = {"cuda": ["CUDAExecutionProvider"], "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider"]}


def cuda_driver() -> bool:
    """Whether NVIDIA's driver library loads. Without it the CUDA providers fail with noisy logs, so they are not tried."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def providers_for(device: str) -> list[str]:
    """Execution providers to request for ``auto``, ``cpu``, ``cuda`` or ``tensorrt``, best first, the CPU last.

    Raises ModelError if a GPU is requested by name and this onnxruntime or machine has none.
    """
    available = onnxruntime.get_available_providers()
    if device == "auto":
        wanted = GPU["cuda"] if cuda_driver() else []
        return [name for name in wanted if name in available] + ["CPUExecutionProvider"]
    if device not in GPU:
        return ["CPUExecutionProvider"]
    missing = [name for name in GPU[device] if name not in available]
    if missing or not cuda_driver():
        why = f"this onnxruntime lacks {missing[0]}" if missing else "NVIDIA's driver (libcuda.so.1) does not load"
        raise ModelError(f"device {device!r} is not available: {why}; use device 'auto' or 'cpu'")
    return [*GPU[device], "CPUExecutionProvider"]


class OnnxRuntimeEngine:
    """An ONNX file with ``threads`` intra-op threads (0: one per core), and its ``metadata``.

    Raises ModelError for a file that is not an ONNX model, or a device that is not available.
    """

    def __init__(self, path: Path, device: str = "cpu", threads: int = 0) -> None:
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = threads
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads yield their core
        options.add_session_config_entry("session.dynamic_block_base", "4")  # smaller blocks: video decoding and encoding share the cores
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers_for(device))
        except ModelError:
            raise
        except Exception as error:  # onnxruntime raises many untyped pybind exceptions
            raise ModelError(f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0][:200]})") from None
        self.inputs, self.outputs = ports(self._session.get_inputs()), ports(self._session.get_outputs())
        self.providers = tuple(self._session.get_providers())
        self.metadata = dict(self._session.get_modelmeta().custom_metadata_map)
        self._names = [port.name for port in self.inputs]

    def run(self, feeds: Sequence[np.ndarray]) -> list[Any]:
        """All outputs for one array per input."""
        return self._session.run(None, dict(zip(self._names, feeds, strict=False)))


def ports(entries: Sequence[Any]) -> tuple[Port, ...]:
    return tuple(Port(entry.name, tuple(entry.shape), entry.type, KINDS.get(entry.type)) for entry in entries)
