"""Locate the body in each image of a dataset with a segmentation or pose model of ultralytics. Needs the extra ``[train]``."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detectors.runtime.errors import ModelError
from detectors.ultralytics_backend import open_ultralytics
from reid.training.priors import HEIGHT, WIDTH, Bodies, body_range

log = logging.getLogger(__name__)
HEAD, FEET = (0, 1, 2, 3, 4), (15, 16)  # COCO's keypoints: nose, eyes, ears; ankles
ABOVE_FACE, BELOW_ANKLES = 0.06, 0.04  # of the body height: from the face to the crown, from the ankles to the soles
MIN_CONFIDENCE = 0.3  # of a keypoint


def body_of_mask(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Vertical range (2,) and mask (HEIGHT, WIDTH) bool of a person's mask (h, w) in 0..1."""
    solid = mask > 0.5
    small = cv2.resize(solid.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) >= 0.5
    return body_range(solid), small


def body_of_pose(points: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Vertical range (2,) of a pose: ``points`` (17, 2) in 0..1 of width and height, ``confidence`` (17,). An unseen end is the image border."""
    y = points[:, 1]
    head, feet = y[list(HEAD)][confidence[list(HEAD)] >= MIN_CONFIDENCE], y[list(FEET)][confidence[list(FEET)] >= MIN_CONFIDENCE]
    top = float(head.min()) if len(head) else 0.0
    bottom = float(feet.max()) if len(feet) else 1.0
    tall = bottom - top
    if tall <= 0:
        return np.array([0, 1], np.float32)
    over, under = (ABOVE_FACE * tall if len(head) else 0.0), (BELOW_ANKLES * tall if len(feet) else 0.0)
    return np.array([top - over, bottom + under], np.float32).clip(0, 1)


def main_person(boxes: np.ndarray) -> int:
    """Row of the person that a crop shows: the largest of the boxes (n, 4), in 0..1, weighted by closeness to the centre."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    off = np.abs((boxes[:, 0] + boxes[:, 2]) / 2 - 0.5)
    return int((area * (1 - off)).argmax())


def read_results(results: Iterable[Any]) -> Iterator[tuple[np.ndarray, np.ndarray] | None]:
    """Per ultralytics result the vertical range and mask of the body, None if nobody is found. The mask of a pose is its whole range.

    Raises ValueError for a model that returns boxes only.
    """
    for result in results:
        if not len(result.boxes):
            yield None
            continue
        row = main_person(result.boxes.xyxyn.cpu().numpy())
        if result.masks is not None:
            yield body_of_mask(result.masks.data[row].cpu().numpy())
        elif result.keypoints is not None:
            given = result.keypoints.conf
            confidence = given[row].cpu().numpy() if given is not None else np.ones(len(result.keypoints.xyn[row]))
            span = body_of_pose(result.keypoints.xyn[row].cpu().numpy(), confidence)
            rows = (np.arange(HEIGHT) + 0.5) / HEIGHT
            yield span, np.repeat(((rows >= span[0]) & (rows < span[1]))[:, None], WIDTH, 1)
        else:
            raise ValueError("the model returns boxes only; choose a segmentation model (yolo11n-seg.pt) or a pose model (yolo11n-pose.pt)")


def find_bodies(model: str, paths: list[Path], size: int = 256, batch: int = 32) -> tuple[Bodies, int]:
    """Bodies in images, found by a model for ``ultralytics.YOLO``, and the number of images without a person (there the body is the whole image).

    Raises ModelError for a model that cannot be opened or finds no people, ValueError for one that returns boxes only.
    """
    yolo, out, empty = open_ultralytics(model), Bodies.whole(len(paths)), 0
    for start in range(0, len(paths), batch):
        images = [cv2.imread(str(path)) for path in paths[start : start + batch]]
        blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        readable = [blank if image is None else image for image in images]
        try:
            results = yolo.predict(readable, imgsz=size, classes=[0], retina_masks=True, verbose=False)
        except Exception as error:  # ultralytics opens any ONNX file, and fails on its outputs
            raise ModelError(
                f"{model}: cannot find people ({str(error).partition(chr(10))[0]}); choose a segmentation or pose model"
            ) from None
        for row, found in enumerate(read_results(results), start):
            if found is None:
                empty += 1
                continue
            out.ranges[row], out.masks[row] = found
        if start // batch % 20 == 0:
            log.info("%d of %d images", min(start + batch, len(paths)), len(paths))
    return out, empty
