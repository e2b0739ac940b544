"""Detectors run by ultralytics: ``.pt``, ``.engine``, an OpenVINO folder, or a name that it downloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detectors.detections import MAX_DETECTIONS, Detections
from detectors.first_frames import FirstFrames
from detectors.letterbox import as_bgr
from detectors.person_class import person_classes
from detectors.runtime.errors import ModelError


def open_ultralytics(model: str, task: str | None = None) -> Any:
    """Load ``ultralytics.YOLO(model)``. Raises ModelError if ultralytics is not installed or cannot open it."""
    try:
        from ultralytics import YOLO
    except ImportError:
        raise ModelError(f"{model}: needs ultralytics: pip install 'passerby[train]'") from None
    try:
        opened = YOLO(model, task=task)
        _ = opened.names  # some formats load only here
    except Exception as error:  # ultralytics raises many types
        raise ModelError(f"{model}: ultralytics cannot open it ({str(error).splitlines()[0][:200]})") from None
    return opened


class UltralyticsDetector:
    """A detector run by ultralytics. A ``.pt`` file is a pickle: opening one executes the code in it.

    ``confidence``: least score; ``iou``: NMS threshold; ``size``: longest side of the input in pixels, None: the model's own; ``classes``:
    names or indices of those to detect, None: all that mean a person. Raises ModelError as ``open_ultralytics`` does, and if it has no
    such class.
    """

    def __init__(
        self,
        model: str,
        confidence: float,
        iou: float,
        size: int | None = None,
        device: str | None = None,
        classes: Sequence[str | int] | None = None,
    ) -> None:
        self.model = open_ultralytics(model, "detect")
        people = list(person_classes(self.model.names, model, classes))
        self.options = {"conf": confidence, "iou": iou, "max_det": MAX_DETECTIONS, "classes": people, "device": device, "verbose": False}
        if len(people) > 1:
            self.options["agnostic_nms"] = True  # one person in two classes is one box
        self.first = FirstFrames(str(model), "If there are people in them, see detector.classes")
        if size:
            self.options["imgsz"] = size

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """(h, w, 3) uint8 BGR images -> one ``Detections`` each, in source pixels."""
        if not len(images):
            return []
        results = self.model.predict([as_bgr(image) for image in images], **self.options)
        found = [Detections(r.boxes.xyxy.cpu().numpy(), r.boxes.conf.cpu().numpy().clip(0, 1)) for r in results]
        for image, one in zip(images, found, strict=True):
            self.first.add(image.shape[0], image.shape[1], one.boxes, one.scores)
        return found
