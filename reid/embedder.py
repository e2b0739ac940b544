"""``Embedder``: crops, or a frame and boxes, to embeddings of unit length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import cv2
import numpy as np
from pydantic import Field

from detectors.letterbox import as_bgr
from detectors.runtime.session import DEVICE_HELP, Device
from detectors.runtime.settings import Settings
from reid.bundle import open_bundle
from reid.shipped import bundle_path


class EmbedderSettings(Settings):
    """The re-ID model that turns crops of people into embeddings."""

    model: str = Field(
        default="mpn-s",
        title="Model",
        description="A shipped name, a bundle (`.onnx`), or `retail-0287` after `passerby reid get`. `none`: track by motion alone.",
    )
    device: Device = Field(default="auto", title="Device", description=DEVICE_HELP)
    threads: int = Field(default=0, ge=0, title="Threads", description="CPU threads. 0: one per core.")
    batch: Annotated[int, Field(json_schema_extra={"unit": "crops"})] = Field(
        default=16, ge=1, title="Batch size", description="Maximum number of crops per inference."
    )


class Embedder:
    """A re-ID model. ``facts`` holds the bundle's metadata, ``session.providers`` where it runs.

    Raises ModelError for an unknown name, and as ``open_bundle`` does.
    """

    def __init__(self, model: str | None = None, settings: EmbedderSettings | None = None) -> None:
        self.settings = settings or EmbedderSettings()
        path = bundle_path(model or self.settings.model)
        self.session, self.facts = open_bundle(path, self.settings.device, self.settings.threads)
        colour = np.array(self.facts.mean, np.float32), np.array(self.facts.std, np.float32)
        self._scale, self._shift = 1 / colour[1], -colour[0] / colour[1]

    @property
    def dimension(self) -> int:
        return self.facts.dimension

    def embed(self, crops: Sequence[np.ndarray]) -> np.ndarray:
        """(h, w[, c]) uint8 BGR crops of any size -> (n, d) float32 unit rows.

        Raises ValueError for an empty crop, and for a single image that is not in a list.
        """
        if isinstance(crops, np.ndarray) and crops.size and crops.ndim < 4:
            raise ValueError(f"crops must be a sequence of images; put a single one of {crops.shape} in a list")
        out = np.zeros((len(crops), self.dimension), np.float32)
        size = (self.facts.width, self.facts.height)
        for start in range(0, len(crops), self.settings.batch):
            chunk = [cv2.resize(as_bgr(crop), size, interpolation=cv2.INTER_LINEAR) for crop in crops[start : start + self.settings.batch]]
            pixels = np.stack(chunk).astype(np.float32)
            if self.facts.colour == "RGB":
                pixels = pixels[..., ::-1]
            pixels = np.ascontiguousarray((pixels * self._scale + self._shift).transpose(0, 3, 1, 2))
            rows = self.session.run(pixels)[0]
            out[start : start + len(rows)] = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
        return out

    def embed_boxes(self, frame: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 BGR ``frame`` and (n, 4) x1, y1, x2, y2 px ``boxes`` -> (n, d) float32 unit rows."""
        return self.embed(crop_boxes(frame, boxes))


def crop_boxes(frame: np.ndarray, boxes: np.ndarray) -> list[np.ndarray]:
    """The pixels of each box, clipped to the frame. A box outside the frame or thinner than a pixel gives the nearest pixel.

    Raises ValueError for NaN or infinity, and for boxes of another shape than (n, 4).
    """
    boxes = np.asarray(boxes)
    if not boxes.size:
        return []
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes must be (n, 4), not {boxes.shape}")
    if not np.isfinite(boxes).all():
        raise ValueError(f"box {int(np.flatnonzero(~np.isfinite(boxes).all(1))[0])} is not finite")
    height, width = frame.shape[:2]
    low = np.floor(boxes[:, :2]).clip(0, [width - 1, height - 1]).astype(int)
    high = np.ceil(boxes[:, 2:]).clip(low + 1, [width, height]).astype(int)
    return [frame[y1:y2, x1:x2] for (x1, y1), (x2, y2) in zip(low, high, strict=True)]
