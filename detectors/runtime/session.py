"""Open ONNX models: execution providers, threads, readable errors."""

from __future__ import annotations

import ctypes
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnxruntime

from detectors.runtime.errors import ModelError

Device = Literal["auto", "cpu", "cuda", "tensorrt"]


@dataclass
class Session:
    """An open model with its ``metadata``, execution ``providers``, file hash, and the ``seconds`` spent in it so far."""

    path: Path
    session: onnxruntime.InferenceSession
    metadata: dict[str, str]
    providers: tuple[str, ...]
    sha256: str
    seconds: float = 0.0

    @property
    def input_shape(self) -> list[Any]:
        return self.session.get_inputs()[0].shape

    @property
    def output_names(self) -> tuple[str, ...]:
        return tuple(output.name for output in self.session.get_outputs())

    def run(self, batch: Any, *others: Any) -> list[Any]:
        """All outputs for a ``batch`` as first input, and the ``others`` as the inputs after it."""
        began = time.perf_counter()
        names = [entry.name for entry in self.session.get_inputs()]
        out = self.session.run(None, dict(zip(names, (batch, *others), strict=False)))
        self.seconds += time.perf_counter() - began
        return out


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cuda_driver() -> bool:
    """Whether NVIDIA's driver library loads. Without it the CUDA providers fail with noisy logs, so they are not tried."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def providers_for(device: Device) -> list[str]:
    """Execution providers to request, best first, the CPU last.

    Raises ModelError if a GPU is requested by name and this onnxruntime or machine has none.
    """
    available = onnxruntime.get_available_providers()
    gpu = {"cuda": ["CUDAExecutionProvider"], "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider"]}
    if device == "cpu":
        return ["CPUExecutionProvider"]
    if device == "auto":
        wanted = gpu["cuda"] if cuda_driver() else []
        return [name for name in wanted if name in available] + ["CPUExecutionProvider"]
    missing = [name for name in gpu[device] if name not in available]
    if missing or not cuda_driver():
        why = f"this onnxruntime lacks {missing[0]}" if missing else "NVIDIA's driver (libcuda.so.1) does not load"
        raise ModelError(f"device {device!r} is not available: {why}; use device 'auto' or 'cpu'")
    return [*gpu[device], "CPUExecutionProvider"]


def open_model(path: Path, device: Device = "auto", threads: int = 0) -> Session:
    """Open an ONNX file with ``threads`` intra-op threads (0: one per core).

    Raises ModelError for a missing file, a file that is not an ONNX model, or a device that is not available.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads yield their core
    options.add_session_config_entry("session.dynamic_block_base", "4")  # smaller blocks: video decoding and encoding share the cores
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers_for(device))
    except ModelError:
        raise
    except Exception as error:  # onnxruntime raises many untyped pybind exceptions
        raise ModelError(f"{path}: onnxruntime cannot load it ({str(error).splitlines()[0][:200]})") from None
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    return Session(path, session, metadata, tuple(session.get_providers()), sha256(path))
