"""``passerby doctor``: check the installation, and suggest a fix for what fails."""

from __future__ import annotations

import importlib.util
import os
import platform
from importlib import metadata
from typing import NamedTuple

import numpy as np

from detectors.runtime.errors import ModelError
from detectors.runtime.onnxruntime_engine import cuda_driver


class Check(NamedTuple):
    """The result of one check. ``good``: True, False, or None for something optional that is missing."""

    name: str
    found: str
    good: bool | None
    hint: str | None = None


RUN_TIME = ("numpy", "opencv-python", "av", "scipy", "pyarrow", "pydantic", "supervision", "trackeval")
TRAINING = ("torch", "torchvision", "ultralytics", "timm", "onnx")


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def examine() -> list[Check]:
    """All checks, in the order to display them."""
    checks = [Check("python", f"{platform.python_version()} on {platform.system()} {platform.machine()}, {os.cpu_count()} cores", True)]
    for package in RUN_TIME:
        found = _version(package)
        checks.append(Check(package, found or "missing", found is not None, None if found else "pip install passerby"))
    for package in TRAINING:
        found = _version(package)
        checks.append(
            Check(
                package,
                found or "not installed",
                True if found else None,
                None if found else "only for training: pip install 'passerby[train]'",
            )
        )
    return [*checks, *_providers(), _encoder(), *_models()]


def _providers() -> list[Check]:
    if importlib.util.find_spec("onnxruntime") is None:
        return [Check("onnxruntime", "missing", False, "pip install onnxruntime (or onnxruntime-gpu)")]
    import onnxruntime

    available = onnxruntime.get_available_providers()
    both = _version("onnxruntime") and _version("onnxruntime-gpu")
    hint = "onnxruntime and onnxruntime-gpu overwrite each other: uninstall both, then install one" if both else None
    checks = [Check("onnxruntime", f"{onnxruntime.__version__}, built with {', '.join(available)}", not both, hint)]
    found = _version("openvino")
    checks.append(
        Check(
            "openvino",
            found or "not installed",
            True if found else None,
            None if found else "only for OpenVINO files, and faster on many CPUs: pip install 'passerby[openvino]'",
        )
    )
    driver = cuda_driver()
    built = "CUDAExecutionProvider" in available
    if not driver:
        checks.append(Check("cuda", "no NVIDIA driver (libcuda.so.1): models run on the CPU", None))
    else:
        checks.append(
            Check(
                "cuda",
                "driver found" + ("" if built else ", but this onnxruntime has no CUDA"),
                built,
                None if built else "pip install onnxruntime-gpu",
            )
        )
    return checks


def _encoder() -> Check:
    import av

    if "libx264" in av.codecs_available or "libopenh264" in av.codecs_available:
        return Check("h.264 encoder", "in PyAV's FFmpeg", True)
    return Check(
        "h.264 encoder",
        "missing: videos are MPEG-4, which browsers do not play",
        None,
        "install PyAV from its wheel: pip install --force-reinstall av",
    )


def _models() -> list[Check]:
    from detectors.load import load_detector
    from detectors.load import shipped as shipped_detectors
    from reid import Embedder
    from reid.shipped import shipped as shipped_bundles

    checks = []
    for name in shipped_detectors():
        try:
            detector = load_detector(name)
            detector.detect([np.zeros((96, 128, 3), np.uint8)])
            checks.append(Check(f"detector {name}", f"loads and runs on {detector.session.providers[0]}", True))  # type: ignore[attr-defined]
        except ModelError as error:
            checks.append(Check(f"detector {name}", str(error), False, "reinstall passerby: its file is damaged"))
    for name in shipped_bundles():
        try:
            embedder = Embedder(name)
            embedder.embed([np.zeros((64, 32, 3), np.uint8)])
            checks.append(Check(f"re-ID {name}", f"loads and runs on {embedder.session.providers[0]}", True))
        except ModelError as error:
            checks.append(Check(f"re-ID {name}", str(error), False, "reinstall passerby: its file is damaged"))
    if not checks:
        checks.append(Check("models", "none shipped in this installation", False, "reinstall passerby"))
    return checks
