"""Where the body is in each picture of a data set, by a segmentation or pose model of ultralytics. Needs the extra ``[train]``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detectors.runtime.errors import ModelError
from detectors.ultralytics_backend import open_ultralytics
from reid.training.priors import HEIGHT, WIDTH, Bodies, body_range

HEAD, FEET = (0, 1, 2, 3, 4), (15, 16)  # COCO's keypoints: nose, eyes, ears; ankles
OVER_HEAD, UNDER_FEET = 0.06, 0.04  # of the body's height: from the face to the crown, from the ankle to the sole
SURE = 0.3  # keypoints of less are guesses


def body_of_mask(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Range (2,) and (HEIGHT, WIDTH) bool of a person's mask (h, w) in 0..1."""
    solid = mask > 0.5
    small = cv2.resize(solid.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) >= 0.5
    return body_range(solid), small


def body_of_pose(points: np.ndarray, sure: np.ndarray) -> np.ndarray:
    """Range (2,) of a pose: ``points`` (17, 2) in 0..1 of width and height, ``sure`` (17,); the picture's edge for an end not seen."""
    y = points[:, 1]
    head, feet = y[list(HEAD)][sure[list(HEAD)] >= SURE], y[list(FEET)][sure[list(FEET)] >= SURE]
    top = float(head.min()) if len(head) else 0.0
    bottom = float(feet.max()) if len(feet) else 1.0
    tall = bottom - top
    if tall <= 0:
        return np.array([0, 1], np.float32)
    over, under = (OVER_HEAD * tall if len(head) else 0.0), (UNDER_FEET * tall if len(feet) else 0.0)
    return np.array([top - over, bottom + under], np.float32).clip(0, 1)


def chosen(boxes: np.ndarray) -> int:
    """The row of the person a crop is of: the greatest box (n, 4), in 0..1, less what lies off the middle."""
    area = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    off = np.abs((boxes[:, 0] + boxes[:, 2]) / 2 - 0.5)
    return int((area * (1 - off)).argmax())


def read_results(results: Iterable[Any]) -> Iterator[tuple[np.ndarray, np.ndarray] | None]:
    """Per ultralytics result the body's range and mask, None where nobody is found. A pose's mask is its whole range."""
    for result in results:
        if not len(result.boxes):
            yield None
            continue
        row = chosen(result.boxes.xyxyn.cpu().numpy())
        if result.masks is not None:
            yield body_of_mask(result.masks.data[row].cpu().numpy())
        elif result.keypoints is not None:
            confidence = result.keypoints.conf
            sure = confidence[row].cpu().numpy() if confidence is not None else np.ones(len(result.keypoints.xyn[row]))
            span = body_of_pose(result.keypoints.xyn[row].cpu().numpy(), sure)
            rows = (np.arange(HEIGHT) + 0.5) / HEIGHT
            yield span, np.repeat(((rows >= span[0]) & (rows < span[1]))[:, None], WIDTH, 1)
        else:
            raise ValueError("the model finds boxes alone; give a segmentation model (yolo11n-seg.pt) or a pose model (yolo11n-pose.pt)")


def find_bodies(model: str, paths: list[Path], size: int = 256, batch: int = 32) -> tuple[Bodies, int]:
    """Bodies in pictures by what ``ultralytics.YOLO`` opens, and in how many nobody was found: there the body is the whole picture.

    Raises ModelError for a model that cannot be opened, ValueError for one that finds boxes alone.
    """
    yolo, out, nobody = open_ultralytics(model), Bodies.whole(len(paths)), 0
    for start in range(0, len(paths), batch):
        pictures = [cv2.imread(str(path)) for path in paths[start : start + batch]]
        blank = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        shown = [blank if p is None else p for p in pictures]
        try:
            results = yolo.predict(shown, imgsz=size, classes=[0], retina_masks=True, verbose=False)
        except Exception as error:  # ultralytics opens any ONNX file and fails on what comes out of it
            raise ModelError(f"{model}: finds no people ({str(error).partition(chr(10))[0]}); give a segmentation or pose model") from None
        for row, found in enumerate(read_results(results), start):
            if found is None:
                nobody += 1
                continue
            out.ranges[row], out.masks[row] = found
        if start // batch % 20 == 0:
            print(f"{min(start + batch, len(paths))} of {len(paths)} pictures", flush=True)
    return out, nobody
