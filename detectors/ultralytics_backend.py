"""Whatever ``ultralytics.YOLO(...)`` opens: ``.pt``, ``.engine``, an OpenVINO folder, a name that it downloads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detectors.detections import Detections
from detectors.letterbox import as_bgr
from detectors.runtime.session import ModelError


def open_ultralytics(model: str, task: str | None = None) -> Any:
    """``ultralytics.YOLO(model)``, loaded. Raises ModelError where ultralytics is missing or cannot open it."""
    try:
        from ultralytics import YOLO
    except ImportError:
        raise ModelError(f"{model}: opening this needs ultralytics: pip install 'passerby[train]'") from None
    try:
        opened = YOLO(model, task=task)
        _ = opened.names  # some formats are loaded no sooner
    except Exception as error:  # ultralytics raises many kinds
        raise ModelError(f"{model}: ultralytics cannot open it ({str(error).splitlines()[0][:200]})") from None
    return opened


class UltralyticsDetector:
    """A detector that ultralytics runs. A ``.pt`` file is a pickle: opening one runs what its maker put in it."""

    def __init__(
        self, model: str, confidence: float = 0.1, iou: float = 0.6, size: int | None = None, most: int = 300, device: str | None = None
    ) -> None:
        self.model = open_ultralytics(model, "detect")
        names = self.model.names
        people = [index for index, name in names.items() if str(name).lower() in ("person", "pedestrian", "people")]
        if not people:
            raise ModelError(f"{model}: no person among its classes ({', '.join(map(str, names.values()))[:120]})")
        self.options = {"conf": confidence, "iou": iou, "max_det": most, "classes": people[:1], "device": device, "verbose": False}
        if size:
            self.options["imgsz"] = size

    def detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        """(h, w, 3) uint8 BGR pictures -> one ``Detections`` each."""
        if not len(pictures):
            return []
        results = self.model.predict([as_bgr(picture) for picture in pictures], **self.options)
        return [Detections(r.boxes.xyxy.cpu().numpy(), r.boxes.conf.cpu().numpy().clip(0, 1)) for r in results]
