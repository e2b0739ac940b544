"""Heads of other people's detectors: known boxes of synthetic models come back in pixels of the picture, whatever the format."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, get_args

import cv2
import numpy as np
import pytest
from clips import write_clip
from hypothesis import given, settings
from hypothesis import strategies as st

import pipeline
from detectors import load_detector
from detectors.first_frames import PICTURES, FirstFrames
from detectors.heads import HEADS, HeadName, Scene, cells_of, listed, of_each, recognise
from detectors.load import DetectorSettings
from detectors.metadata import read_metadata
from detectors.onnx import OnnxDetector
from detectors.person_class import person_classes
from detectors.preparation import to_input
from detectors.runtime.errors import ModelError
from pipeline.config import load_config

onnx = pytest.importorskip("onnx", reason="synthetic models need onnx, of the extra [train]")

ROWS, COLUMNS = 256, 320
PICTURE = np.full((600, 1000, 3), 90, np.uint8)
BOXES = np.array([[100, 150, 220, 450], [640, 80, 760, 400.0]])  # in pixels of the picture
SCORES = np.array([0.9, 0.7])
KINDS = {np.dtype(np.float32): 1, np.dtype(np.uint8): 2, np.dtype(np.int32): 6, np.dtype(np.int64): 7, np.dtype(np.float16): 10}


def model(
    path: Path,
    *outputs: np.ndarray,
    names: tuple[str, ...] = (),
    metadata: dict[str, str] | None = None,
    shape: tuple[Any, ...] = (1, 3, ROWS, COLUMNS),
    kind: Any = np.float32,
    sized: bool = False,
    gain: int | None = None,
    repeat: bool = False,
) -> str:
    """A model that gives ``outputs`` whatever the picture; with ``sized``, output ``gain`` is multiplied by the size that it takes;
    with ``repeat``, all outputs are repeated for each image of a batch of any size."""
    helper, numpy_helper = onnx.helper, onnx.numpy_helper
    inputs = [helper.make_tensor_value_info("images", KINDS[np.dtype(kind)], shape)]
    nodes, given = [], [numpy_helper.from_array(np.array(0, np.int64), "zero")]
    nodes += [helper.make_node("Shape", ["images"], ["shape"]), helper.make_node("Gather", ["shape", "zero"], ["batch"])]
    if sized:
        inputs.append(helper.make_tensor_value_info("orig_target_sizes", KINDS[np.dtype(np.int64)], ("n", 2)))
        nodes.append(helper.make_node("Cast", ["orig_target_sizes"], ["floats"], to=1))
        nodes.append(helper.make_node("Concat", ["floats", "floats"], ["sides"], axis=1))
    told = []
    for at, array in enumerate(outputs):
        name = names[at] if names else f"output{at}"
        given.append(numpy_helper.from_array(array, f"known{at}"))
        last = f"known{at}"
        if repeat:
            given.append(numpy_helper.from_array(np.ones(array.ndim - 1, np.int64), f"ones{at}"))
            nodes.append(helper.make_node("Unsqueeze", ["batch", "axis"], [f"first{at}"]))
            nodes.append(helper.make_node("Concat", [f"first{at}", f"ones{at}"], [f"times{at}"], axis=0))
            nodes.append(helper.make_node("Tile", [last, f"times{at}"], [f"tiled{at}"]))
            last = f"tiled{at}"
        nodes.append(helper.make_node("Mul", [last, "sides"], [name]) if gain == at else helper.make_node("Identity", [last], [name]))
        told.append(helper.make_tensor_value_info(name, KINDS[array.dtype], [None] * array.ndim))
    given.append(numpy_helper.from_array(np.array([0], np.int64), "axis"))
    made = helper.make_model(helper.make_graph(nodes, "head", inputs, told, given), opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    helper.set_model_props(made, metadata or {})
    onnx.save(made, path)
    return str(path)


def placed(placement: str) -> np.ndarray:
    """``BOXES`` in pixels of the input."""
    height, width = PICTURE.shape[:2]
    if placement == "stretch":
        return BOXES * ([COLUMNS / width, ROWS / height] * 2)
    scale = min(ROWS / height, COLUMNS / width)
    h, w = round(height * scale), round(width * scale)
    left, top = ((COLUMNS - w) // 2, (ROWS - h) // 2) if placement == "centre" else (0, 0)
    return BOXES * scale + [left, top] * 2


def centred(corners: np.ndarray) -> np.ndarray:
    return np.c_[(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]]


def classes(count: int, person: int = 0) -> np.ndarray:
    """(2, count) scores: the person is ``person``, and another class is unlikely."""
    scores = np.full((2, count), 0.02)
    scores[:, person] = SCORES
    return scores


def rows_at(n: int, width: int, at: list[int], rows: np.ndarray, fill: float = 0.0) -> np.ndarray:
    out = np.full((n, width), fill, np.float32)
    out[at] = rows
    return out


CELLS = sum((ROWS // s) * (COLUMNS // s) for s in (8, 16, 32))
CELLS_64 = CELLS + (ROWS // 64) * (COLUMNS // 64)


def v8(count: int = 80, person: int = 0, n: int = CELLS) -> np.ndarray:
    return rows_at(n, 4 + count, [70, 900], np.c_[centred(placed("centre")), classes(count, person)]).T[None]


def yolox_raw() -> np.ndarray:
    cells, strides = cells_of(ROWS, COLUMNS)
    boxes, at = centred(placed("corner")), [300, CELLS - 9]
    offsets, sizes = boxes[:, :2] / strides[at] - cells[at], np.log(boxes[:, 2:] / strides[at])
    return rows_at(CELLS, 85, at, np.c_[offsets, sizes, SCORES, np.ones(2), np.zeros((2, 79))])[None]


def obj_rows(n: int, placement: str, objectness: float = 0.0) -> np.ndarray:
    out = rows_at(n, 85, [70, 900], np.c_[centred(placed(placement)), SCORES, np.ones(2), np.zeros((2, 79))])
    if objectness:
        out[:, 4] = objectness
        out[[70, 900], 5] = SCORES
    return out[None]


def gfl(strides: tuple[int, ...], offset: float) -> np.ndarray:
    cells, sizes = cells_of(ROWS, COLUMNS, strides)
    boxes = placed("stretch")
    centres = (cells + offset) * sizes
    out = np.zeros((len(cells), 80 + 32), np.float32)
    out[:, 80:] = np.tile([3, -3, 0, 0, 0, 0, 0, 0], 4)
    for box, score in zip(boxes, SCORES, strict=True):  # a cell whose distances are under seven strides: of the greatest that holds it
        middle = (box[:2] + box[2:]) / 2
        far = np.abs(centres - middle).sum(1) + np.where(sizes[:, 0] == 32, 0, 1e6)
        at = int(far.argmin())
        distances = np.r_[centres[at] - box[:2], box[2:] - centres[at]] / sizes[at]
        logits = np.full((4, 8), -30.0)
        for side, distance in enumerate(distances):
            low = int(np.clip(np.floor(distance), 0, 6))
            logits[side, low], logits[side, low + 1] = np.log(max(1 - (distance - low), 1e-9)), np.log(max(distance - low, 1e-9))
        out[at, 0], out[at, 80:] = score, logits.ravel()
    return out[None]


def best_300(rows: np.ndarray, width: int) -> np.ndarray:
    return rows_at(300, width, [0, 1], rows)[None]


def share(placement: str = "stretch") -> np.ndarray:
    return centred(placed(placement)) / [COLUMNS, ROWS, COLUMNS, ROWS]


def listed_rows(image: int, score_last: bool) -> np.ndarray:
    last = np.c_[np.zeros(2), SCORES] if score_last else np.c_[SCORES, np.zeros(2)]
    return np.c_[np.full(2, image), placed("centre"), last].astype(np.float32)


def detr_rows(n: int = 300) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    labels, scores = np.full((1, n), 5, np.int64), np.full((1, n), 0.01, np.float32)
    labels[0, :2], scores[0, :2] = 0, SCORES
    return labels, best_300(placed("stretch"), 4), scores


def logits_of(width: int, person: int) -> np.ndarray:
    out = np.full((1, 300, width), -6.0, np.float32)
    out[0, :2, person] = np.log(SCORES / (1 - SCORES))
    return out


def heads() -> dict[str, tuple[HeadName, tuple[np.ndarray, ...], dict[str, Any]]]:
    """By what it is: the head that it is recognised as, its outputs, and more about the model."""
    labels, boxes, scores = detr_rows()
    corners = placed("stretch") / ([COLUMNS, ROWS] * 2)
    ends = np.c_[placed("centre"), SCORES, np.zeros(2)]
    return {
        "v8 to v12, COCO": ("yolov8", (v8(),), {}),
        "v8, one class": ("yolov8", (v8(1),), {}),
        "v8, two classes, no names": ("yolov8", (v8(2),), {}),
        "v8, its axes exchanged": ("yolov8", (v8(2).transpose(0, 2, 1),), {"metadata": {"names": "{0: 'person', 1: 'car'}"}}),
        "v8, its axes exchanged, no names": ("yolov8", (v8(2).transpose(0, 2, 1),), {}),
        "v8, the person is the second": ("yolov8", (v8(2, 1),), {"metadata": {"names": "['car', 'person']"}}),
        "v8 for segmentation": (
            "yolov8",
            (np.concatenate([v8(2), np.ones((1, 32, CELLS), np.float32)], 1), np.zeros((1, 32, 64, 80), np.float32)),
            {"metadata": {"names": "{0: 'person', 1: 'car'}", "task": "segment"}},
        ),
        "v8 with a fourth feature map": ("yolov8", (v8(n=CELLS_64),), {}),
        "v5 and v7, raw": ("yolov5", (obj_rows(3 * CELLS, "centre"),), {}),
        "v6": ("yolov6", (obj_rows(CELLS, "centre", 1.0),), {}),
        "YOLOX, raw": ("yolox", (yolox_raw(),), {}),
        "YOLOX, decoded": ("yolox-decoded", (obj_rows(CELLS, "corner"),), {}),
        "v10, 26 and NMS by ultralytics": ("end2end", (best_300(ends, 6),), {}),
        "end to end, no batch axis": ("end2end", (best_300(ends, 6)[0],), {}),
        "v7 with NMS": ("yolov7-nms", (listed_rows(0, True),), {}),
        "YOLO-NAS": ("yolo-nas", (rows_at(CELLS, 4, [70, 900], placed("centre"))[None], v8()[:, 4:].transpose(0, 2, 1).copy()), {}),
        "YOLO-NAS, scores first": (
            "yolo-nas",
            (v8()[:, 4:].transpose(0, 2, 1).copy(), rows_at(CELLS, 4, [70, 900], placed("centre"))[None]),
            {},
        ),
        "YOLO-NAS, flat": ("yolo-nas-flat", (listed_rows(0, False),), {"kind": np.uint8}),
        "counted rows": (
            "batched-nms",
            (np.array([[2]], np.int32), best_300(placed("centre"), 4), np.pad(SCORES, (0, 298))[None].astype(np.float32), labels.astype(np.int32)),
            {"names": ("num_dets", "det_boxes", "det_scores", "det_classes")},
        ),
        "RT-DETR and D-FINE with sizes": (
            "rtdetr",
            (labels, best_300(corners, 4), scores),
            {"names": ("labels", "boxes", "scores"), "sized": True, "gain": 1},
        ),
        "RT-DETR in pixels": ("rtdetr", (labels, boxes, scores), {"names": ("labels", "boxes", "scores")}),
        "RT-DETR in shares": ("rtdetr", (scores, best_300(corners, 4), labels), {"names": ("scores", "boxes", "labels")}),
        "RT-DETR, logits": ("rtdetr-logits", (logits_of(80, 0), best_300(share(), 4)), {"names": ("logits", "pred_boxes")}),
        "RT-DETR by ultralytics": ("rtdetr-rows", (best_300(np.c_[share(), SCORES, np.zeros(2)], 6),), {}),
        "RT-DETR by older ultralytics": ("rtdetr-scores", (best_300(np.c_[share(), classes(80)], 84),), {}),
        "RT-DETR by older ultralytics, two classes": ("rtdetr-scores", (best_300(np.c_[share(), classes(2)], 6),), {}),
        "RF-DETR": ("rf-detr", (best_300(share(), 4), logits_of(91, 1)), {"names": ("dets", "labels")}),
        "RTMDet": (
            "rtmdet",
            (np.pad(np.c_[placed("corner"), SCORES], ((0, 98), (0, 0)))[None].astype(np.float32), labels[:, :100]),
            {"names": ("dets", "labels")},
        ),
        "NanoDet-Plus": ("nanodet", (gfl((8, 16, 32, 64), 0),), {}),
        "NanoDet": ("nanodet", (gfl((8, 16, 32), 0.5),), {}),
    }  # fmt: skip


def opened(path: str, **changes: Any) -> OnnxDetector:
    detector = load_detector(path, DetectorSettings(device="cpu", confidence=0.3, **changes))
    assert isinstance(detector, OnnxDetector)
    return detector


def assert_found(detector: OnnxDetector, pictures: int = 1) -> None:
    for found in detector.detect([PICTURE] * pictures):
        order = np.argsort(-found.scores)
        np.testing.assert_allclose(found.boxes[order], BOXES, atol=1)
        np.testing.assert_allclose(found.scores[order], SCORES, atol=2e-3)


@pytest.mark.parametrize("what", heads())
def test_known_boxes_come_back(tmp_path, what):
    head, outputs, more = heads()[what]
    path = model(tmp_path / "m.onnx", *outputs, **more)
    detector = opened(path)
    assert detector.layout.heads == (head,)
    assert_found(detector)
    assert_found(opened(path, head=head))


def test_every_head_has_a_name_and_a_test():
    assert set(get_args(HeadName)) == set(HEADS) == {head for head, _, _ in heads().values()}


@pytest.mark.parametrize("what", heads())
def test_a_head_is_no_other_head(what):
    """By shape and values exactly one head is left."""
    head, outputs, more = heads()[what]
    named = more.get("names", tuple(f"output{at}" for at in range(len(outputs))))
    metadata = read_metadata(more.get("metadata", {}))
    scene = Scene(ROWS, COLUMNS, metadata.names and len(metadata.names), metadata.task == "segment", named, listed(outputs))
    assert recognise(of_each(outputs, 1)[0], scene)[1] == [head]


@settings(max_examples=300, deadline=None)
@given(
    shapes=st.lists(
        st.lists(st.sampled_from([0, 1, 2, 4, 5, 6, 7, 37, 84, 85, 112, 300, CELLS, 3 * CELLS]), max_size=3), min_size=1, max_size=4
    ),
    scale=st.sampled_from([0.0, 0.5, 1.0, 300.0, np.nan, np.inf]),
    known=st.sampled_from([None, 1, 2, 80]),
    whole=st.booleans(),
    extra=st.booleans(),
)
def test_whatever_a_model_gives_is_read_or_refused(shapes, scale, known, whole, extra):
    """Recognition never fails, and what is recognised can be decoded."""
    shapes = [shape if np.prod(shape, dtype=float) < 1e6 else shape[:1] for shape in shapes]
    rng = np.random.default_rng(0)
    with np.errstate(all="ignore"):
        outputs = [(rng.random([1, *shape]).round() if whole else rng.random([1, *shape])) * np.float32(scale) for shape in shapes]
        scene = Scene(ROWS, COLUMNS, known, extra, tuple(f"output{at}" for at in range(len(outputs))), listed(outputs))
        each = of_each(outputs, 1)[0]
        _, likely = recognise(each, scene)
        for name in likely:
            boxes, scores = HEADS[name].decode(each, [0], 0.3, scene)
            assert boxes.shape == (len(scores), 4)


def test_half_precision_is_cast(tmp_path):
    assert_found(opened(model(tmp_path / "m.onnx", v8(1).astype(np.float16), kind=np.float16)))


def test_channels_last_are_exchanged(tmp_path):
    assert_found(opened(model(tmp_path / "m.onnx", v8(1), shape=(1, ROWS, COLUMNS, 3))))
    batch = to_input([np.arange(24, dtype=np.uint8).reshape(2, 4, 3)], "bgr-255", np.float32, channels_last=True)
    assert batch.shape == (1, 2, 4, 3)
    assert batch[0, 1, 0].tolist() == [12, 13, 14]


def test_colours_and_ranges():
    picture = np.zeros((2, 2, 3), np.uint8)
    picture[..., 2] = 255  # red
    assert to_input([picture])[0, :, 0, 0].tolist() == [1, 0, 0]
    assert to_input([picture], "bgr-255")[0, :, 0, 0].tolist() == [0, 0, 255]
    np.testing.assert_allclose(
        to_input([picture], "rgb-imagenet")[0, :, 0, 0], [(1 - 0.485) / 0.229, -0.456 / 0.224, -0.406 / 0.225], atol=1e-3
    )
    np.testing.assert_allclose(to_input([picture], "bgr-imagenet")[0, 2, 0, 0], (255 - 123.675) / 58.395, atol=1e-3)
    assert to_input([picture], "rgb", np.uint8)[0, :, 0, 0].tolist() == [255, 0, 0]
    assert to_input([picture], "rgb", np.float16).dtype == np.float16


@pytest.mark.parametrize("pictures", [1, 2, 3, 5])
@pytest.mark.parametrize("batch", [2, "n"])
def test_fixed_and_free_batches(tmp_path, pictures, batch):
    path = model(tmp_path / "m.onnx", v8(1), shape=(batch, 3, ROWS, COLUMNS), repeat=True)
    detector = opened(path)
    assert len(detector.detect([PICTURE] * pictures)) == pictures
    assert_found(detector, pictures)


def test_rows_of_a_batch_go_to_their_images(tmp_path):
    outputs = np.concatenate([listed_rows(1, True), listed_rows(0, True)[:1]])
    detector = opened(model(tmp_path / "m.onnx", outputs, shape=(2, 3, ROWS, COLUMNS)))
    first, second = detector.detect([PICTURE, PICTURE])
    assert (len(first), len(second)) == (1, 2)


def test_a_list_that_is_empty_at_first_is_decided_later(tmp_path):
    """v7 with NMS and YOLO-NAS differ by values alone, and a first picture may have none."""
    detector = opened(model(tmp_path / "m.onnx", np.zeros((0, 7), np.float32)))
    assert detector.layout.heads == ("yolov7-nms", "yolo-nas-flat")
    assert len(detector.detect([PICTURE])[0]) == 0
    later = opened(model(tmp_path / "n.onnx", listed_rows(0, False)))
    detector.session = later.session
    assert_found(detector)
    assert detector.layout.heads == ("yolo-nas-flat",)
    undecided = opened(model(tmp_path / "m.onnx", np.zeros((0, 7), np.float32)))
    sure = listed_rows(0, False)
    sure[:, 5] = 1  # score and class are both whole numbers in 0..1
    undecided.session = opened(model(tmp_path / "o.onnx", sure), head="yolo-nas-flat").session
    with pytest.raises(ModelError, match=r"yolov7-nms or yolo-nas-flat: say which with detector\.head"):
        undecided.detect([PICTURE])


@pytest.mark.parametrize(
    ("outputs", "metadata", "message"),
    [
        ((np.zeros((1, 1000), np.float32),), {}, r"output \(1, 1000\) is not a known head; known heads: yolov8, "),
        ((v8(80),), {"names": "{0: 'person', 1: 'car'}"}, r"\(1, 84, 1680\) is not a known head with the 2 classes of its metadata"),
        ((v8(2) * 0 + 7,), {}, r"has the shape of yolov8 but not the values"),
        ((v8(2) * np.nan,), {}, r"has the shape of yolov8 but not the values"),
        ((v8(1) * 0,), {}, r"has the shape of yolov8 but not the values"),
        ((best_300(np.c_[placed("centre"), SCORES, np.full(2, 0.5)], 6),), {}, "not the values"),
        ((best_300(np.c_[placed("centre") / ([COLUMNS, ROWS] * 2), SCORES, np.zeros(2)], 6),), {}, "not the values"),  # corners as shares
        (tuple(np.zeros((1, 3, s, s, 85), np.float32) for s in (32, 16, 8)), {}, r"\(1, 3, 32, 32, 85\), .* is not a known head"),
        ((obj_rows(CELLS, "corner")[..., :6],), {}, r"could be of yolov8 or yolox-decoded: say which with detector\.head"),
        ((v8(1),), {"task": "obb", "names": "{0: 'person'}"}, "task is 'obb'"),
        ((v8(1),), {"names": "{0: 'cat'}"}, r"none of its classes is a person \(0: cat\); choose some with detector\.classes"),
    ],
)
def test_what_is_refused_says_what_it_is(tmp_path, outputs, metadata, message):
    with pytest.raises(ModelError, match=message):
        opened(model(tmp_path / "m.onnx", *outputs, metadata=metadata))


def test_inputs_that_are_not_images_are_refused(tmp_path):
    with pytest.raises(ModelError, match=r"takes \(batch, 3, height, width\), this model takes \[1, 1, 256, 320\]"):
        opened(model(tmp_path / "m.onnx", v8(1), shape=(1, 1, ROWS, COLUMNS)))
    with pytest.raises(ModelError, match=r"float or uint8, this model takes tensor\(int64\)"):
        opened(model(tmp_path / "m.onnx", v8(1), kind=np.int64))


def test_a_named_head_decides_and_must_fit(tmp_path):
    path = model(tmp_path / "m.onnx", obj_rows(CELLS, "corner")[..., :6])
    assert_found(opened(path, head="yolox-decoded"))
    with pytest.raises(ModelError, match=r"is not the output of end2end; by its shape it could be yolov8, .*yolox"):
        opened(path, head="end2end")
    with pytest.raises(ValueError, match="head"):
        DetectorSettings(head="yolo")
    with pytest.raises(ModelError, match=r"detector\.head is for \.onnx and \.xml files"):
        load_detector("yolo11n.pt", DetectorSettings(head="yolov8"))


VISDRONE = {"names": "{0: 'pedestrian', 1: 'people', 2: 'car'}"}


def test_all_classes_of_people_are_kept_and_can_be_chosen(tmp_path):
    both = v8(3)
    both[0, 4:7, 900] = [0, SCORES[1], 0]  # the second is 'people'
    path = model(tmp_path / "m.onnx", both, metadata=VISDRONE)
    assert_found(opened(path))
    assert_found(opened(path, classes="Pedestrian, people"))
    assert len(opened(path, classes=["people"]).detect([PICTURE])[0]) == 1
    assert len(opened(path, classes=0).detect([PICTURE])[0]) == 1
    with pytest.raises(ModelError, match=r"no class 'rider'; it has 0: pedestrian, 1: people, 2: car"):
        opened(path, classes=["rider"])
    with pytest.raises(ModelError, match=r"no class 3; it has 0: pedestrian"):
        opened(path, classes=[3])
    nameless = model(tmp_path / "n.onnx", both)
    assert len(opened(nameless, classes=[0, 1]).detect([PICTURE])[0]) == 2
    with pytest.raises(ModelError, match=r"names no classes, so 'people' must be an index"):
        opened(nameless, classes=["people"])
    with pytest.raises(ModelError, match="has no class 9"):
        opened(nameless, classes=[9])


def test_one_person_in_two_classes_is_one_box(tmp_path):
    twice = np.c_[np.repeat(placed("centre"), 2, 0), [0.9, 0.8, 0.7, 0.6], [0, 1, 0, 1]]
    outputs = rows_at(300, 6, [0, 1, 2, 3], twice)[None]
    assert_found(opened(model(tmp_path / "m.onnx", outputs, metadata=VISDRONE)))


@pytest.mark.parametrize("name", ["person", "Person ", "pedestrian", "people", "human", "man"])
def test_names_of_people(name):
    assert person_classes({0: "car", 1: name}, "m") == (1,)


@pytest.mark.parametrize(
    ("metadata", "names", "size", "stride"),
    [
        ({"names": "['person', 'car']", "imgsz": "320", "stride": "[8, 16, 32]"}, {0: "person", 1: "car"}, 320, 32),
        ({"names": "{'0': 'person'}", "imgsz": "[384, 640]", "stride": "64.0"}, {0: "person"}, 640, 64),
        ({"names": '["person", "car"]', "imgsz": "none", "stride": "x"}, {0: "person", 1: "car"}, 640, 32),
        ({"names": '{"person": 0, "car": 1}'}, {0: "person", 1: "car"}, 640, 32),
        ({"names": "person, car"}, {0: "person", 1: "car"}, 640, 32),
        ({"names": "{}", "imgsz": "[]", "stride": "0"}, None, 640, 32),
        ({}, None, 640, 32),
    ],
)  # fmt: skip
def test_metadata_of_any_exporter(metadata, names, size, stride):
    found = read_metadata(metadata)
    assert (found.names, found.size, found.stride) == (names, size, stride)


def warned(caplog, boxes: np.ndarray, scores: np.ndarray, pictures: int = PICTURES) -> str:
    caplog.clear()
    first = FirstFrames("m.onnx", "See detector.head")
    with caplog.at_level(logging.WARNING):
        for at in range(3 * pictures):
            first.add(100, 200, boxes, scores + 1e-4 * at if len(scores) and scores[0] < 0.5 else scores)
        first.finish()
    assert len(caplog.records) <= 1
    return caplog.text


def test_the_first_pictures_tell_a_model_that_is_misread(caplog):
    good = np.array([[10, 10, 30, 60.0]])
    assert warned(caplog, good, np.array([0.3])) == ""
    assert f"in the first {PICTURES} pictures it detects nothing at all. See detector.head" in warned(caplog, good[:0], np.zeros(0))
    assert f"{PICTURES} of {PICTURES} boxes lie outside" in warned(caplog, good + 500, np.array([0.3]))
    assert "less than 2 px" in warned(caplog, good / 100, np.array([0.3]))
    assert f"all {PICTURES} boxes have the score 0.9" in warned(caplog, good, np.array([0.9]))


def test_a_short_run_is_looked_at_when_it_ends(caplog):
    first = FirstFrames("m.onnx", "")
    first.finish()
    assert not caplog.records  # no picture: nothing to say
    first.add(100, 200, np.zeros((0, 4)), np.zeros(0))
    first.finish()
    first.finish()
    assert [record.getMessage() for record in caplog.records] == ["m.onnx: in the first 1 pictures it detects nothing at all. "]


def test_a_detector_that_finds_nothing_says_so_once(tmp_path, caplog):
    detector = opened(model(tmp_path / "m.onnx", best_300(np.zeros((2, 6)), 6)))
    with caplog.at_level(logging.WARNING):
        for _ in range(PICTURES + 10):
            detector.detect([PICTURE])
    assert [record.getMessage().split(":")[0] for record in caplog.records] == ["m.onnx (read as end2end, classes 0)"]


def test_a_run_without_tracks_is_not_silent(tmp_path, caplog):
    path = model(tmp_path / "m.onnx", best_300(np.zeros((2, 6)), 6))
    write_clip(tmp_path / "gate.mp4", [np.full((96, 160, 3), 90, np.uint8)] * 3, rate=10)
    config = load_config(sets=[f"detector.model={path}", "reid.model=none", "output.video=false"])
    with caplog.at_level(logging.WARNING):
        pipeline.run(pipeline.Request.of([tmp_path / "gate.mp4"], tmp_path / "out", config))
    assert "in the first 3 pictures it detects nothing at all. If there are people in them" in caplog.text


CASES = ["h_v8_T2", "h_v8_listnames", "h_v8_imgszint", "h_v8_visdrone", "h_v8_human", "h_fp16"]


@pytest.mark.parametrize("name", CASES)
def test_models_of_public_reports(name, shared):
    """All have one person of 60 x 150 px in the middle of the input."""
    path = shared / f"cases/{name}.onnx"
    if not path.is_file():
        pytest.skip("the cases are not on this machine")
    found = opened(str(path)).detect([cv2.resize(PICTURE, (640, 640))])[0]
    np.testing.assert_allclose(found.boxes, [[290, 245, 350, 395]], atol=1)
    assert found.scores == pytest.approx([0.9], abs=1e-3)


@pytest.mark.parametrize("name", ["person-s", "person-n"])
def test_shipped_models_are_recognised(name):
    layout = opened(name).layout
    assert (layout.heads, layout.people, layout.classes, layout.batch, layout.fixed) == (("yolov8",), (0,), 1, None, None)
