"""YOLO detectors in ONNX. Head type, person class and input size are read from the model."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from detectors.detections import MAX_DETECTIONS, Detections
from detectors.letterbox import Fit, as_bgr, input_size, letterbox
from detectors.person_class import person_class
from detectors.runtime.errors import ModelError
from detectors.runtime.session import Device, Session, open_model

Head = Literal["yolo", "end2end", "yolox"]


@dataclass(frozen=True)
class Layout:
    """Layout of a detection model: type of its ``head``, index of the ``person`` class, input ``stride`` in px, ``fixed`` (rows, columns) or None."""

    head: Head
    person: int
    stride: int
    fixed: tuple[int, int] | None


def read_layout(session: Session) -> Layout:
    """Read the layout of an open model from the shape of its output and ultralytics' metadata.

    Raises ModelError if the input is not an image, the output is not a known YOLO head, or no class is a person.
    """
    shape = session.input_shape
    if len(shape) != 4 or shape[1] != 3:
        raise ModelError(f"{session.path}: a detector takes (batch, 3, height, width), this model takes {shape}")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise ModelError(f"{session.path}: has a fixed batch of {shape[0]} images; export it with a dynamic batch or a batch of 1")
    fixed = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
    names = ast.literal_eval(session.metadata["names"]) if "names" in session.metadata else None
    person = 0 if names is None else person_class(names, str(session.path))  # COCO and person models without names: class 0
    stride = int(float(session.metadata.get("stride", 32)))
    rows, columns = fixed or (2 * stride, 2 * stride)
    try:  # shapes in the file may be symbolic: run a small image
        out = session.run(np.zeros((1, 3, rows, columns), np.float32))[0].shape
    except Exception as error:  # onnxruntime raises many untyped pybind exceptions
        raise ModelError(f"{session.path}: does not run on a {columns}x{rows} image ({str(error).splitlines()[0][:120]})") from None
    cells = sum((rows // s) * (columns // s) for s in (8, 16, 32))
    if len(out) == 3 and out[2] == 6 and out[1] != cells:
        return Layout("end2end", person, stride, fixed)
    if len(out) == 3 and out[2] == cells and out[1] > 4 + person:
        return Layout("yolo", person, stride, fixed)
    if len(out) == 3 and out[1] == cells and out[2] > 5 + person:
        return Layout("yolox", person, stride, fixed)
    raise ModelError(f"{session.path}: output {out} is not a known YOLO head (v8/v11, end-to-end, YOLOX)")


def yolox_grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) cell corners and (n, 1) strides of YOLOX's feature maps (stride 8, 16, 32), in output order."""
    cells, strides = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: rows // stride, : columns // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full((y.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode(output: np.ndarray, layout: Layout, confidence: float, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """Decode one image's raw output: (n, 4) boxes in input pixels and (n,) scores of people, score at least ``confidence``."""
    if layout.head == "end2end":
        keep = (output[:, 4] >= confidence) & (output[:, 5].round() == layout.person)
        return output[keep, :4], output[keep, 4]
    if layout.head == "yolo":
        scores = output[4 + layout.person]
        keep = np.flatnonzero(scores >= confidence)
        centre, size, scores = output[:2, keep].T, output[2:4, keep].T, scores[keep]
    else:
        scores = output[:, 4] * output[:, 5 + layout.person]
        keep = np.flatnonzero(scores >= confidence)
        cells, strides = yolox_grid(rows, columns)
        centre, size, scores = (output[keep, :2] + cells[keep]) * strides[keep], np.exp(output[keep, 2:4]) * strides[keep], scores[keep]
    return np.concatenate([centre - size / 2, centre + size / 2], 1), scores


def nms(boxes: np.ndarray, scores: np.ndarray, iou: float, max_detections: int = MAX_DETECTIONS) -> np.ndarray:
    """Non-maximum suppression of (n, 4) boxes: rows kept, best score first, at most ``max_detections``."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(np.float64)
    kept = np.asarray(cv2.dnn.NMSBoxes(xywh.tolist(), scores.astype(float).tolist(), 0.0, iou), np.int64).ravel()
    return kept[:max_detections]


class OnnxDetector:
    """A YOLO model in ONNX (v8/v11 heads, end-to-end heads without NMS, YOLOX).

    ``confidence``: least score; ``iou``: NMS threshold. ``size``: longest side of a dynamic input in pixels; None: as the model's
    metadata say. Images of one shape run as one batch if the model allows it. Raises ModelError as ``open_model`` and
    ``read_layout`` do.
    """

    def __init__(
        self, path: Path, confidence: float, iou: float, size: int | None = None, device: Device = "auto", threads: int = 0
    ) -> None:
        self.session = open_model(path, device, threads)
        self.layout = read_layout(self.session)
        self.confidence, self.iou = confidence, iou
        declared = ast.literal_eval(self.session.metadata.get("imgsz", "[640, 640]"))
        self.size = size or max(declared)

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """(h, w, 3) uint8 BGR images -> one ``Detections`` each, in source pixels, best score first."""
        found = [Detections.empty()] * len(images)
        groups: dict[tuple[int, int], list[tuple[int, np.ndarray, Fit]]] = defaultdict(list)
        for index, image in enumerate(images):
            image = as_bgr(image)
            rows, columns = self.layout.fixed or input_size(image.shape[0], image.shape[1], self.size, self.layout.stride)
            groups[rows, columns].append((index, *letterbox(image, rows, columns, centre=self.layout.head != "yolox")))
        batchable = not isinstance(self.session.input_shape[0], int)
        for (rows, columns), members in groups.items():
            for chunk in [members] if batchable else [[member] for member in members]:
                outputs = self.session.run(to_input([fitted for _, fitted, _ in chunk], self.layout.head))[0]
                for (index, _, fit), output in zip(chunk, outputs, strict=True):
                    boxes, scores = decode(output, self.layout, self.confidence, rows, columns)
                    if self.layout.head != "end2end":
                        kept = nms(boxes, scores, self.iou)
                        boxes, scores = boxes[kept], scores[kept]
                    boxes = fit.to_source(boxes)
                    seen = (boxes[:, 2:] > boxes[:, :2]).all(1)  # a box that lies in the padding has no area in the source
                    found[index] = Detections(boxes[seen], scores[seen].clip(0, 1))
        return found


def to_input(images: list[np.ndarray], head: Head) -> np.ndarray:
    """(rows, columns, 3) uint8 BGR images -> (n, 3, rows, columns) float32: BGR in 0..255 for YOLOX, RGB in 0..1 for the others."""
    batch = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
    scale = np.float32(1 if head == "yolox" else 1 / 255)
    for at, image in enumerate(images):
        for channel, plane in enumerate(cv2.split(image)):  # one channel at a time is fastest
            np.multiply(plane, scale, out=batch[at, channel if head == "yolox" else 2 - channel])
    return batch
