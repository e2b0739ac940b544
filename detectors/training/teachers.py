"""Boxes by teachers: several detectors that look at an image as it is, mirrored and in tiles, fused."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from detectors.detections import Detections
from detectors.load import Detector
from detectors.onnx import nms
from detectors.training.fusion import fuse

LOW = 0.03  # least score of a box to fuse: what one look finds so low counts if others see it too
TILE = 0.6  # of the image's sides
TILED_FROM = 900  # px of the longest side: smaller images have nothing to gain
CUT_MARGIN = 4  # px: a box nearer than this to the inner edge of a tile is cut by it
TILE_IOU = 0.6  # of boxes of two tiles that are one


class Teachers:
    """One or several detectors as one. ``mirror``: also mirrored; ``tiles``: also four overlapping tiles of images over ``TILED_FROM`` px.

    Scores are the mean over all looks, so they are lower than those of one detector.
    """

    def __init__(self, detectors: Sequence[Detector], mirror: bool = True, tiles: bool = False) -> None:
        if not detectors:
            raise ValueError("at least one teacher is needed")
        self.detectors, self.mirror, self.tiles = tuple(detectors), mirror, tiles

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """(h, w, 3) uint8 BGR images -> one ``Detections`` each, in source pixels, best score first."""
        return [fuse(list(self._looks(image))) for image in images]

    def _looks(self, image: np.ndarray) -> Iterator[Detections]:
        for detector in self.detectors:
            yield detector.detect([image])[0]
            if self.mirror:
                yield mirrored(detector.detect([np.ascontiguousarray(image[:, ::-1])])[0], image.shape[1])
            if self.tiles and max(image.shape[:2]) > TILED_FROM:
                yield in_tiles(detector, image)


def mirrored(found: Detections, width: int) -> Detections:
    """Detections of a mirrored image in pixels of the image as it is, ``width`` px wide."""
    x1, y1, x2, y2 = found.boxes.T
    return Detections(np.stack([width - x2, y1, width - x1, y2], 1), found.scores)


def in_tiles(detector: Detector, image: np.ndarray) -> Detections:
    """Detections in four overlapping tiles of an image. Boxes that the inner edge of a tile cuts are left to the other tiles."""
    height, width = image.shape[:2]
    high, wide = int(height * TILE), int(width * TILE)
    boxes, scores = [np.zeros((0, 4), np.float32)], [np.zeros(0, np.float32)]
    for left in (0, width - wide):
        for top in (0, height - high):
            found = detector.detect([np.ascontiguousarray(image[top : top + high, left : left + wide])])[0]
            x1, y1, x2, y2 = found.boxes.T
            cut = (x1 < CUT_MARGIN) & (left > 0) | (x2 > wide - CUT_MARGIN) & (left + wide < width)
            cut |= (y1 < CUT_MARGIN) & (top > 0) | (y2 > high - CUT_MARGIN) & (top + high < height)
            boxes.append(found.boxes[~cut] + np.array([left, top, left, top], np.float32))
            scores.append(found.scores[~cut])
    everything, all_scores = np.concatenate(boxes), np.concatenate(scores)
    kept = nms(everything, all_scores, TILE_IOU)
    return Detections(everything[kept], all_scores[kept])
