"""How an ONNX model is opened: execution providers, threads, and errors a person can read."""

from __future__ import annotations

import ctypes
import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import onnxruntime

Device = Literal["auto", "cpu", "cuda", "tensorrt"]


class ModelError(ValueError):
    """A model file that is missing, is no model, or whose inputs, outputs or metadata do not fit."""


@dataclass
class Session:
    """An open model: its ``metadata``, where it runs, and the ``seconds`` spent in it so far."""

    path: Path
    session: onnxruntime.InferenceSession
    metadata: dict[str, str]
    providers: tuple[str, ...]
    sha256: str
    seconds: float = 0.0

    @property
    def input_shape(self) -> list[Any]:
        return self.session.get_inputs()[0].shape

    def run(self, batch: Any) -> list[Any]:
        began = time.perf_counter()
        out = self.session.run(None, {self.session.get_inputs()[0].name: batch})
        self.seconds += time.perf_counter() - began
        return out


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def cuda_driver() -> bool:
    """Whether NVIDIA's driver library loads; without it the CUDA providers can only fail, noisily."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


def providers_for(device: Device) -> list[str]:
    """Execution providers to ask for, best first; CPU always closes the list.

    Raises ModelError where a GPU is asked for by name and this onnxruntime or machine has none.
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
        raise ModelError(f"device {device!r} is not to be had: {why}; use device 'auto' or 'cpu'")
    return [*gpu[device], "CPUExecutionProvider"]


def open_model(path: Path, device: Device = "auto", threads: int = 0) -> Session:
    """Open an ONNX file with ``threads`` intra-op threads (0: one a core).

    Raises ModelError for a missing file, a file that is no ONNX model, or a device that is not there.
    """
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # waiting threads leave their core to the others
    options.add_session_config_entry("session.dynamic_block_base", "4")  # decoding and encoding take turns on the same cores
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers_for(device))
    except ModelError:
        raise
    except Exception as error:  # onnxruntime raises bare pybind exceptions of many kinds
        raise ModelError(f"{path}: not a model that onnxruntime can load ({str(error).splitlines()[0][:200]})") from None
    metadata = dict(session.get_modelmeta().custom_metadata_map)
    return Session(path, session, metadata, tuple(session.get_providers()), sha256(path))
