"""Open a detector by name, file or ultralytics model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Protocol

import numpy as np
from pydantic import BeforeValidator, Field

from detectors import catalogue
from detectors.detections import Detections
from detectors.heads import HeadName
from detectors.onnx import OnnxDetector
from detectors.runtime.errors import ModelError
from detectors.runtime.session import DEVICE_HELP, Device
from detectors.runtime.settings import Pixels, Settings, Share

WEIGHTS = Path(__file__).parent / "weights"


class Detector(Protocol):
    """Anything that maps a batch of (h, w, 3) uint8 BGR images to one ``Detections`` each, in source pixels."""

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]: ...


def several(value: Any) -> Any:
    """``person``, ``person, rider`` or ``0`` as a list."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return (value,) if isinstance(value, int) and not isinstance(value, bool) else value


class DetectorSettings(Settings):
    """The person detector. Other classes are ignored."""

    model: str = Field(
        default="person-s",
        title="Model",
        description="A shipped name (`person-s`, `person-n`), one that `passerby detector get` brought (`yolox-s`), an `.onnx` file, an OpenVINO IR "
        "(`.xml`, or its folder), or a model that ultralytics opens (`yolo11m.pt`).",
    )
    confidence: Share = Field(
        default=0.1,
        title="Confidence threshold",
        description="Minimum score of a detection. Keep it low: the tracker uses low scores to continue tracks. ultralytics: `conf`.",
    )
    iou: Share = Field(default=0.6, title="NMS IoU threshold", description="Suppress boxes that overlap a better one by more than this.")
    size: Pixels | None = Field(
        default=None,
        ge=32,
        title="Input size",
        description="Longest side of the model's input. Default: the model's own. ultralytics: `imgsz`.",
    )
    head: HeadName | None = Field(
        default=None,
        title="Output head",
        description="Format of the output of an `.onnx` or `.xml` file (docs/detector.md has a table). Default: recognised by shape and values.",
    )
    classes: Annotated[tuple[str | int, ...], Field(min_length=1), BeforeValidator(several)] | None = Field(
        default=None,
        title="Classes",
        description="Names or indices of the model's classes to detect. Default: all that mean a person (`person`, `pedestrian`, `human`, ...). Also of "
        "given boxes and tracks that state classes.",
    )
    device: Device = Field(default="auto", title="Device", description=DEVICE_HELP)
    threads: int = Field(default=0, ge=0, title="Threads", description="CPU threads. 0: one per core.")


def shipped() -> list[str]:
    """Names of the detectors that the package ships."""
    return sorted(path.stem for path in WEIGHTS.glob("*.onnx"))


def load_detector(model: str | None = None, settings: DetectorSettings | None = None) -> Detector:
    """Open a shipped or downloaded detector by name, an ``.onnx`` file, an OpenVINO IR (``.xml``, or a folder with one), or anything that
    ``ultralytics.YOLO`` opens.

    Raises ModelError if there is no such model or it is not a person detector.
    """
    settings = settings or DetectorSettings()
    model = model or settings.model
    if model in shipped():
        path = WEIGHTS / f"{model}.onnx"
    elif catalogue.known_name(model):
        path = catalogue.cached(model)
    elif model.endswith((".onnx", ".xml")):
        path = Path(model)
    elif len(irs := list(Path(model).glob("*.xml"))) == 1:
        path = irs[0]
    elif Path(model).suffix or Path(model).is_dir():
        from detectors.ultralytics_backend import UltralyticsDetector

        if settings.device == "openvino":
            raise ModelError(f"{model}: device 'openvino' runs .onnx and .xml files; use device 'auto' or 'cpu'")
        device = None if settings.device == "auto" else {"tensorrt": "cuda"}.get(settings.device, settings.device)
        if settings.head is not None:
            raise ModelError(f"{model}: detector.head is for .onnx and .xml files; ultralytics reads its own models")
        return UltralyticsDetector(model, settings.confidence, settings.iou, settings.size, device, settings.classes)
    else:
        raise ModelError(
            f"detector {model!r}: unknown; shipped are {', '.join(shipped()) or 'none'}; or get one by name "
            "(passerby detector get yolox-s), or give an .onnx or OpenVINO file (.xml) or a model for ultralytics (yolo11m.pt)"
        )
    return OnnxDetector(
        path, settings.confidence, settings.iou, settings.size, settings.device, settings.threads, settings.head, settings.classes
    )
