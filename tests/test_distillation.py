"""passerby reid distil: views, crops, a whole small distillation from a drawn teacher, its resuming and export, and mistakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import passerby

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from torch import nn  # noqa: E402

from detectors.runtime.errors import ModelError  # noqa: E402
from reid import Embedder  # noqa: E402
from reid.bundle import KEY, BundleFacts, Calibration  # noqa: E402
from reid.evaluation.centring import CameraMeans  # noqa: E402
from reid.export.export import export  # noqa: E402
from reid.training import distillation  # noqa: E402
from reid.training.crops import read_crops  # noqa: E402
from reid.training.distillation import build_student, distil, nearest, read_distilled, size_at  # noqa: E402
from reid.training.jitter import Jitter, Views  # noqa: E402
from reid.training.recipe import DistilRecipe  # noqa: E402
from reid.training.teacher import Teacher  # noqa: E402

RECIPE = DistilRecipe(
    pretrained=False, height=64, width=32, stored_height=72, stored_width=36, parts=2, part_width=16, part_dim=8, batch=8, neighbours=3,
    ridge_crops=24, epochs=2, warmup_steps=2, held_out_ids=4, threads=1, precision="bf16", checkpoint_minutes=1e-9,
)  # fmt: skip
STILL = Jitter(flip=0, zoom=0, aspect=0, shift_x=0, shift_y=0, plain=1, gray=0, coarse=0, again=0)


class Tiny(nn.Sequential):
    """A backbone that learns in seconds."""

    channels = 16

    def __init__(self, *_: object) -> None:
        super().__init__(nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 16, 4, 4))


@pytest.fixture(scope="module", autouse=True)
def tiny():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distillation, "Backbone", Tiny)
        yield


def person(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    look = rng.integers(0, 256, (4, 2, 3)).astype(np.uint8)
    return np.clip(cv2.resize(look, (width, height)) + rng.normal(0, 8, (height, width, 3)), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Twelve people, two pictures by each of two cameras."""
    root = tmp_path_factory.mktemp("people")
    for who in range(12):
        (root / f"{who:02d}").mkdir()
        for camera in "ab":
            for shot in range(2):
                cv2.imwrite(str(root / f"{who:02d}" / f"{camera}_{shot}.jpg"), person(np.random.default_rng(who), 64, 32))
    return root


