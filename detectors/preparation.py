"""Pictures as a model takes them: place, order of the colours, range, type and axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from detectors.heads import Colours, Placement
from detectors.letterbox import Fit, letterbox, stretch

KINDS = (np.float32, np.float16, np.float64, np.uint8)  # types of inputs that take pictures
IMAGENET_MEAN, IMAGENET_STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # red, green, blue, in 0..255


def place(image: np.ndarray, rows: int, columns: int, placement: Placement) -> tuple[np.ndarray, Fit]:
    """(h, w, 3) uint8 -> (rows, columns, 3) uint8 and its ``Fit``."""
    if placement == "stretch":
        return stretch(image, rows, columns)
    return letterbox(image, rows, columns, centre=placement == "centre")


def to_input(images: Sequence[np.ndarray], colours: Colours = "rgb", kind: Any = np.float32, channels_last: bool = False) -> np.ndarray:
    """(rows, columns, 3) uint8 BGR images -> (n, 3, rows, columns), or (n, rows, columns, 3), of type ``kind``.

    ``rgb``: 0..1; ``bgr-255``: 0..255; ``-imagenet``: less ImageNet's mean, by its standard deviation. Whole numbers stay in 0..255.
    """
    blue_first, whole = colours.startswith("bgr"), np.issubdtype(kind, np.integer)
    batch = np.empty((len(images), 3, *images[0].shape[:2]), kind if whole else np.float32)
    scale = np.float32(1 if colours == "bgr-255" else 1 / 255)
    for at, image in enumerate(images):
        for channel, plane in enumerate(cv2.split(image)):  # one channel at a time is fastest
            out = batch[at, channel if blue_first else 2 - channel]
            if whole:
                out[:] = plane
            elif colours.endswith("-imagenet"):
                mean, deviation = np.float32(IMAGENET_MEAN[2 - channel]), np.float32(IMAGENET_STD[2 - channel])
                np.multiply(plane - mean, 1 / deviation, out=out)
            else:
                np.multiply(plane, scale, out=out)
    if batch.dtype != kind:
        batch = batch.astype(kind)
    return np.ascontiguousarray(batch.transpose(0, 2, 3, 1)) if channels_last else batch
