"""Detectors in ONNX or OpenVINO IR. Head, classes of people and input size are read from the model, or given."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detectors.detections import MAX_DETECTIONS, Detections
from detectors.first_frames import FirstFrames
from detectors.heads import COCO_91, HEADS, HeadName, Scene, listed, of_each, recognise
from detectors.letterbox import Fit, as_bgr, input_size
from detectors.metadata import read_metadata
from detectors.person_class import person_classes
from detectors.preparation import KINDS, place, to_input
from detectors.runtime.errors import ModelError
from detectors.runtime.session import Device, Session, open_model

MAX_SCORE_CHANGE = 0.02  # root mean square of a faster engine's scores against fp32; bf16 has 0.007, a misread INT8 model 0.1
MAX_BOX_CHANGE = 0.03  # of the input's longest side; bf16 has 0.012 on noise, where boxes are vague
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Layout:
    """Layout of a detection model.

    ``heads``: the possible heads, one unless the model has found nothing yet that tells two apart; they are prepared for alike. ``people``:
    indices of the classes of people. ``stride``: of the input, in px; ``fixed`` (rows, columns) or None; ``batch``: images in each run, None:
    any; ``classes``: number of classes that the metadata name, or None; ``extra``: whether columns follow the scores (masks, key points);
    ``kind``: numpy type of the input; ``channels_last``: its axes; ``sized``: numpy type of a second input that takes the image's size, or None.
    """

    heads: tuple[HeadName, ...]
    people: tuple[int, ...] = (0,)
    stride: int = 32
    fixed: tuple[int, int] | None = None
    batch: int | None = None
    classes: int | None = None
    extra: bool = False
    kind: Any = np.float32
    channels_last: bool = False
    sized: Any = None


def read_input(session: Session) -> Layout:
    """What the inputs of a model say. Raises ModelError if they are not images, with or without their sizes."""
    first, *others = session.inputs
    shape = session.input_shape
    if len(shape) != 4 or 3 not in (shape[1], shape[3]):
        raise ModelError(f"{session.path}: a detector takes (batch, 3, height, width), this model takes {shape}")
    if first.kind not in KINDS:
        raise ModelError(f"{session.path}: a detector takes images in float or uint8, this model takes {first.type}")
    sized = None
    if others:
        if len(others) > 1 or others[0].kind not in (np.int64, np.int32, np.float32) or others[0].shape[1:] != (2,):
            told = ", ".join(f"{entry.name} {list(entry.shape)}" for entry in others)
            raise ModelError(f"{session.path}: takes more than images and their sizes: {told}")
        sized = others[0].kind
    last = shape[1] != 3
    height, width = (shape[1], shape[2]) if last else (shape[2], shape[3])
    fixed = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    batch = shape[0] if isinstance(shape[0], int) else None
    return Layout((), fixed=fixed, batch=batch, kind=first.kind, channels_last=last, sized=sized)


def read_layout(session: Session, head: HeadName | None = None, classes: Sequence[str | int] | None = None) -> Layout:
    """Read the layout of an open model from its inputs, its metadata and what it gives for a picture of noise.

    ``head``: its head; None: recognised by the shape and the values of the outputs. ``classes``: names or indices of the classes to
    detect; None: all whose name means a person. Raises ModelError if the input is not an image, no head or more than one fits, or no class
    is a person.
    """
    facts, layout = read_metadata(session.metadata), read_input(session)
    layout = replace(layout, stride=facts.stride, extra=facts.task in ("pose", "segment"))
    if facts.task in ("classify", "obb", "semantic", "depth"):
        raise ModelError(f"{session.path}: its task is {facts.task!r}: a detector gives upright boxes (task 'detect')")
    if facts.names is not None:
        layout = replace(layout, people=person_classes(facts.names, str(session.path), classes), classes=max(facts.names, default=0) + 1)
    outputs, scene = probe(session, layout, facts.size)
    shapes = ", ".join(str(array.shape) for array in outputs)
    try:
        images = of_each(outputs, layout.batch or 1)
    except ValueError:
        raise ModelError(unknown(session, shapes, layout)) from None
    fitting, likely = recognise(images[0], scene)
    if head is not None:
        if head not in fitting:
            said = f"; by its shape it could be {', '.join(fitting)}" if fitting else ""
            raise ModelError(f"{session.path}: detector.head: output {shapes} is not the output of {head}{said}")
        likely = [head]
    if not likely:
        raise ModelError(unknown(session, shapes, layout, fitting))
    if len({(HEADS[name].colours, HEADS[name].placement) for name in likely}) > 1:
        raise ModelError(f"{session.path}: output {shapes} could be of {' or '.join(likely)}: say which with detector.head")
    layout = replace(layout, heads=tuple(likely))
    if facts.names is None:
        people = (1,) if any(one.ndim == 2 and one.shape[1] == COCO_91 for one in images[0]) else (0,)
        layout = replace(layout, people=people if classes is None else indices(classes, session.path))
    try:
        for name in likely:
            HEADS[name].decode(images[0], layout.people, 0.5, scene)
    except IndexError:
        raise ModelError(f"{session.path}: detector.classes: the model has no class {max(layout.people)}; its output is {shapes}") from None
    return layout


def indices(classes: Sequence[str | int], path: Path) -> tuple[int, ...]:
    """Classes of a model that names none. Raises ModelError for a name."""
    for one in classes:
        if not str(one).strip().isdecimal():
            raise ModelError(f"{path}: detector.classes: the model names no classes, so {one!r} must be an index (COCO: 0 is the person)")
    return tuple(sorted({int(one) for one in classes}))


def unknown(session: Session, shapes: str, layout: Layout, fitting: Sequence[str] = ()) -> str:
    """The message about an output that no head gives."""
    named = "" if layout.classes is None else f" with the {layout.classes} classes of its metadata"
    if fitting:
        return (
            f"{session.path}: output {shapes} has the shape of {', '.join(fitting)} but not the values (scores in 0..1, boxes in the units of "
            f"that head); known heads: {', '.join(HEADS)}; if one is right, name it with detector.head"
        )
    return f"{session.path}: output {shapes} is not a known head{named}; known heads: {', '.join(HEADS)}"


def probe(session: Session, layout: Layout, size: int) -> tuple[list[np.ndarray], Scene]:
    """The outputs for a picture of noise. A model of any input size runs on a small one, or else on ``size`` px.

    Raises ModelError if it runs on neither.
    """
    small = (3 * layout.stride, 4 * layout.stride)
    message = ""
    for rows, columns in [layout.fixed] if layout.fixed else [small, (size, size)]:
        try:
            outputs = infer(session, layout, [noise(rows, columns)], "rgb")
        except Exception as error:  # onnxruntime raises many untyped pybind exceptions
            message = message or f"does not run on a {columns}x{rows} image ({str(error).splitlines()[0][:120]})"
            continue
        if all(isinstance(array, np.ndarray) and array.dtype.kind in "fiu" for array in outputs):
            return outputs, scene_of(session, layout, outputs, rows, columns)
        message = message or "its outputs are not arrays of numbers"
    raise ModelError(f"{session.path}: {message}")


def noise(rows: int, columns: int) -> np.ndarray:
    """A (rows, columns, 3) uint8 picture of smooth noise."""
    coarse = np.random.default_rng(0).integers(60, 190, (rows // 16 + 1, columns // 16 + 1, 3), np.uint8)
    return cv2.resize(coarse, (columns, rows), interpolation=cv2.INTER_CUBIC)


def feeds_of(layout: Layout, images: Sequence[np.ndarray], colours: Any) -> tuple[np.ndarray, ...]:
    """What the inputs of a model take for (rows, columns, 3) uint8 BGR images of one size; a fixed batch gets the first again in the places left."""
    filled = [*images, *[images[0]] * ((layout.batch or 0) - len(images))]
    batch = to_input(filled, colours, layout.kind, layout.channels_last)
    if layout.sized is None:
        return (batch,)
    rows, columns = images[0].shape[:2]
    return batch, np.array([[columns, rows]] * len(filled), layout.sized)


def infer(session: Session, layout: Layout, images: Sequence[np.ndarray], colours: Any) -> list[np.ndarray]:
    """The outputs for (rows, columns, 3) uint8 BGR images of one size."""
    return session.run(*feeds_of(layout, images, colours))


def scene_of(session: Session, layout: Layout, outputs: Sequence[np.ndarray], rows: int, columns: int) -> Scene:
    """The ``Scene`` of outputs for an input of (rows, columns) px."""
    return Scene(rows, columns, layout.classes, layout.extra, session.output_names, listed(outputs))


def nms(boxes: np.ndarray, scores: np.ndarray, iou: float, max_detections: int = MAX_DETECTIONS) -> np.ndarray:
    """Non-maximum suppression of (n, 4) boxes: rows kept, best score first, at most ``max_detections``."""
    if not len(boxes):
        return np.zeros(0, np.int64)
    xywh = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], 1).astype(np.float64)
    kept = np.asarray(cv2.dnn.NMSBoxes(xywh.tolist(), scores.astype(float).tolist(), 0.0, iou), np.int64).ravel()
    return kept[:max_detections]


def difference(layout: Layout, scene: Scene, expected: list[Any], found: list[Any]) -> str | None:
    """What differs too much between two engines' outputs for the same images, or None.

    Scores may differ by ``MAX_SCORE_CHANGE`` (root mean square); 95 % of the boxes, where a model gives one for each cell, by
    ``MAX_BOX_CHANGE`` of the input's longest side. Models that list their best boxes list those of noise in any order, so only their scores are compared.
    """
    head, boxes, scores = HEADS[layout.heads[0]], [], []
    for outputs in (expected, found):
        decoded = head.decode(of_each(outputs, layout.batch or 1)[0], layout.people, 0.0, scene)
        boxes.append(decoded[0])
        scores.append(decoded[1] if head.nms else np.sort(decoded[1]))
    if scores[0].shape != scores[1].shape:
        return f"it gives {len(scores[1])} boxes instead of {len(scores[0])}"
    if not scores[0].size:
        return None
    change = float(np.sqrt(np.mean((scores[1] - scores[0]) ** 2)))
    if not change <= MAX_SCORE_CHANGE:  # also NaN
        return f"scores differ by {change:.2g} (root mean square) from those in fp32"
    moved = float(np.percentile(np.abs(boxes[1] - boxes[0]).max(1), 95)) / scene.side if head.nms else 0.0
    return None if moved <= MAX_BOX_CHANGE else f"boxes differ by {moved:.1%} of the input's side from those in fp32"


class OnnxDetector:
    """A detector in ONNX or OpenVINO IR with any head of ``HEADS``.

    ``confidence``: least score; ``iou``: NMS threshold. ``size``: longest side of a dynamic input in pixels; None: as the model's
    metadata say. ``head``, ``classes``: as in ``read_layout``. Images of one shape run as one batch if the model allows it. Warns once if
    what it finds in the first pictures does not look like detections. Raises ModelError as ``open_model`` and ``read_layout`` do.
    """

    def __init__(
        self,
        path: Path,
        confidence: float,
        iou: float,
        size: int | None = None,
        device: Device = "auto",
        threads: int = 0,
        head: HeadName | None = None,
        classes: Sequence[str | int] | None = None,
    ) -> None:
        self.session = open_model(path, device, threads)
        self.layout = read_layout(self.session, head, classes)
        self.confidence, self.iou = confidence, iou
        self.size = size or read_metadata(self.session.metadata).size
        if size and self.layout.fixed and max(self.layout.fixed) != size:
            log.warning("%s: takes %dx%d px only; detector.size=%d is not used", path.name, *self.layout.fixed[::-1], size)
        self._accelerate()
        self.first = FirstFrames(
            f"{path.name} (read as {' or '.join(self.layout.heads)}, classes {', '.join(map(str, self.layout.people))})",
            "If there are people in them, the model may be misread: see detector.head and detector.classes",
        )
        log.info("%s", self.first.model)

    def detect(self, images: Sequence[np.ndarray]) -> list[Detections]:
        """(h, w, 3) uint8 BGR images -> one ``Detections`` each, in source pixels, best score first.

        Raises ModelError if boxes of a model that has found none before could be of two heads.
        """
        found = [Detections.empty()] * len(images)
        head = HEADS[self.layout.heads[0]]
        groups: dict[tuple[int, int], list[tuple[int, np.ndarray, Fit]]] = defaultdict(list)
        for index, image in enumerate(images):
            image = as_bgr(image)
            rows, columns = self.layout.fixed or self._input_size(*image.shape[:2])
            groups[rows, columns].append((index, *place(image, rows, columns, head.placement)))
        for (rows, columns), members in groups.items():
            most = self.layout.batch or len(members)
            for chunk in (members[at : at + most] for at in range(0, len(members), most)):
                outputs = infer(self.session, self.layout, [fitted for _, fitted, _ in chunk], head.colours)
                scene = scene_of(self.session, self.layout, outputs, rows, columns)
                for (index, _, fit), output in zip(chunk, of_each(outputs, self.layout.batch or len(chunk)), strict=False):
                    found[index] = self._detections(output, scene, fit)
        return found

    def _accelerate(self) -> None:
        """Let the session choose its engine, on noise of the shape of a wide picture."""
        rows, columns = self.layout.fixed or self._input_size(9, 16)
        feeds = feeds_of(self.layout, [noise(rows, columns)], HEADS[self.layout.heads[0]].colours)

        def agree(expected: list[Any], found: list[Any]) -> str | None:
            return difference(self.layout, scene_of(self.session, self.layout, expected, rows, columns), expected, found)

        self.session.accelerate(agree, *feeds)

    def _input_size(self, height: int, width: int) -> tuple[int, int]:
        if HEADS[self.layout.heads[0]].placement == "stretch":
            return self.size, self.size
        return input_size(height, width, self.size, self.layout.stride)

    def _detections(self, output: list[np.ndarray], scene: Scene, fit: Fit) -> Detections:
        """Detections of one image, from its outputs."""
        if len(self.layout.heads) > 1:
            self._decide(output, scene)
        head = HEADS[self.layout.heads[0]]
        boxes, scores = head.decode(output, self.layout.people, self.confidence, scene)
        if head.nms or len(self.layout.people) > 1:  # a head without NMS may find one person in two classes
            kept = nms(boxes, scores, self.iou)
            boxes, scores = boxes[kept], scores[kept]
        self.first.add(fit.height, fit.width, fit.unclipped(boxes), scores)
        boxes = fit.to_source(boxes)
        seen = (boxes[:, 2:] > boxes[:, :2]).all(1)  # a box that lies in the padding has no area in the source
        return Detections(boxes[seen], scores[seen].clip(0, 1))

    def _decide(self, output: list[np.ndarray], scene: Scene) -> None:
        """Keep the heads whose values fit, once there are values."""
        if not any(array.size for array in output):
            return
        likely = tuple(name for name in self.layout.heads if HEADS[name].likely(output, scene))
        if len(likely) != 1:
            raise ModelError(
                f"{self.session.path}: its boxes could be of {' or '.join(likely or self.layout.heads)}: say which with detector.head"
            )
        self.layout = replace(self.layout, heads=likely)