@pytest.fixture(scope="module")
def boxes(tmp_path_factory) -> Path:
    """Two frames: one of a camera with a person, a small one, a wide one and a dog, one of the street with a person."""
    root, rng = tmp_path_factory.mktemp("boxes"), np.random.default_rng(5)
    for name, labels in (
        ("cctv-1", "0 0.5 0.5 0.2 0.8\n0 0.1 0.1 0.05 0.1\n0 0.5 0.5 0.9 0.5\n1 0.5 0.5 0.2 0.8\n"),
        ("street_2", "0 0.2 0.5 0.2 1.0\n"),
    ):
        for folder in ("images", "labels"):
            (root / folder).mkdir(exist_ok=True)
        cv2.imwrite(str(root / "images" / f"{name}.png"), person(rng, 200, 200))
        (root / "labels" / f"{name}.txt").write_text(labels)
    return root


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A bundle that embeds the mean colours of a picture's quarters in six dimensions."""
    path, rng = tmp_path_factory.mktemp("teacher") / "drawn.onnx", np.random.default_rng(1)
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["crops"], ["quarters"], kernel_shape=[12, 12], strides=[12, 12]),
            helper.make_node("Flatten", ["quarters"], ["flat"]),
            helper.make_node("MatMul", ["flat", "turn"], ["turned"]),
            helper.make_node("LpNormalization", ["turned"], ["embeddings"], axis=1, p=2),
        ],
        "drawn",
        [helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 3, 48, 24])],
        [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", 6])],
        [numpy_helper.from_array(rng.normal(size=(24, 6)).astype(np.float32), "turn")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    facts = BundleFacts(
        name="drawn", height=48, width=24, mean=(124, 116, 104), std=(58, 57, 57), dimension=6, data="drawn", licence="none", commit="none",
        calibration=Calibration(gate=0.5, slope=10, offset=-5),
    )  # fmt: skip
    helper.set_model_props(model, {KEY: facts.model_dump_json()})
    onnx.save(model, path)
    return path


@pytest.fixture(scope="module")
def distilled(people, teacher, tmp_path_factory) -> Path:
    return distil(RECIPE, [people], teacher, tmp_path_factory.mktemp("run"))


def test_a_view_is_a_function_of_its_key_and_without_jitter_the_picture():
    picture = person(np.random.default_rng(0), 72, 36)
    one, again, other = (Views.drawn(5, Jitter(), key) for key in ([0, 1], [0, 1], [0, 2]))
    for row in range(5):
        np.testing.assert_array_equal(one.show(picture, row, 64, 32), again.show(picture, row, 64, 32))
        assert (one.show(picture, row, 64, 32) != other.show(picture, row, 64, 32)).any()
    still = Views.drawn(1, STILL, [0])
    np.testing.assert_array_equal(still.show(picture, 0, 72, 36), picture)
    np.testing.assert_array_equal(still.shown_again(picture, 0, 72, 36, STILL, np.random.default_rng(0)), picture)
    mirrored = Views.drawn(1, STILL.model_copy(update={"flip": 1.0}), [0])
    np.testing.assert_array_equal(mirrored.show(picture, 0, 72, 36), picture[:, ::-1])


def test_the_same_view_shows_the_same_part_in_every_size():
    picture = cv2.resize(person(np.random.default_rng(0), 24, 12), (96, 192), interpolation=cv2.INTER_CUBIC)
    views = Views.drawn(8, Jitter(), [0])
    for row in range(8):
        large, small = views.show(picture, row, 192, 96), views.show(picture, row, 96, 48)
        assert np.abs(cv2.resize(large, (48, 96), interpolation=cv2.INTER_AREA).astype(int) - small).mean() < 4


def test_crops_are_people_of_size_and_their_kind_is_their_name_s_first_word(boxes, people, tmp_path):
    crops = read_crops([boxes, people], 72, 36, 4, 0, tmp_path / "crops.npy")
    assert crops.pictures.shape == (2 + 8 * 4, 72, 36, 3)  # four of twelve people are held out
    assert crops.kinds.tolist() == ["cctv", "street", *["own images"] * 32]
    frame = cv2.imread(str(boxes / "images" / "cctv-1.png"))[20:180, 80:120]
    np.testing.assert_array_equal(crops.pictures[0], cv2.resize(frame, (36, 72), interpolation=cv2.INTER_AREA)[..., ::-1])
    assert [name for name, _ in crops.sources] == [boxes.name, "own images"]
    written = (tmp_path / "crops.npy").stat().st_mtime_ns
    assert read_crops([boxes, people], 72, 36, 4, 0, tmp_path / "crops.npy").fingerprint == crops.fingerprint
    assert (tmp_path / "crops.npy").stat().st_mtime_ns == written  # they are read again, not cut again
    assert read_crops([people], 72, 36, 4, 0, tmp_path / "crops.npy").fingerprint != crops.fingerprint


def test_neighbours_and_centring_by_hand():
    rows = np.array([[1, 0], [0.9, 0.1], [0, 1], [0.1, 0.9]])
    assert nearest(rows, 1, np.ones(4, bool)).ravel().tolist() == [1, 0, 3, 2]
    assert nearest(rows, 1, np.array([True, False, True, True])).ravel().tolist() == [3, 0, 3, 2]
    unit = np.array([[1, 0], [0, 1]], np.float32)
    cameras = np.array([1, 1])
    means = CameraMeans.of(unit, cameras, shrink=2)  # half of the mean (.5, .5)
    moved = means.centred(unit, cameras)
    np.testing.assert_allclose(moved, np.array([[0.75, -0.25], [-0.25, 0.75]]) / np.hypot(0.75, 0.25), atol=1e-6)
    with pytest.raises(ValueError, match="no mean for camera 2"):
        means.centred(unit, np.array([1, 2]))


def test_pictures_grow_by_the_share_of_the_steps():
    recipe = RECIPE.model_copy(update={"smaller_first": ((32, 16, 0.5), (48, 24, 0.75))})
    assert [size_at(recipe, done) for done in (0, 0.49, 0.5, 0.75, 1)] == [(32, 16), (32, 16), (48, 24), (64, 32), (64, 32)]


def test_a_student_learns_who_is_alike_to_its_teacher_and_is_measured(people, teacher, tmp_path):
    recipe = RECIPE.model_copy(update={"jitter": STILL, "epochs": 12, "batch": 24, "precision": "fp32"})
    distil(recipe, [people], teacher, tmp_path, watch=people)
    names, first, *_, last = (tmp_path / "log.csv").read_text().splitlines()
    assert names == "epoch,distance,relations,map,rank1,centred_map,centred_rank1,seconds"
    assert float(last.split(",")[2]) < float(first.split(",")[2])


def test_a_distillation_that_was_resumed_ends_where_the_straight_one_does(people, teacher, distilled, tmp_path, monkeypatch):
    real, calls = distillation.distances, []

    def stopped(*args):
        calls.append(1)
        if len(calls) == 7:  # within the first epoch
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(distillation, "distances", stopped)
    with pytest.raises(KeyboardInterrupt):
        distil(RECIPE, [people], teacher, tmp_path)
    monkeypatch.setattr(distillation, "distances", real)
    again = read_distilled(distil(RECIPE, [people], teacher, tmp_path, resume=True))
    straight = read_distilled(distilled)
    assert again["step"] == straight["step"]
    for name, value in straight["average"].items():
        torch.testing.assert_close(again["average"][name], value, rtol=0, atol=0)


def test_a_distillation_goes_on_from_another_in_larger_pictures(people, teacher, distilled, tmp_path):
    larger = RECIPE.model_copy(update={"height": 96, "width": 48, "start": distilled, "epochs": 1, "learning_rate": 1e-9})
    went_on = read_distilled(distil(larger, [people], teacher, tmp_path))
    start = read_distilled(distilled)
    torch.testing.assert_close(went_on["average"]["turn.weight"], start["average"]["turn.weight"], rtol=0, atol=1e-5)


def test_the_bundle_embeds_as_the_student_and_says_who_taught_it(people, distilled, tmp_path):
    facts, cosine = export([distilled], people, tmp_path / "student.onnx")
    assert (facts.height, facts.width, facts.dimension) == (64, 32, 6)
    assert cosine > 0.9999
    assert facts.data == "own images (as its owner states); teacher: drawn; backbone: ImageNet"
    crop = person(np.random.default_rng(3), 64, 32)
    state = read_distilled(distilled)
    student = build_student(DistilRecipe(**state["recipe"]), 6, pretrained=False)
    student.load_state_dict(state["average"])
    with torch.no_grad():
        wanted = student.eval()(distillation.to_tensor(crop[None, :, :, ::-1])).numpy()
    np.testing.assert_allclose(Embedder(str(tmp_path / "student.onnx")).embed([crop]), wanted, atol=1e-4)


def test_calibration_is_on_people_held_out_or_on_a_set_that_was_not_shown(people, distilled, tmp_path):
    others = tmp_path / "others"
    for who in range(5):
        (others / f"{who}").mkdir(parents=True)
        for name in ("a_0", "b_0"):
            cv2.imwrite(str(others / f"{who}" / f"{name}.jpg"), person(np.random.default_rng(100 + who), 64, 32))
    with pytest.raises(ValueError, match=r"cannot verify the held-out set: .*others has now; give those, or --unseen"):
        export([distilled], others, tmp_path / "student.onnx")
    export([distilled], others, tmp_path / "student.onnx", unseen=True)
    with pytest.raises(ValueError, match="--dimensions needs people who were trained on"):
        export([distilled], others, tmp_path / "other.onnx", dimensions=2, unseen=True)


def test_another_distillation_is_not_gone_on_with(people, boxes, teacher, distilled):
    folder = distilled.parent
    with pytest.raises(ValueError, match="cannot resume: the recipe has changed in relations"):
        distil(RECIPE.model_copy(update={"relations": 1.0}), [people], teacher, folder, resume=True)
    with pytest.raises(ValueError, match="cannot resume: it was trained on other crops"):
        distil(RECIPE, [boxes, people], teacher, folder, resume=True)


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        ({"hight": 160}, "hight"),
        ({"jitter": {"zoom": -1}}, "jitter.zoom"),
        ({"often": {"cctv": 2}, "held_out_ids": 4, "batch": 64}, "often: no crop of kind cctv; kinds are own images"),
        ({"held_out_ids": 12}, "has 12 people, but held_out_ids is 12"),
        ({"held_out_ids": 4, "batch": 64}, "32 crops are fewer than a batch (64)"),
    ],
)
def test_mistakes_in_a_recipe_are_told_in_a_line(people, teacher, tmp_path, capsys, recipe, words):
    (tmp_path / "recipe.yaml").write_text(json.dumps(recipe))
    done = passerby("reid", "distil", tmp_path / "recipe.yaml", "--crops", people, "--teacher", teacher, "-o", tmp_path / "run")
    assert done.returncode == 2
    assert words in done.stderr


