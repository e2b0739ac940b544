"""Areas of a camera's image in which people are tracked: the site file's ``only`` and ``ignore`` polygons, tested at the feet of a box."""

from __future__ import annotations

import cv2
import numpy as np

from detectors import Detections
from tracker.site import CameraPlace


def area(place: CameraPlace | None, width: int, height: int) -> np.ndarray | None:
    """(height, width) bool mask of the pixels inside the areas; None: the whole image. A polygon whose numbers are all in 0..1 is in shares
    of the image's width and height.
    """
    if place is None or not (place.only or place.ignore):
        return None
    mask = np.zeros((height, width), np.uint8) if place.only else np.ones((height, width), np.uint8)
    for polygons, value in ((place.only, 1), (place.ignore, 0)):
        for polygon in polygons:
            points = np.array(polygon, np.float64)
            if points.min() >= 0 and points.max() <= 1:
                points *= [width, height]
            cv2.fillPoly(mask, [np.round(points).astype(np.int32)], value)
    return mask.astype(bool)


def within(found: Detections, mask: np.ndarray | None) -> Detections:
    """The detections whose foot point, the middle of the lower edge, lies in ``mask``. Foot points outside the image move to its border."""
    if mask is None or not len(found):
        return found
    height, width = mask.shape
    x = ((found.boxes[:, 0] + found.boxes[:, 2]) / 2).astype(int).clip(0, width - 1)
    y = found.boxes[:, 3].astype(int).clip(0, height - 1)
    return found[mask[y, x]]
