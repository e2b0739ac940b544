"""The heads of object detectors in ONNX: how each is recognised, prepared for and decoded.

All functions take the outputs of one image, without the batch axis, and give boxes in pixels of the model's input. Sources of the formats
are named in ``docs/detector.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

HeadName = Literal[
    "yolov8", "yolov5", "yolov6", "yolox", "yolox-decoded", "end2end", "yolov7-nms", "yolo-nas", "yolo-nas-flat", "batched-nms",
    "rtdetr", "rtdetr-logits", "rtdetr-rows", "rtdetr-scores", "rf-detr", "rtmdet", "nanodet",
]  # fmt: skip
Colours = Literal["rgb", "rgb-imagenet", "bgr-255", "bgr-imagenet"]
Placement = Literal["centre", "corner", "stretch"]
Outputs = Sequence[np.ndarray]
People = Sequence[int]
Found = tuple[np.ndarray, np.ndarray]

GRIDS = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))  # strides of the feature maps
MAX_ROWS = 1000  # of a head without NMS that lists its best boxes
SEVEN = 7  # columns of rows that name their image
GFL_COLUMNS = 32  # of NanoDet: four distances in eight bins
COCO, COCO_91 = 80, 91  # classes, and classes as COCO numbers them: the person is 1
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Scene:
    """What decoding needs beside the outputs: input ``rows`` and ``columns`` in px; number of ``classes`` that the model names, or None;
    ``extra``: whether columns (masks, key points) follow the scores; ``names`` of the outputs; ``listed``: whether one list holds the rows of
    all images.
    """

    rows: int
    columns: int
    classes: int | None = None
    extra: bool = False
    names: tuple[str, ...] = ()
    listed: bool = False

    @property
    def sides(self) -> np.ndarray:
        return np.array([self.columns, self.rows] * 2, np.float32)

    @property
    def side(self) -> int:
        return max(self.rows, self.columns)


@dataclass(frozen=True)
class Head:
    """How a head is recognised by its shape (``fits``) and values (``likely``), and decoded; how images are prepared for it; whether its
    boxes still need ``nms``.

    ``decode(outputs, people, confidence, scene)`` gives (n, 4) x1, y1, x2, y2 in input pixels and (n,) scores of people, at least
    ``confidence``.
    """

    fits: Callable[[Outputs, Scene], bool]
    likely: Callable[[Outputs, Scene], bool]
    decode: Callable[[Outputs, People, float, Scene], Found]
    colours: Colours = "rgb"
    placement: Placement = "centre"
    nms: bool = True


def recognise(outputs: Outputs, scene: Scene) -> tuple[list[HeadName], list[HeadName]]:
    """Names of the heads whose shape fits, and of those whose values fit too."""
    possible = [name for name in HEADS if (name in LISTED) == scene.listed]
    fitting = [name for name in possible if HEADS[name].fits(outputs, scene)]
    return fitting, [name for name in fitting if HEADS[name].likely(outputs, scene)]


def of_each(outputs: Sequence[np.ndarray], batch: int) -> list[list[np.ndarray]]:
    """Outputs of a batch -> outputs of each image. Half precision becomes float32.

    Raises ValueError if an output has not one entry for each image.
    """
    plain = [array.astype(np.float32) if array.dtype in (np.float16, np.float64) else array for array in outputs]
    first = plain[0]
    if listed(plain):
        return [[first[first[:, 0].round() == image]] for image in range(batch)]
    if batch == 1 and len(plain) == 1 and first.ndim == 2 and first.shape[0] != 1:  # exported without the batch axis
        return [[first]]
    for array in plain:
        if array.ndim == 0 or array.shape[0] != batch:
            raise ValueError(f"{array.shape} has not one entry for each of {batch} images")
    return [[array[image] for array in plain] for image in range(batch)]


def listed(outputs: Sequence[np.ndarray]) -> bool:
    """Whether the only output is one list of rows, each with the number of its image."""
    return len(outputs) == 1 and outputs[0].ndim == 2 and outputs[0].shape[1] == SEVEN


# ---- shapes and values


def grid_of(cells: int, scene: Scene, each: int = 1) -> tuple[int, ...] | None:
    """Strides of the feature maps that have ``cells`` cells in all, ``each`` boxes a cell; None if no usual set has."""
    for strides in GRIDS:
        if each * sum(-(-scene.rows // stride) * -(-scene.columns // stride) for stride in strides) == cells:
            return strides
    return None


def cells_of(rows: int, columns: int, strides: Sequence[int] = (8, 16, 32)) -> tuple[np.ndarray, np.ndarray]:
    """(n, 2) x, y of each cell's corner, in cells, and (n, 1) strides in px, feature map after feature map."""
    cells, sizes = [], []
    for stride in strides:
        y, x = np.mgrid[: -(-rows // stride), : -(-columns // stride)]
        cells.append(np.stack([x.ravel(), y.ravel()], 1))
        sizes.append(np.full((y.size, 1), stride))
    return np.concatenate(cells).astype(np.float32), np.concatenate(sizes).astype(np.float32)


def dense(outputs: Outputs) -> np.ndarray | None:
    """The only (a, b) output (masks of a segmentation model may follow it), or None."""
    if not outputs or outputs[0].ndim != 2 or any(array.ndim < 3 for array in outputs[1:]):
        return None
    return outputs[0]


def upright(array: np.ndarray, scene: Scene) -> np.ndarray | None:
    """A (4 + classes, cells) array, whichever axis holds the cells; None if neither does."""
    for one in (array, array.T):
        if grid_of(one.shape[1], scene) and width_fits(one.shape[0], 4, scene):
            return one
    return None


def width_fits(width: int, before: int, scene: Scene) -> bool:
    """Whether ``before`` columns and one for each class are ``width`` columns."""
    if scene.classes is None:
        return width > before
    return width == before + scene.classes or (scene.extra and width > before + scene.classes)


def is_share(values: np.ndarray) -> bool:
    """Whether all values are finite and in 0..1."""
    return bool(np.isfinite(values).all() and (not values.size or (values.min() >= -TOLERANCE and values.max() <= 1 + TOLERANCE)))


def is_sparse(scores: np.ndarray) -> bool:
    """Whether (n, classes) scores are in 0..1 and most rows are low: a detector finds no object in most places."""
    return is_share(scores) and (not scores.size or float(np.median(scores.max(1))) < 0.5)


def in_pixels(boxes: np.ndarray, scene: Scene) -> bool:
    """Whether (n, 4) centres and sizes are pixels: finite, no negative size, and not all in one corner of the input."""
    return bool(np.isfinite(boxes).all() and boxes[:, 2:4].min() >= -1 and 0.1 * scene.side < np.abs(boxes).max() < 20 * scene.side)


def in_order(boxes: np.ndarray) -> bool:
    """Whether (n, 4) corners have x2 >= x1 and y2 >= y1, but for rounding."""
    return bool(np.isfinite(boxes).all() and (boxes[:, 2:4] >= boxes[:, :2] - 1).all())


def is_corners(boxes: np.ndarray, scene: Scene) -> bool:
    """Whether (n, 4) are corners in pixels. No box, or only empty ones, are too."""
    return in_order(boxes) and (not boxes.any() or 2 < np.abs(boxes).max() < 20 * scene.side)


def is_unit(boxes: np.ndarray) -> bool:
    """Whether (n, 4) boxes are shares of the input, and not all empty."""
    return bool(np.isfinite(boxes).all() and boxes.any() and np.abs(boxes).max() <= 1.5)


def is_class(values: np.ndarray, scene: Scene) -> bool:
    """Whether all values are indices of classes."""
    most = scene.classes or 10_000
    return bool(np.isfinite(values).all() and (values == np.round(values)).all() and (values >= -1).all() and (values < most).all())


# ---- decoding


def from_centres(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """(n, 2) centres and (n, 2) sizes -> (n, 4) corners."""
    return np.concatenate([centre - size / 2, centre + size / 2], 1)


def best(scores: np.ndarray, people: People) -> np.ndarray:
    """(classes, n) scores -> (n,) the best of the ``people`` classes."""
    return scores[people[0]] if len(people) == 1 else scores[list(people)].max(0)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(values, -80, 80)))


def yolov8(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(4 + classes, cells): centre and size in pixels, scores."""
    array = upright(outputs[0], scene)
    assert array is not None  # as recognised
    scores = best(array[4:], people)
    keep = np.flatnonzero(scores >= confidence)
    return from_centres(array[:2, keep].T, array[2:4, keep].T), scores[keep]


def objectness(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(boxes, 5 + classes): centre and size in pixels, objectness, scores given an object."""
    array = outputs[0]
    scores = array[:, 4] * best(array[:, 5:].T, people)
    keep = np.flatnonzero(scores >= confidence)
    return from_centres(array[keep, :2], array[keep, 2:4]), scores[keep]


def yolox(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(cells, 5 + classes): centre from the cell's corner and logarithm of the size, in strides; objectness, scores given an object."""
    array = outputs[0]
    scores = array[:, 4] * best(array[:, 5:].T, people)
    keep = np.flatnonzero(scores >= confidence)
    cells, strides = cells_of(scene.rows, scene.columns, grid_of(len(array), scene) or (8, 16, 32))
    return from_centres((array[keep, :2] + cells[keep]) * strides[keep], np.exp(array[keep, 2:4]) * strides[keep]), scores[keep]


def chosen(boxes: np.ndarray, scores: np.ndarray, classes: np.ndarray, people: People, confidence: float) -> Found:
    """Rows of people, of (n, 4) boxes, (n,) scores and (n,) classes."""
    keep = (scores >= confidence) & np.isin(classes.round(), people)
    return boxes[keep], scores[keep]


def end2end(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(n, 6): corners in pixels, score, class."""
    array = outputs[0]
    return chosen(array[:, :4], array[:, 4], array[:, 5], people, confidence)


def yolov7_nms(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(n, 7): image, corners in pixels, class, score."""
    array = outputs[0]
    return chosen(array[:, 1:5], array[:, 6], array[:, 5], people, confidence)


def yolo_nas_flat(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(n, 7): image, corners in pixels, score, class."""
    array = outputs[0]
    return chosen(array[:, 1:5], array[:, 5], array[:, 6], people, confidence)


def boxes_and_rest(outputs: Outputs, scene: Scene) -> tuple[np.ndarray, np.ndarray] | None:
    """The (n, 4) boxes and the (n, classes) scores of two outputs in either order, or None."""
    if len(outputs) != 2 or any(array.ndim != 2 for array in outputs) or len(outputs[0]) != len(outputs[1]):
        return None
    order = [at for at in (0, 1) if outputs[at].shape[1] == 4]
    order.sort(key=lambda at: "box" not in (scene.names[at].lower() if at < len(scene.names) else ""))
    if not order or not width_fits(outputs[1 - order[0]].shape[1], 0, scene):
        return None
    return outputs[order[0]], outputs[1 - order[0]]


def yolo_nas(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(n, 4) corners in pixels and (n, classes) scores."""
    boxes, scores = boxes_and_rest(outputs, scene) or (outputs[0], outputs[1])
    one = best(scores.T, people)
    keep = np.flatnonzero(one >= confidence)
    return boxes[keep], one[keep]


def detr(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(n, 4) centres and sizes as shares of the input, and (n, classes) logits."""
    boxes, logits = boxes_and_rest(outputs, scene) or (outputs[0], outputs[1])
    scores = sigmoid(best(logits.T, people))
    keep = np.flatnonzero(scores >= confidence)
    boxes = boxes[keep] * scene.sides
    return from_centres(boxes[:, :2], boxes[:, 2:]), scores[keep]


def rtdetr_scores(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(n, 4 + classes): centre and size as shares of the input, scores."""
    array = outputs[0]
    scores = best(array[:, 4:].T, people)
    keep = np.flatnonzero(scores >= confidence)
    boxes = array[keep, :4] * scene.sides
    return from_centres(boxes[:, :2], boxes[:, 2:]), scores[keep]


def rtdetr_rows(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(n, 6): centre and size as shares of the input, score, class."""
    array = outputs[0]
    boxes, scores = chosen(array[:, :4] * scene.sides, array[:, 4], array[:, 5], people, confidence)
    return from_centres(boxes[:, :2], boxes[:, 2:]), scores


def columns_of(outputs: Outputs, scene: Scene) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """The (n, 4) boxes, (n,) scores and (n,) classes of three outputs in any order, told by shape, name and type; or None."""
    boxes = [array for array in outputs if array.ndim == 2 and array.shape[1] == 4]
    rows = [(name, array) for name, array in zip(scene.names or [""] * len(outputs), outputs, strict=True) if array.ndim == 1]
    if len(outputs) != 3 or len(boxes) != 1 or len(rows) != 2 or any(len(array) != len(boxes[0]) for _, array in rows):
        return None
    (first, one), (second, two) = ((name.lower(), array) for name, array in rows)
    if one.dtype.kind in "iu" or "label" in first or "class" in first or "score" in second:
        return boxes[0], two, one
    return boxes[0], one, two


def rtdetr(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(n,) classes, (n, 4) corners in pixels or as shares of the input, (n,) scores."""
    columns = columns_of(outputs, scene)
    assert columns is not None  # as recognised
    boxes, scores, classes = columns
    return chosen(boxes * scene.sides if is_unit(boxes) else boxes, scores, classes, people, confidence)


def batched_nms(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """A count, (n, 4) corners in pixels, (n,) scores, (n,) classes; rows beyond the count are padding."""
    columns = columns_of(outputs[1:], rest(scene))
    assert columns is not None  # as recognised
    count = int(outputs[0].ravel()[0])
    boxes, scores, classes = (array[:count] for array in columns)
    return chosen(boxes, scores, classes, people, confidence)


def rest(scene: Scene) -> Scene:
    return Scene(scene.rows, scene.columns, scene.classes, scene.extra, scene.names[1:], scene.listed)


def dets_and_labels(outputs: Outputs) -> tuple[np.ndarray, np.ndarray] | None:
    """(n, 5) corners with scores and (n,) classes, in either order; or None."""
    dets = [array for array in outputs if array.ndim == 2 and array.shape[1] == 5]
    labels = [array for array in outputs if array.ndim == 1]
    return (dets[0], labels[0]) if len(outputs) == 2 and dets and labels and len(dets[0]) == len(labels[0]) else None


def rtmdet(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(n, 5) corners in pixels with scores, and (n,) classes."""
    dets, labels = dets_and_labels(outputs) or (outputs[0], outputs[1])
    return chosen(dets[:, :4], dets[:, 4], labels, people, confidence)


def nanodet(outputs: Outputs, people: People, confidence: float, scene: Scene) -> Found:
    """(cells, classes + 32): scores, then left, top, right and bottom distances from the cell, each a distribution over 0..7 strides.

    Generalized Focal Loss, https://arxiv.org/abs/2006.04388. NanoDet-Plus (four feature maps) measures from the cell's corner, NanoDet
    (three) from its centre.
    """
    array = outputs[0]
    strides = grid_of(len(array), scene) or (8, 16, 32, 64)
    cells, sizes = cells_of(scene.rows, scene.columns, strides)
    scores = best(array[:, :-GFL_COLUMNS].T, people)
    keep = np.flatnonzero(scores >= confidence)
    logits = array[keep, -GFL_COLUMNS:].reshape(-1, 4, GFL_COLUMNS // 4)
    weights = np.exp(logits - logits.max(2, keepdims=True))
    distances = (weights / weights.sum(2, keepdims=True)) @ np.arange(GFL_COLUMNS // 4, dtype=np.float32) * sizes[keep]
    at = (cells[keep] + (0.5 if len(strides) == 3 else 0)) * sizes[keep]
    return np.concatenate([at - distances[:, :2], at + distances[:, 2:]], 1).astype(np.float32), scores[keep]


# ---- recognition


def _yolov8_fits(outputs: Outputs, scene: Scene) -> bool:
    array = dense(outputs)
    return array is not None and upright(array, scene) is not None


def _yolov8_likely(outputs: Outputs, scene: Scene) -> bool:
    array = upright(outputs[0], scene)
    if array is None or not in_pixels(array[:4].T, scene):
        return False
    classes = scene.classes or (array.shape[0] - 4)
    return is_sparse(array[4 : 4 + classes].T) and not (scene.classes is None and array.shape[0] == 5 + COCO)


def _rows_fit(outputs: Outputs, scene: Scene, each: int) -> bool:
    array = dense(outputs)
    return array is not None and grid_of(len(array), scene, each) is not None and width_fits(array.shape[1], 5, scene)


def _shares_follow(array: np.ndarray, scene: Scene) -> bool:
    """Whether objectness and scores are in 0..1, and the scores are high where the objectness is (a product of the two means something)."""
    last = None if scene.classes is None else 5 + scene.classes
    if not is_share(array[:, 4:last]) or (scene.classes is None and array.shape[1] == 4 + COCO):
        return False
    top = int(array[:, 4].argmax())
    return bool(array[top, 4] < 0.25 or array[array[:, 4] >= 0.9 * array[top, 4], 5:last].max() >= 0.25)


def _yolov5_likely(outputs: Outputs, scene: Scene) -> bool:
    return in_pixels(outputs[0][:, :4], scene) and is_share(outputs[0][:, 4 : None if scene.classes is None else 5 + scene.classes])


def _constant_objectness(array: np.ndarray) -> bool:
    return bool((np.abs(array[:, 4] - 1) < TOLERANCE).all())


def _yolov6_likely(outputs: Outputs, scene: Scene) -> bool:
    return in_pixels(outputs[0][:, :4], scene) and _constant_objectness(outputs[0]) and is_sparse(outputs[0][:, 5:])


def _yolox_decoded_likely(outputs: Outputs, scene: Scene) -> bool:
    return in_pixels(outputs[0][:, :4], scene) and not _constant_objectness(outputs[0]) and _shares_follow(outputs[0], scene)


def _yolox_likely(outputs: Outputs, scene: Scene) -> bool:
    boxes = outputs[0][:, :4]
    small = np.isfinite(boxes).all() and np.abs(boxes).max() < 64 and not in_pixels(boxes, scene)
    return bool(small) and _shares_follow(outputs[0], scene)


def _end2end_fits(outputs: Outputs, scene: Scene) -> bool:
    array = dense(outputs)
    return array is not None and len(array) <= MAX_ROWS and (array.shape[1] == 6 or (scene.extra and array.shape[1] > 6))


def _end2end_likely(outputs: Outputs, scene: Scene) -> bool:
    array = outputs[0]
    return is_share(array[:, 4]) and is_class(array[:, 5], scene) and is_corners(array[:, :4], scene)


def _seven_fits(outputs: Outputs, scene: Scene) -> bool:
    return scene.listed


def _seven_likely(outputs: Outputs, scene: Scene, score: int, category: int) -> bool:
    array = outputs[0]
    return is_share(array[:, score]) and is_class(array[:, category], scene) and is_corners(array[:, 1:5], scene)


def _rtdetr_scores_fits(outputs: Outputs, scene: Scene) -> bool:
    array = dense(outputs)
    if array is None or len(array) > MAX_ROWS or grid_of(len(array), scene) or grid_of(array.shape[1], scene):
        return False
    return width_fits(array.shape[1], 4, scene)


def _rtdetr_scores_likely(outputs: Outputs, scene: Scene) -> bool:
    array = outputs[0]
    if array.shape[1] == 6 and is_class(array[:, 5], scene):  # a column of classes, not of scores
        return False
    return is_unit(array[:, :4]) and is_share(array[:, 4:])


def _rtdetr_rows_likely(outputs: Outputs, scene: Scene) -> bool:
    """Of centres and sizes some are no corners; shares that all are could be either, and are refused."""
    array = outputs[0]
    if array.shape[1] != 6 or not is_unit(array[:, :4]) or bool((array[:, 2:4] >= array[:, :2]).all()):
        return False
    return is_share(array[:, 4]) and is_class(array[:, 5], scene)


def _two_fit(outputs: Outputs, scene: Scene) -> bool:
    return boxes_and_rest(outputs, scene) is not None


def _yolo_nas_likely(outputs: Outputs, scene: Scene) -> bool:
    found = boxes_and_rest(outputs, scene)
    return found is not None and bool(found[0].any()) and is_corners(found[0], scene) and is_share(found[1])


def _detr_likely(outputs: Outputs, scene: Scene, named: bool) -> bool:
    """Logits, some of them negative, and boxes as shares; RF-DETR's outputs have its names (``named``), no other's have."""
    found = boxes_and_rest(outputs, scene)
    own = {name.lower() for name in scene.names} == {"dets", "labels"}
    return own == named and found is not None and is_unit(found[0]) and bool(np.isfinite(found[1]).all()) and float(found[1].min()) < 0


def _three_fit(outputs: Outputs, scene: Scene) -> bool:
    return columns_of(outputs, scene) is not None


def _three_likely(outputs: Outputs, scene: Scene) -> bool:
    columns = columns_of(outputs, scene)
    return columns is not None and in_order(columns[0]) and is_share(columns[1]) and is_class(columns[2], scene)


def _four_fit(outputs: Outputs, scene: Scene) -> bool:
    return len(outputs) == 4 and outputs[0].size == 1 and columns_of(outputs[1:], rest(scene)) is not None


def _four_likely(outputs: Outputs, scene: Scene) -> bool:
    count = int(outputs[0].ravel()[0])
    columns = columns_of(outputs[1:], rest(scene))
    if columns is None or not 0 <= count <= len(columns[0]):
        return False
    boxes, scores, classes = (array[:count] for array in columns)
    return is_corners(boxes, scene) and is_share(scores) and is_class(classes, scene)


def _dets_fit(outputs: Outputs, scene: Scene) -> bool:
    return dets_and_labels(outputs) is not None


def _dets_likely(outputs: Outputs, scene: Scene) -> bool:
    found = dets_and_labels(outputs)
    return found is not None and is_corners(found[0][:, :4], scene) and is_share(found[0][:, 4]) and is_class(found[1], scene)


def _nanodet_fits(outputs: Outputs, scene: Scene) -> bool:
    array = dense(outputs)
    return array is not None and grid_of(len(array), scene) is not None and width_fits(array.shape[1], GFL_COLUMNS, scene)


def _nanodet_likely(outputs: Outputs, scene: Scene) -> bool:
    scores, bins = outputs[0][:, :-GFL_COLUMNS], outputs[0][:, -GFL_COLUMNS:]
    return is_sparse(scores) and bool(np.isfinite(bins).all()) and not is_share(bins)


HEADS: dict[HeadName, Head] = {
    "yolov8": Head(_yolov8_fits, _yolov8_likely, yolov8),
    "yolov5": Head(lambda outputs, scene: _rows_fit(outputs, scene, 3), _yolov5_likely, objectness),
    "yolov6": Head(lambda outputs, scene: _rows_fit(outputs, scene, 1), _yolov6_likely, objectness),
    "yolox": Head(lambda outputs, scene: _rows_fit(outputs, scene, 1), _yolox_likely, yolox, "bgr-255", "corner"),
    "yolox-decoded": Head(lambda outputs, scene: _rows_fit(outputs, scene, 1), _yolox_decoded_likely, objectness, "bgr-255", "corner"),
    "end2end": Head(_end2end_fits, _end2end_likely, end2end, nms=False),
    "yolov7-nms": Head(_seven_fits, lambda outputs, scene: _seven_likely(outputs, scene, 6, 5), yolov7_nms, nms=False),
    "yolo-nas": Head(_two_fit, _yolo_nas_likely, yolo_nas),
    "yolo-nas-flat": Head(_seven_fits, lambda outputs, scene: _seven_likely(outputs, scene, 5, 6), yolo_nas_flat, nms=False),
    "batched-nms": Head(_four_fit, _four_likely, batched_nms, nms=False),
    "rtdetr": Head(_three_fit, _three_likely, rtdetr, placement="stretch", nms=False),
    "rtdetr-logits": Head(_two_fit, lambda outputs, scene: _detr_likely(outputs, scene, False), detr, placement="stretch", nms=False),
    "rtdetr-rows": Head(_end2end_fits, _rtdetr_rows_likely, rtdetr_rows, placement="stretch", nms=False),
    "rtdetr-scores": Head(_rtdetr_scores_fits, _rtdetr_scores_likely, rtdetr_scores, placement="stretch", nms=False),
    "rf-detr": Head(_two_fit, lambda outputs, scene: _detr_likely(outputs, scene, True), detr, "rgb-imagenet", "stretch", nms=False),
    "rtmdet": Head(_dets_fit, _dets_likely, rtmdet, "bgr-imagenet", "corner", nms=False),
    "nanodet": Head(_nanodet_fits, _nanodet_likely, nanodet, "bgr-imagenet", "stretch"),
}  # fmt: skip
LISTED: tuple[HeadName, ...] = ("yolov7-nms", "yolo-nas-flat")  # one list of rows for all images
