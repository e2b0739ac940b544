"""Where people count in a camera's picture: the site file's ``only`` and ``ignore`` polygons, by the feet of a box."""

from __future__ import annotations

import cv2
import numpy as np

from detectors import Detections
from tracker.site import CameraPlace


def area(place: CameraPlace | None, width: int, height: int) -> np.ndarray | None:
    """(height, width) bool of where feet count; None: everywhere."""
    if place is None or not (place.only or place.ignore):
        return None
    counts = np.zeros((height, width), np.uint8) if place.only else np.ones((height, width), np.uint8)
    for polygons, value in ((place.only, 1), (place.ignore, 0)):
        for polygon in polygons:
            cv2.fillPoly(counts, [np.round(polygon).astype(np.int32)], value)
    return counts.astype(bool)


def within(found: Detections, counts: np.ndarray | None) -> Detections:
    """The detections whose feet, the middle of the lower edge, stand where they count; feet below the picture count as at its edge."""
    if counts is None or not len(found):
        return found
    height, width = counts.shape
    x = ((found.boxes[:, 0] + found.boxes[:, 2]) / 2).astype(int).clip(0, width - 1)
    y = found.boxes[:, 3].astype(int).clip(0, height - 1)
    return found[counts[y, x]]
