"""YOLO detectors as ONNX files: the head's kind, the person class and the input are read from the model."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from detectors.detections import Detections
from detectors.letterbox import Fit, as_bgr, input_size, letterbox
from detectors.runtime.session import Device, ModelError, Session, open_model

Head = Literal["yolo", "end2end", "yolox"]


@dataclass(frozen=True)
class Layout:
    """What a detection model is: its ``head``, the ``person`` class index, the input ``stride``, a fixed (rows, columns) or None."""

    head: Head
    person: int
    stride: int
    fixed: tuple[int, int] | None


def read_layout(session: Session) -> Layout:
    """Layout of an open model from its outputs' shape and ultralytics' metadata.

    Raises ModelError for a model whose input is no picture, whose output is no YOLO head, or that knows no person.
    """
    shape = session.input_shape
    if len(shape) != 4 or shape[1] != 3:
        raise ModelError(f"{session.path}: a detector takes (batch, 3, height, width), this model takes {shape}")
    if isinstance(shape[0], int) and shape[0] != 1:
        raise ModelError(f"{session.path}: it takes {shape[0]} pictures at a time; export it with a dynamic batch, or for one")
    fixed = (shape[2], shape[3]) if isinstance(shape[2], int) and isinstance(shape[3], int) else None
    names = ast.literal_eval(session.metadata["names"]) if "names" in session.metadata else None
    if names is None:
        person = 0  # without names: a COCO model or a person model, person comes first in both
    else:
        people = [index for index, name in dict(names).items() if str(name).lower() in ("person", "pedestrian", "people")]
        if not people:
            raise ModelError(f"{session.path}: no person among its classes ({', '.join(map(str, dict(names).values()))[:120]})")
        person = int(people[0])
    stride = int(float(session.metadata.get("stride", 32)))
    rows, columns = fixed or (2 * stride, 2 * stride)
    try:  # shapes in the file may be symbols: a small picture tells
        out = session.run(np.zeros((1, 3, rows, columns), np.float32))[0].shape
    except Exception as error:  # onnxruntime raises bare pybind exceptions of many kinds
        raise ModelError(f"{session.path}: does not run on a {columns}x{rows} picture ({str(error).splitlines()[0][:120]})") from None
    cells = sum((rows // s) * (columns // s) for s in (8, 16, 32))
    if len(out) == 3 and out[2] == 6 and out[1] != cells:
        return Layout("end2end", person, stride, fixed)
    if len(out) == 3 and out[2] == cells and out[1] > 4 + person:
        return Layout("yolo", person, stride, fixed)
    if len(out) == 3 and out[1] == cells and out[2] > 5 + person:
        return Layout("yolox", person, stride, fixed)
    raise ModelError(f"{session.path}: output {out} is none of the YOLO heads known (v8/v11, end-to-end, YOLOX)")


def yolox_grid(rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) cell corners and (n, 1) strides of YOLOX's maps of stride 8, 16 and 32, in its order."""
    cells, strides = [], []
    for stride in (8, 16, 32):
        y, x = np.mgrid[: rows // stride, : columns // stride]
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        strides.append(np.full((y.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(strides).astype(np.float32)


def decode(output: np.ndarray, layout: Layout, confidence: float, rows: int, columns: int) -> tuple[np.ndarray, np.ndarray]:
    """One picture's raw output -> ((n, 4) boxes in input pixels, (n,) scores) of people at or over ``confidence``."""
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


def suppress(boxes: np.ndarray, scores: np.ndarray, iou: float, most: int) -> np.ndarray:
    """Rows that non-maximum suppression keeps, best score first, at most ``most``."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(np.float64)
    kept = np.asarray(cv2.dnn.NMSBoxes(xywh.tolist(), scores.astype(float).tolist(), 0.0, iou), np.int64).ravel()
    return kept[:most]


class OnnxDetector:
    """A YOLO model in ONNX (v8/v11 heads, end-to-end heads without NMS, YOLOX).

    ``size``: longest side of the input in pixels where the model's input is dynamic; None: what the model's metadata say.
    Pictures of one shape are run as one batch where the model allows it.
    """

    def __init__(
        self,
        path: Path,
        confidence: float = 0.1,
        iou: float = 0.6,
        size: int | None = None,
        most: int = 300,
        device: Device = "auto",
        threads: int = 0,
    ) -> None:
        self.session = open_model(path, device, threads)
        self.layout = read_layout(self.session)
        self.confidence, self.iou, self.most = confidence, iou, most
        declared = ast.literal_eval(self.session.metadata.get("imgsz", "[640, 640]"))
        self.size = size or max(declared)

    def detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        """(h, w, 3) uint8 BGR pictures -> one ``Detections`` each, in source pixels, best score first."""
        found = [Detections.empty()] * len(pictures)
        groups: dict[tuple[int, int], list[tuple[int, np.ndarray, Fit]]] = defaultdict(list)
        for index, picture in enumerate(pictures):
            picture = as_bgr(picture)
            rows, columns = self.layout.fixed or input_size(picture.shape[0], picture.shape[1], self.size, self.layout.stride)
            groups[rows, columns].append((index, *letterbox(picture, rows, columns, centre=self.layout.head != "yolox")))
        batchable = not isinstance(self.session.input_shape[0], int)
        for (rows, columns), members in groups.items():
            for chunk in [members] if batchable else [[member] for member in members]:
                outputs = self.session.run(self.blob([image for _, image, _ in chunk]))[0]
                for (index, _, fit), output in zip(chunk, outputs, strict=True):
                    boxes, scores = decode(output, self.layout, self.confidence, rows, columns)
                    if self.layout.head != "end2end":
                        kept = suppress(boxes, scores, self.iou, self.most)
                        boxes, scores = boxes[kept], scores[kept]
                    boxes = fit.to_source(boxes)
                    seen = (boxes[:, 2:] > boxes[:, :2]).all(1)  # a box in the bars alone has no area in the source
                    found[index] = Detections(boxes[seen], scores[seen].clip(0, 1))
        return found

    def blob(self, images: list[np.ndarray]) -> np.ndarray:
        """(n, 3, rows, columns) float32: BGR in 0..255 for YOLOX, RGB in 0..1 for the others; a channel at a time is quickest."""
        blob = np.empty((len(images), 3, *images[0].shape[:2]), np.float32)
        scale = np.float32(1 if self.layout.head == "yolox" else 1 / 255)
        for at, image in enumerate(images):
            for channel, plane in enumerate(cv2.split(image)):
                np.multiply(plane, scale, out=blob[at, channel if self.layout.head == "yolox" else 2 - channel])
        return blob
