"""Detectors: geometry of the letterbox, and what happens to odd pictures and bad models."""

from __future__ import annotations

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from clips import figure
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import Detections, load_detector
from detectors.letterbox import as_bgr, input_size, letterbox
from detectors.load import WEIGHTS, DetectorSettings
from detectors.onnx import nms
from detectors.runtime.atomic_file import put
from detectors.runtime.errors import ModelError, OutputError, PasserbyError, writing
from detectors.training.evaluate import evaluate, sequence
from tracker.following.costs import iou


@settings(max_examples=60, deadline=None)
@given(height=st.integers(1, 900), width=st.integers(1, 900), longest=st.sampled_from([320, 640]), centre=st.booleans())
def test_boxes_come_back_to_within_half_a_pixel(height, width, longest, centre):
    rows, columns = input_size(height, width, longest, 32)
    assert rows % 32 == columns % 32 == 0
    image, fit = letterbox(np.zeros((height, width, 3), np.uint8), rows, columns, centre)
    assert image.shape == (rows, columns, 3)
    source = np.array([[0, 0, width, height], [width / 4, height / 4, width / 2, height / 2]], np.float32)
    scale = np.array([fit.scale_x, fit.scale_y] * 2)
    inside = source * scale + np.array([fit.left, fit.top] * 2)
    assert (inside[:, 2:] <= np.array([columns, rows]) + 1e-6).all()
    np.testing.assert_allclose(fit.to_source(inside), source, atol=0.5)


def test_a_drawn_square_is_where_the_fit_says():
    picture = np.zeros((300, 500, 3), np.uint8)
    picture[100:200, 300:400] = 255
    image, fit = letterbox(picture, 416, 640)
    ys, xs = np.nonzero(image[..., 0] > 160)
    box = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], np.float32)
    np.testing.assert_allclose(fit.to_source(box), [[300, 100, 400, 200]], atol=0.5)


def test_nms_keeps_the_best_of_each():
    boxes = np.array([[0, 0, 10, 20], [1, 0, 11, 20], [40, 0, 50, 20]], np.float32)
    assert nms(boxes, np.array([0.5, 0.9, 0.7], np.float32), 0.6, 10).tolist() == [1, 2]
    assert nms(boxes, np.array([0.5, 0.9, 0.7], np.float32), 0.6, 1).tolist() == [1]
    assert len(nms(boxes[:0], np.zeros(0, np.float32), 0.6, 10)) == 0


@pytest.fixture(scope="module")
def detector():
    return load_detector("person-s")


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 700, 3), (480, 640), (480, 640, 1), (480, 640, 4), (2000, 3000, 3)])
def test_odd_pictures_have_a_defined_result(detector, shape):
    found = detector.detect([np.full(shape, 90, np.uint8)])
    assert len(found) == 1
    assert (found[0].boxes[:, 2] <= shape[1]).all()


def test_sixteen_bits_and_what_is_refused(detector):
    assert as_bgr(np.full((4, 4), 0x8000, np.uint16)).max() == 0x80
    with pytest.raises(ValueError, match="float32"):
        detector.detect([np.zeros((10, 10, 3), np.float32)])
    with pytest.raises(ValueError, match="channels"):
        detector.detect([np.zeros((10, 10, 2), np.uint8)])


def test_a_batch_of_mixed_sizes_equals_one_by_one(detector):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 255, shape, np.uint8) for shape in ((240, 320, 3), (300, 300, 3), (240, 320, 3))]
    together = detector.detect(pictures)
    for picture, found in zip(pictures, together, strict=True):
        alone = detector.detect([picture])[0]
        np.testing.assert_allclose(found.boxes, alone.boxes, atol=0.1)
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-3)
    assert detector.detect([]) == []


def test_models_that_do_not_fit_are_named(tmp_path):
    with pytest.raises(ModelError, match="no such model file"):
        load_detector(str(tmp_path / "none.onnx"))
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ModelError, match="onnxruntime cannot load it"):
        load_detector(str(tmp_path / "text.onnx"))
    with pytest.raises(ModelError, match="is not a known head"):
        from reid.shipped import WEIGHTS

        load_detector(str(next(WEIGHTS.glob("*.onnx"))))
    with pytest.raises(ModelError, match="shipped are person-n, person-s"):
        load_detector("person-xxl")


