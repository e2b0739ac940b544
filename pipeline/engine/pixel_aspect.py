"""Pixels that are not square: people are detected and tracked in square ones, all results are in those of the video."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from detectors import Detections
from tracker import Tracks


def factors(aspect: float) -> np.ndarray:
    """(4,) what x1, y1, x2, y2 in the video's pixels are multiplied with; the shorter side of a pixel is stretched."""
    return np.array([max(aspect, 1.0), max(1 / aspect, 1.0)] * 2, np.float32)


def squared(image: np.ndarray, aspect: float) -> np.ndarray:
    """``image`` (h, w, 3) with square pixels; ``aspect``: width of a pixel over its height."""
    if aspect == 1.0:
        return image
    x, y = factors(aspect)[:2]
    return cv2.resize(image, (max(1, round(image.shape[1] * x)), max(1, round(image.shape[0] * y))), interpolation=cv2.INTER_LINEAR)


def to_square(found: Detections, aspect: float) -> Detections:
    """Boxes in the video's pixels, as boxes in square ones."""
    return found if aspect == 1.0 else Detections(found.boxes * factors(aspect), found.scores, found.embeddings)


def to_stored(found: Detections, aspect: float) -> Detections:
    """Boxes in square pixels, as boxes in the video's."""
    return found if aspect == 1.0 else Detections(found.boxes / factors(aspect), found.scores, found.embeddings)


def tracks_to_stored(tracks: Tracks, aspect: float) -> Tracks:
    return tracks if aspect == 1.0 else replace(tracks, boxes=tracks.boxes / factors(aspect))
