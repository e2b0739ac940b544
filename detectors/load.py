"""Open a detector by name, file or ultralytics model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from detectors.detections import Detections
from detectors.onnx import OnnxDetector
from detectors.runtime.errors import ModelError
from detectors.runtime.session import Device

WEIGHTS = Path(__file__).parent / "weights"


class Detector(Protocol):
    """Anything that maps a batch of (h, w, 3) uint8 BGR images to one ``Detections`` each, in source pixels."""

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]: ...


@dataclass(frozen=True)
class DetectorSettings:
    """Which detector, and what it keeps: the home of the defaults.

    ``model``: a shipped name (``person-s``), an ``.onnx`` file, or anything ``ultralytics.YOLO`` opens. ``confidence``: the
    lowest score kept (the tracker uses low scores too). ``iou``: boxes that overlap more are one. ``size``: the longest side
    of the model's input in pixels, None for the model's own.
    """

    model: str = "person-s"
    confidence: float = 0.1
    iou: float = 0.6
    size: int | None = None
    device: Device = "auto"
    threads: int = 0

    def __post_init__(self) -> None:
        for name in ("confidence", "iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)}")
        if self.size is not None and self.size < 32:
            raise ValueError(f"size must be at least 32 pixels, is {self.size}")


def shipped() -> list[str]:
    """Names of the detectors that the package ships."""
    return sorted(path.stem for path in WEIGHTS.glob("*.onnx"))


def load_detector(model: str | None = None, settings: DetectorSettings | None = None) -> Detector:
    """Open a shipped detector by name, an ``.onnx`` file, or anything that ``ultralytics.YOLO`` opens.

    Raises ModelError if there is no such model or it is not a person detector.
    """
    settings = settings or DetectorSettings()
    model = model or settings.model
    if model in shipped():
        path = WEIGHTS / f"{model}.onnx"
    elif model.endswith(".onnx"):
        path = Path(model)
    elif Path(model).suffix or Path(model).is_dir():
        from detectors.ultralytics_backend import UltralyticsDetector

        device = None if settings.device == "auto" else {"tensorrt": "cuda"}.get(settings.device, settings.device)
        return UltralyticsDetector(model, settings.confidence, settings.iou, settings.size, device=device)
    else:
        raise ModelError(
            f"detector {model!r}: unknown; shipped are {', '.join(shipped()) or 'none'}; or give an .onnx file or a model for ultralytics (yolo11m.pt)"
        )
    return OnnxDetector(path, settings.confidence, settings.iou, settings.size, device=settings.device, threads=settings.threads)