def drawn_people(count: int = 3, width: int = 640, height: int = 480, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A picture of drawn people that our detectors take for people, and their boxes."""
    rng = np.random.default_rng(seed)
    picture = cv2.resize(rng.integers(90, 170, (9, 12, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
    boxes = []
    for at in range(count):
        x, tall = int((at + 0.5) * width / count), int(height * rng.uniform(0.4, 0.6))
        ground = int(height * rng.uniform(0.85, 0.95))
        figure(picture, x, ground, tall, tuple(rng.integers(0, 255, 3).tolist()), (60, 50, 40), 1.0)
        boxes.append([x - 0.22 * tall, ground - 1.04 * tall, x + 0.22 * tall, ground])
    return picture, np.array(boxes)


def equal_to_ultralytics(pictures, size):
    """Our preprocessing, decoding and NMS give what ultralytics' own give with the same weights."""
    yolo = pytest.importorskip("ultralytics", reason="needs the extra [train]").YOLO(WEIGHTS / "person-s.onnx", task="detect")
    ours, count = load_detector("person-s", DetectorSettings(confidence=0.1, iou=0.6, size=size, device="cpu")), 0
    for picture in pictures:
        theirs = yolo.predict(picture, imgsz=size, conf=0.1, iou=0.6, device="cpu", verbose=False)[0].boxes
        found = ours.detect([picture])[0]
        assert len(theirs) == len(found)
        if len(found):
            overlap = iou(theirs.xyxy.numpy().astype(float), found.boxes.astype(float))
            assert overlap.max(1).min() > 0.99
            assert np.abs(theirs.conf.numpy() - found.scores[overlap.argmax(1)]).max() < 0.005
        count += len(found)
    return count


def test_the_same_weights_find_what_ultralytics_finds():
    pictures = [drawn_people(seed=seed, width=width)[0] for seed, width in ((0, 640), (1, 900), (2, 400))]
    assert equal_to_ultralytics(pictures, 640) >= 4


def test_the_same_weights_find_what_ultralytics_finds_on_real_pictures(shared):
    capture, pictures = cv2.VideoCapture(str(shared / "data/pets09-s2l1/vtest.avi")), []
    for frame in range(301):
        picture = capture.read()[1]
        if frame % 100 == 0:
            pictures += [picture, picture[:, :300]]
    assert equal_to_ultralytics(pictures, 704) >= 30


@pytest.fixture(scope="module")
def yolo_format(tmp_path_factory):
    """Drawn people in YOLO format."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "images").mkdir()
    (folder / "labels").mkdir()
    for seed in range(6):
        picture, boxes = drawn_people(seed=seed)
        cv2.imwrite(str(folder / f"images/a_{seed}.png"), picture)
        centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2 / [640, 480], (boxes[:, 2:] - boxes[:, :2]) / [640, 480]
        np.savetxt(folder / f"labels/a_{seed}.txt", np.c_[np.zeros(3), centre, size], "%.5f")
    return folder


@pytest.mark.parametrize(("precision", "share"), [("fp16", 0.6), ("int8", 0.4)])
def test_smaller_forms_find_the_same_people(yolo_format, tmp_path, monkeypatch, precision, share):
    pytest.importorskip("torch", reason="needs the extra [train]")
    from detectors.training import export as module
    from detectors.training.export import export

    monkeypatch.setattr(module, "MAX_AP50_LOSS", 0.2)  # of 18 drawn people, one is much

    source, out = WEIGHTS / "person-s.onnx", tmp_path / "small.onnx"
    before, after = export(source, out, 416, yolo_format, ("a",), "drawn", precision)
    assert before.people == after.people == 18
    assert out.stat().st_size < share * source.stat().st_size
    small = load_detector(str(out))
    assert small.size == 416
    assert small.session.metadata["precision"] == precision
    assert small.session.metadata["data"] == load_detector("person-s").session.metadata["data"]
    with pytest.raises(ValueError, match="already exported in fp32"):
        export(source, out, 416, yolo_format, ("a",), "drawn")


def test_a_form_that_finds_fewer_people_is_not_written(yolo_format, tmp_path, monkeypatch):
    pytest.importorskip("torch", reason="needs the extra [train]")
    from detectors.training import export as module

    monkeypatch.setattr(module, "MAX_AP50_LOSS", -1.0)
    with pytest.raises(ValueError, match="AP50 falls from"):
        module.export(WEIGHTS / "person-s.onnx", tmp_path / "small.onnx", 416, yolo_format, ("a",), "drawn", "fp16")
    assert not (tmp_path / "small.onnx").exists()


def test_the_fast_detector_is_the_better_one_in_eight_bits():
    fast, better = load_detector("person-n"), load_detector("person-s")
    assert fast.session.path.stat().st_size < better.session.path.stat().st_size / 3
    picture, _ = drawn_people()
    found, wanted = (detector.detect([picture])[0] for detector in (fast, better))
    assert iou(wanted.boxes[:1].astype(float), found.boxes.astype(float)).max() > 0.5


def test_quality_by_hand():
    """Two pictures, three people: one found exactly, one by IoU 0.6, one missed; one confident false box."""
    blank = np.zeros((100, 100, 3), np.uint8)
    people = [np.array([[0.0, 0, 10, 40], [50, 0, 60, 40]]), np.array([[20.0, 0, 30, 40]])]
    found = iter(
        [
            Detections(np.array([[0, 0, 10, 40], [50, 0, 60, 24]], np.float32), np.array([0.9, 0.5], np.float32)),
            Detections(np.array([[70, 70, 90, 90]], np.float32), np.array([0.7], np.float32)),
        ]
    )
    measured = evaluate(SimpleNamespace(detect=lambda _: [next(found)]), [(blank, rows) for rows in people])
    first, second = 1 / 3, 1 / 3 * 2 / 3  # recall steps times the envelope of precision
    assert measured.ap50 == pytest.approx(first + second)
    assert measured.ap50_95 == pytest.approx(first + second * 0.3)  # 0.6 is over IoU 0.5, 0.55 and 0.6
    assert measured.false_when_confident == 0.5
    assert measured.recall_by_height["32_to_96"] == pytest.approx(2 / 3)


def test_a_file_is_put_whole_or_stays_what_it_was(tmp_path):
    (tmp_path / "draft").write_bytes(b"new")
    out = tmp_path / "model.onnx"
    out.write_bytes(b"old")
    with pytest.raises(FileNotFoundError):
        put(tmp_path / "none", out)
    (tmp_path / "model.onnx.tmp").mkdir()  # in the way of what is written first
    with pytest.raises(OutputError, match=r"model\.onnx\.tmp: cannot be written"):
        put(tmp_path / "draft", out)
    assert out.read_bytes() == b"old"
    (tmp_path / "model.onnx.tmp").rmdir()
    put(tmp_path / "draft", out)
    assert out.read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["draft", "model.onnx"]


def test_frames_are_paired_with_the_boxes_of_their_number():
    numbers, boxes = np.array([3, 1, 3]), np.array([[5, 6, 15, 26], [0, 0, 10, 20], [1, 2, 4, 6]], float)
    frames = [(number, np.full((2, 2, 3), number, np.uint8)) for number in (1, 2, 3)]
    samples = list(sequence(iter(frames), numbers, boxes))
    assert [image[0, 0, 0] for image, *_ in samples] == [1, 2, 3]
    assert [found.tolist() for _, found, *_ in samples] == [[[0, 0, 10, 20]], [], [[5, 6, 15, 26], [1, 2, 4, 6]]]


def test_errors_have_one_hierarchy_and_one_way_to_say_that_a_file_cannot_be_written(tmp_path):
    assert issubclass(ModelError, PasserbyError)
    assert issubclass(ModelError, ValueError)
    assert (ModelError.code, OutputError.code) == (4, 5)
    with pytest.raises(OutputError, match=r"no/a\.txt: cannot be written \(No such file or directory\)"), writing(tmp_path):
        (tmp_path / "no" / "a.txt").write_text("the file that the system names")
    with pytest.raises(OutputError, match=r"out: cannot be written \(disk full\)"), writing(tmp_path / "out"):
        raise OSError("disk full")
    assert str(ModelError("rtsp://user:secret@host/x: not a model")) == "rtsp://***@host/x: not a model"