def test_a_teacher_that_cannot_be_opened_is_told(people, tmp_path, monkeypatch):
    with pytest.raises(ModelError, match="no such model file"):
        Teacher(tmp_path / "none.xml")
    for name in ("some.xml", "some.bin"):
        (tmp_path / name).write_text("<net>")
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'passerby\[openvino\]'"):
        Teacher(tmp_path / "some.xml")
    monkeypatch.undo()
    pytest.importorskip("openvino", reason="needs the extra [openvino]")
    with pytest.raises(ModelError, match="OpenVINO cannot load it as a re-ID model"):
        Teacher(tmp_path / "some.xml")


def test_a_line_of_labels_that_is_no_box_is_told(boxes, tmp_path):
    for folder in ("images", "labels"):
        (tmp_path / folder).mkdir()
    cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((100, 50, 3), np.uint8))
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 1 1\n0 0.5 x 1 1\n")
    with pytest.raises(ValueError, match=r"a.txt, line 2: '0 0.5 x 1 1' is not a class and a box"):
        read_crops([tmp_path], 72, 36, 4, 0, tmp_path / "crops.npy")
    with pytest.raises(ValueError, match="neither a re-ID dataset nor"):
        read_crops([tmp_path / "labels"], 72, 36, 4, 0, tmp_path / "crops.npy")
