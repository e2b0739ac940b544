"""passerby reid and passerby detector: a whole small training on drawn people, its resuming, measuring, and mistakes."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from urllib.error import URLError

import cv2
import numpy as np
import pytest
import torch
from command import own_logging, passerby
from pydantic import ValidationError

from detectors import Detections
from detectors.runtime.errors import ModelError
from detectors.training.miss_sheet import miss_sheet
from pipeline.cli.app import main
from reid import Embedder
from reid.datasets import layouts
from reid.datasets import split as data
from reid.evaluation.calibration import calibrate
from reid.evaluation.openset import open_set
from reid.evaluation.rank_sheet import rank_sheet
from reid.evaluation.retrieval import embed_split, retrieval
from reid.export.export import MIN_COSINE, export
from reid.training.imitation import Imitation, teacher_embeddings
from reid.training.priors import Bodies, write_bodies
from reid.training.recipe import Recipe
from reid.training.train import learning_rate, read_material, train, validate

RECIPE = Recipe(
    backbone="mobilenetv2_100", pretrained=False, height=64, width=32, parts=2, part_width=16, part_dim=8, batch_ids=4, batch_images=2,
    epochs=2, warmup_epochs=0.1, held_out_ids=4, threads=1, frozen_stages=1, precision="bf16", drop_path=0.2,
)  # fmt: skip


@pytest.fixture(scope="module")
def market(tmp_path_factory) -> Path:
    """Twelve drawn people by three cameras in Market-1501's layout."""
    root, rng = tmp_path_factory.mktemp("market"), np.random.default_rng(0)
    counts = {}
    for split, people in (("bounding_box_train", range(1, 13)), ("bounding_box_test", range(13, 21)), ("query", range(13, 21))):
        (root / split).mkdir()
        counts[split] = 0
        for who in people:
            shirt, trousers = np.random.default_rng(who).integers(0, 256, (2, 3)).tolist()
            for camera in (1, 2, 3):
                for shot in range(1 if split == "query" else 2):
                    picture = np.full((128, 64, 3), 100 + 20 * camera, np.uint8)
                    cv2.rectangle(picture, (18, 20), (46, 70), shirt, -1)
                    cv2.rectangle(picture, (20, 70), (44, 124), trousers, -1)
                    picture = np.clip(picture + rng.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)
                    cv2.imwrite(str(root / split / f"{who:04d}_c{camera}s1_{shot * 10:06d}_00.jpg"), picture)
                    counts[split] += 1
    with pytest.MonkeyPatch.context() as patch:
        for part, folder in layouts.FOLDERS.items():
            patch.setitem(layouts.MARKET.counts, part, (counts[folder],))
        yield root


@pytest.fixture(scope="module")
def people(tmp_path_factory) -> Path:
    """Twelve people of a user's own, two pictures by each of two cameras, files of one name in each folder."""
    root = tmp_path_factory.mktemp("people")
    for who in range(1, 13):
        (root / f"{who:02d}").mkdir()
        rng = np.random.default_rng(who)
        look = rng.integers(0, 256, (4, 2, 3)).astype(np.uint8)
        for camera in "ab":
            for shot in range(2):
                picture = cv2.resize(look, (32, 64)) + rng.normal(0, 8, (64, 32, 3))
                cv2.imwrite(str(root / f"{who:02d}" / f"{camera}_{shot}.jpg"), picture.clip(0, 255).astype(np.uint8))
    return root


@pytest.fixture(scope="module")
def trained(market, tmp_path_factory) -> Path:
    return train(RECIPE, market, tmp_path_factory.mktemp("run"))


def stopped_in_its_second_epoch(recipe: Recipe, data: Path, folder: Path) -> None:
    class Stop(Exception):
        pass

    import reid.training.train as module

    real, calls = module.validate, []

    def stopped(*args):
        calls.append(1)
        if len(calls) == 2:
            raise Stop
        return real(*args)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "validate", stopped)
        with pytest.raises(Stop):
            train(recipe, data, folder)


def assert_equal_states(one: Path, two: Path) -> None:
    states = [torch.load(path, map_location="cpu", weights_only=True) for path in (one, two)]
    assert states[0]["epoch"] == states[1]["epoch"]
    for kind in ("average", "imitation"):
        for name, value in states[0][kind].items():
            torch.testing.assert_close(states[1][kind][name], value, rtol=0, atol=0)


def test_a_training_that_was_resumed_ends_where_the_straight_one_does(market, trained, tmp_path):
    stopped_in_its_second_epoch(RECIPE, market, tmp_path)
    assert_equal_states(trained, train(RECIPE, market, tmp_path, resume=True))
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 3


def test_a_teacher_is_imitated_through_a_linear_map(market, trained, tmp_path):
    export([trained], market, tmp_path / "teacher.onnx", dimensions=6)
    pictures = np.random.default_rng(0).integers(0, 255, (8, 96, 40, 3), np.uint8)  # of another size than the teacher's
    targets = teacher_embeddings(tmp_path / "teacher.onnx", pictures, batch=3)
    torch.testing.assert_close(targets, teacher_embeddings(tmp_path / "teacher.onnx", pictures[:, :, ::-1]), rtol=0, atol=1e-5)
    torch.testing.assert_close(targets.norm(dim=1), torch.ones(8))
    torch.manual_seed(0)
    imitation, rows, which = Imitation(targets, 16), torch.randn(5, 16, requires_grad=True), np.array([7, 0, 1, 4, 4])
    assert list(imitation.state_dict()) == ["turn.weight"]  # a checkpoint need not hold what the teacher says again
    optimizer = torch.optim.Adam(imitation.parameters(), 0.05)
    distances = []
    for _ in range(100):  # five rows of 16 numbers can be turned into any five
        optimizer.zero_grad()
        distances.append(imitation(rows, which))
        distances[-1].backward()
        optimizer.step()
    assert distances[0] > 0.2
    assert distances[-1] < 0.01
    assert rows.grad.abs().sum() > 0
    with pytest.raises(ModelError, match="no such model file"):
        teacher_embeddings(tmp_path / "none.onnx", pictures)


def test_a_training_with_a_teacher_resumes_to_the_same(market, trained, tmp_path):
    export([trained], market, tmp_path / "teacher.onnx", dimensions=6)
    recipe = RECIPE.model_copy(update={"teacher": tmp_path / "teacher.onnx", "seed": 1})
    straight = train(recipe, market, tmp_path / "straight")
    with (straight.parent / "log.csv").open() as file:
        assert all(0 < float(row["imitation"]) < 2 * recipe.imitation for row in csv.DictReader(file))
    stopped_in_its_second_epoch(recipe, market, tmp_path / "parted")
    assert_equal_states(straight, train(recipe, market, tmp_path / "parted", resume=True))


def test_a_training_is_not_gone_on_with_by_another_recipe(market, trained):
    wider = RECIPE.model_copy(update={"part_width": 24, "held_out_seed": 1, "epochs": 5})
    with pytest.raises(
        ValueError, match=r"last.pt: cannot resume: the recipe has changed in part_width, held_out_seed; restore it or omit"
    ):
        train(wider, market, trained.parent, resume=True)


def test_a_training_goes_on_for_more_epochs_and_mends_its_log(market, trained, tmp_path):
    shutil.copy(trained, tmp_path / "last.pt")
    (tmp_path / "log.csv").write_text("epoch,main\n1,2,3,4\n")
    train(RECIPE.model_copy(update={"epochs": 3}), market, tmp_path, resume=True)
    with (tmp_path / "log.csv").open() as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_who_was_trained_on_is_not_held_out_later(people, tmp_path):
    """A person more, and the same numbers hold out others: neither resuming nor exporting may take those for unseen."""
    last = train(RECIPE, people, tmp_path / "run")
    more = tmp_path / "more"
    shutil.copytree(people, more)
    shutil.copytree(people / "03", more / "005")
    with pytest.raises(ValueError, match="cannot resume: it was trained on other images than --data has now"):
        train(RECIPE, more, tmp_path / "run", resume=True)
    with pytest.raises(ValueError, match=r"cannot verify the held-out set: it was trained on other images than .*more has now"):
        export([last], more, tmp_path / "x.onnx")
    export([last], people, tmp_path / "x.onnx")
    with pytest.raises(ValueError, match=r"cannot verify the held-out set: it was trained on other images than .*more has now"):
        export([tmp_path / "x.onnx"], more, tmp_path / "y.onnx", dimensions=4)
    assert not list(tmp_path.glob("y*"))


def test_people_who_cannot_be_trained_on_or_measured_are_told_before_the_training(people, tmp_path):
    with pytest.raises(ValueError, match=r"people \(3\) must be at least batch_ids \(4\)"):
        read_material(RECIPE.model_copy(update={"people": 3}), people)
    one = tmp_path / "one"
    shutil.copytree(people, one)
    for path in one.glob("*/b_*"):
        path.unlink()
    with pytest.raises(ValueError, match="none of the 4 held-out people is seen by two cameras"):
        train(RECIPE, one, tmp_path / "run")
    few = np.zeros(2, np.int64)
    with pytest.raises(ValueError, match="nothing to calibrate on"):
        calibrate(np.eye(2, dtype=np.float32), data.Split((Path("a"), Path("b")), few, few, few))


def test_a_training_that_leaves_the_numbers_stops_and_keeps_what_it_had(people, tmp_path):
    with pytest.raises(ValueError, match=r"epoch 1, step \d+: loss became NaN or infinite; lower learning_rate$"):
        train(RECIPE.model_copy(update={"learning_rate": 1e30, "precision": "fp32"}), people, tmp_path)
    with pytest.raises(ValidationError, match="finite number"):
        Recipe(learning_rate=float("inf"))


def test_one_picture_of_a_person_in_a_camera_is_enough_to_train_on(people, tmp_path):
    for path in people.glob("*/*_0.jpg"):
        (tmp_path / "few" / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, tmp_path / "few" / path.parent.name)
    train(RECIPE.model_copy(update={"batch_images": 4, "epochs": 1, "held_out_ids": 5}), tmp_path / "few", tmp_path / "run")
    assert (tmp_path / "run" / "log.png").exists()


def test_validation_asks_for_each_person_in_each_of_many_cameras():
    class Same:
        def eval(self):
            return self

        main_classifiers = torch.zeros(1)

        def embed(self, images):
            return torch.ones(len(images), 1)

    ids, cameras = np.repeat([1, 2], 150), np.tile(np.arange(150), 2)
    held = data.Split((Path("a"),) * 300, ids, cameras, np.zeros(300, np.int64))
    assert validate(Same(), held, np.zeros((300, 4, 4, 3), np.uint8)).queries == 300


@pytest.mark.slow  # the compiler takes most of a minute
def test_a_compiled_training_has_the_same_losses(market, tmp_path):
    rows = []
    for compiled in (False, True):
        recipe = RECIPE.model_copy(update={"epochs": 1, "precision": "fp32", "drop_path": 0, "compiled": compiled})
        with (train(recipe, market, tmp_path / str(compiled)).parent / "log.csv").open() as file:
            rows += list(csv.DictReader(file))
    for loss in ("main", "aux", "align", "triplet"):
        assert float(rows[1][loss]) == pytest.approx(float(rows[0][loss]), rel=0.1)  # a rounding grows from step to step


def test_a_compiled_training_needs_a_compiler(market, tmp_path, monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(ValueError, match=r"compiled: needs a C\+\+ compiler: install g\+\+ or set compiled: false"):
        train(RECIPE.model_copy(update={"compiled": True}), market, tmp_path)


def test_frozen_stages_stay_as_they_are(trained):
    state = torch.load(trained, map_location="cpu", weights_only=True)
    start = Recipe(**state["recipe"])
    torch.manual_seed(start.seed)
    from reid.training.train import build

    fresh = build(start, state["ids"]).state_dict()
    for name, value in state["model"].items():
        if name.startswith(("backbone.stem", "backbone.blocks.0.")):
            assert torch.equal(value, fresh[name]), name
    assert not torch.equal(state["model"]["main.reduce.weight"], fresh["main.reduce.weight"])


@pytest.mark.parametrize(
    "changes",
    [
        {
            "prior": "mask",
            "neck": True,
            "attention": True,
            "recoloured": 0.5,
            "optimizer": "sgd",
            "drop_path": 0.2,
            "schedule": "step",
            "step_epochs": 1,
        },
        {"prior": "body", "shared": False, "optimizer": "adam", "zoom": 0.2, "gray": 0.2, "flip": 0, "pad": 0, "erase": 0, "jitter": 0},
        {"auxiliary": False, "backbone": "resnet18", "frozen_stages": 0, "drop_path": 0, "last_stride": 2, "precision": "fp32"},
    ],
)
def test_every_option_trains(market, tmp_path, changes):
    names = [path.relative_to(market).as_posix() for path in sorted((market / "bounding_box_train").iterdir())]
    write_bodies(market, names, Bodies.whole(len(names)))
    last = train(RECIPE.model_copy(update={"epochs": 1} | changes), market, tmp_path)
    log = (tmp_path / "log.csv").read_text().splitlines()
    assert len(log) == 2
    assert np.isfinite([float(value) for value in log[1].split(",")]).all()
    assert cv2.imread(str(tmp_path / "log.png")) is not None
    if changes.get("neck"):
        facts, _ = export([last], market, tmp_path / "b.onnx")
        assert Embedder(str(tmp_path / "b.onnx")).dimension == facts.dimension == 16


def test_some_of_the_people_can_be_left_out_to_learn_what_they_are_worth(market):
    whole, some = (read_material(RECIPE.model_copy(update={"people": people}), market) for people in (None, 5))
    assert (whole.ids, some.ids) == (8, 5)
    assert len(some.pictures) == 5 * 6
    assert some.held.paths == whole.held.paths


def test_export_with_fewer_dimensions(market, trained, tmp_path, monkeypatch):
    """The bundle's embeddings are the projected ones of the checkpoint (export compares with torch), and so are those of its INT8."""
    monkeypatch.setitem(MIN_COSINE, "int8", 0.9)  # a network that was hardly trained spreads little
    facts, _ = export([trained], market, tmp_path / "few.onnx", dimensions=6)
    small, _ = export([tmp_path / "few.onnx"], market, tmp_path / "int8.onnx", "int8")
    assert facts.dimension == small.dimension == Embedder(str(tmp_path / "few.onnx")).dimension == 6
    fewer, _ = export([tmp_path / "few.onnx"], market, tmp_path / "fewer.onnx", dimensions=4)
    assert fewer.dimension == 4
    with pytest.raises(ValueError, match=r"int8.onnx: precision int8; a source must be fp32 or packed"):
        export([tmp_path / "int8.onnx"], market, tmp_path / "none.onnx", "fp16")
    with pytest.raises(ValueError, match="dimensions 17: 48 embeddings of 16 dimensions have at most 16"):
        export([trained], market, tmp_path / "none.onnx", dimensions=17)
    assert not (tmp_path / "none.onnx").exists()


def test_networks_side_by_side(market, trained, tmp_path, monkeypatch):
    """Their cosine is the mean of the networks' cosines; packed, the file has less than half the size."""
    monkeypatch.setitem(MIN_COSINE, "packed", 0.99)  # a network that was hardly trained spreads little
    other = train(RECIPE.model_copy(update={"seed": 1, "part_dim": 4, "held_out_ids": 3}), market, tmp_path / "other")
    alone = [export([last], market, tmp_path / f"{n}.onnx")[0] for n, last in enumerate((trained, other))]
    both, _ = export([trained, other], market, tmp_path / "both.onnx")
    assert both.dimension == sum(facts.dimension for facts in alone)
    assert [network["part_dim"] for network in (both.recipe, *both.recipe["joined"])] == [8, 4]
    assert both.recipe["held_out_ids"] == 3  # whom neither was trained on
    crops = [cv2.imread(str(path)) for path in layouts.read_split(market, "query").paths[:5]]
    first, second, joined = (Embedder(str(tmp_path / f"{name}.onnx")).embed(crops) for name in ("0", "1", "both"))
    np.testing.assert_allclose(joined @ joined.T, (first @ first.T + second @ second.T) / 2, atol=1e-5)

    few, cosine = export([trained, other], market, tmp_path / "few.onnx", "packed", dimensions=5)
    assert few.dimension == 5
    assert 0.99 < cosine < 1
    again, _ = export([tmp_path / "both.onnx"], market, tmp_path / "packed.onnx", "packed")
    assert again.recipe == both.recipe | {"exported_as": "packed"}
    assert (tmp_path / "packed.onnx").stat().st_size < 0.5 * (tmp_path / "both.onnx").stat().st_size
    half, _ = export([tmp_path / "packed.onnx"], market, tmp_path / "half.onnx", "fp16")
    assert half.dimension == both.dimension
    mixed, _ = export([trained, tmp_path / "1.onnx"], market, tmp_path / "mixed.onnx")  # a bundle is as good as the checkpoint
    assert mixed.recipe == both.recipe
    np.testing.assert_allclose(Embedder(str(tmp_path / "mixed.onnx")).embed(crops), joined, atol=1e-5)


def test_networks_side_by_side_each_see_their_own_size(market, trained, tmp_path):
    large = train(RECIPE.model_copy(update={"height": 96, "width": 48, "epochs": 1}), market, tmp_path / "large")
    alone = [export([last], market, tmp_path / f"{n}.onnx")[0] for n, last in enumerate((trained, large))]
    facts, _ = export([tmp_path / "0.onnx", large], market, tmp_path / "both.onnx", dimensions=6)
    assert (facts.height, facts.width, facts.dimension) == (96, 48, 6)  # export compares with both networks run by hand
    assert [facts.recipe["height"], *(network["height"] for network in facts.recipe["joined"])] == [each.height for each in alone]


def test_what_cannot_be_joined_is_told(market, trained, tmp_path):
    state = torch.load(trained, weights_only=True)
    torch.save(state | {"recipe": state["recipe"] | {"held_out_seed": 3}}, tmp_path / "others.pt")
    with pytest.raises(ValueError, match=r"others.pt: cannot be joined with .*last.pt: held_out_seed is 3, not 0"):
        export([trained, tmp_path / "others.pt"], market, tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


def test_learning_rates():
    cosine = Recipe(epochs=10, warmup_epochs=2, learning_rate=0.1)
    assert learning_rate(cosine, 1) == pytest.approx(0.05 * 0.5 * (1 + np.cos(np.pi / 10)))
    assert learning_rate(cosine, 10) == pytest.approx(0.001)
    step = Recipe(epochs=70, warmup_epochs=0, learning_rate=0.01, schedule="step")
    assert [learning_rate(step, epoch) for epoch in (5, 25, 65)] == pytest.approx([0.01, 0.001, 1e-5])


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_export_and_measure(market, trained, tmp_path, precision, monkeypatch):
    monkeypatch.setitem(MIN_COSINE, "int8", 0.9)  # a network that was hardly trained spreads little
    facts, cosine = export([trained], market, tmp_path / "small.onnx", precision)
    assert cosine > {"fp32": 0.9999, "fp16": 0.999, "int8": 0.9}[precision]
    assert facts.recipe["exported_as"] == precision
    assert facts.recipe["epochs_done"] == 2
    if precision != "fp32":
        export([trained], market, tmp_path / "whole.onnx")
        again, _ = export([tmp_path / "whole.onnx"], market, tmp_path / "again.onnx", precision)
        assert again.recipe == facts.recipe
        assert again.calibration.gate == pytest.approx(facts.calibration.gate, rel=0.05)
        with pytest.raises(ValueError, match="already a bundle"):
            export([tmp_path / "whole.onnx"], market, tmp_path / "none.onnx")
    embedder = Embedder(str(tmp_path / "small.onnx"))
    (query, asked), (gallery, found_in) = (embed_split(embedder, layouts.read_split(market, part)) for part in ("query", "gallery"))
    rows = asked, found_in
    found = retrieval(rows[0], query.ids, query.cameras, rows[1], gallery.ids, gallery.cameras)
    assert found.queries == 24
    assert 0 < found.map <= 1
    assert open_set(rows[1], gallery).tracklets == 24
    sheet = rank_sheet(query, rows[0], gallery, rows[1], np.arange(3), top=5)
    assert sheet.shape == (3 * 136, 6 * 72 + 12, 3)


def test_embeddings_of_any_model_are_measured(market, tmp_path):
    paths = [path for part in ("query", "bounding_box_test") for path in sorted((market / part).iterdir())]
    ids = np.array([int(path.name[:4]) for path in paths])
    rows = 5 * np.eye(ids.max() + 1)[ids]  # whoever is told apart without fail, in rows of any length
    np.savez(tmp_path / "sure.npz", names=[f"{path.parent.name}/{path.name}" for path in paths], rows=rows)  # some are of one name
    done = passerby("reid", "eval", tmp_path / "sure.npz", "--data", market, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["map"] == 1
    np.savez(tmp_path / "few.npz", names=[f"{path.parent.name}/{path.name}" for path in paths if path.name != paths[0].name], rows=rows[2:])
    np.savez(tmp_path / "short.npz", names=["a"], rows=rows)
    np.savez(tmp_path / "other.npz", boxes=rows)
    (tmp_path / "text.npz").write_text("rows")
    (tmp_path / "empty.npz").write_text("")
    np.savez(tmp_path / "twice.npz", names=[path.name for path in paths], rows=rows)
    np.savez(tmp_path / "numbers.npz", names=np.arange(len(rows)), rows=rows)
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, rows)
    for name, message in (
        ("few", f"lacks 1 of 24 images, the first {paths[0].name}"),
        ("short", "got 1 names"),
        ("other", "expected an .npz with names"),
        ("text", "not embeddings"),
        ("none", "no such file"),
        ("twice", f"{paths[0].name} is ambiguous"),
        ("numbers", "names must be a row of strings"),
        ("array", "not embeddings"),
        ("empty", "not embeddings"),
    ):
        done = passerby("reid", "eval", tmp_path / f"{name}.npz", "--data", market)
        assert done.returncode == 2
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_embeddings_of_own_people_go_by_folder_and_name(people, tmp_path):
    """Files of different people may be of one name."""
    paths = sorted(people.glob("*/*.jpg"))
    rows = np.eye(12)[[int(path.parent.name) - 1 for path in paths]]
    for form in (lambda path: f"{path.parent.name}/{path.name}", str):
        np.savez(tmp_path / "sure.npz", names=[form(path) for path in paths], rows=rows)
        done = passerby("reid", "eval", tmp_path / "sure.npz", "--data", people, "--json")
        assert json.loads(done.stdout)["map"] == 1
    np.savez(tmp_path / "bare.npz", names=[path.name for path in paths], rows=rows)
    done = passerby("reid", "eval", tmp_path / "bare.npz", "--data", people)
    assert done.returncode == 2
    assert "is ambiguous; name each image once, as PERSON/FILE" in done.stderr


def test_the_rank_sheet_shows_no_picture_that_does_not_count(people):
    split = layouts.read_split(people, "gallery")
    few = split.take(np.flatnonzero(split.ids <= 2))
    rows = np.eye(3, dtype=np.float32)[few.ids]
    sheet = rank_sheet(few, rows, few, rows, np.arange(1))  # of eight, two are of the query's own person and camera
    assert (sheet[:, 72 + 12 + 6 * 72 :] == 255).all()
    assert not (sheet[:, 72 + 12 + 5 * 72 : 72 + 12 + 6 * 72] == 255).all()


def test_open_set_figures_by_hand():
    # four people on four axes, three cameras; 2 and 4 are strangers, and 4's third tracklet looks like 1
    rows, ids, cameras = [], [], []
    for who in (1, 2, 3, 4):
        for camera in (1, 2, 3):
            row = np.eye(5, dtype=np.float32)[who - 1] + 0.3 * np.eye(5, dtype=np.float32)[4] * (camera - 1)
            rows.append(np.eye(5, dtype=np.float32)[0] if (who, camera) == (4, 3) else row)
            ids.append(who)
            cameras.append(camera)
    split = data.Split(tuple(Path(f"{n}.jpg") for n in range(12)), np.array(ids), np.array(cameras), np.zeros(12, int))
    unit = np.stack(rows) / np.linalg.norm(np.stack(rows), axis=1, keepdims=True)
    found = open_set(unit, split)
    assert found.tracklets == 12
    assert found.tpir_1.value == 0  # the false one is at no distance at all: at 1 % of strangers nobody is let in
    assert found.tpir_10.value == 1  # quantile between 0 and 1 far over the known ones' distances
    assert found.tpr_1.low <= found.tpr_1.value <= found.tpr_1.high
    with pytest.raises(ValueError, match=r"two people|two cameras"):
        open_set(unit[:3], split.take(np.arange(3)))


def test_missed_and_invented_people_stand_on_the_sheet():
    picture = np.full((100, 200, 3), 128, np.uint8)
    truth = np.array([[10, 10, 40, 90], [100, 10, 130, 90]], float)

    class Half:
        def detect(self, images):
            return [
                Detections(np.array([[10, 10, 40, 90], [160, 20, 190, 80]], np.float32), np.array([0.9, 0.7], np.float32)) for _ in images
            ]

    sheet = miss_sheet(Half(), [(picture, truth)], 0.5)
    assert sheet.shape == (2 * 24 + 2 * 120, 1200, 3)
    assert (sheet[24:144] == (40, 40, 210)).all(2).any()
    assert (sheet[168:] == (200, 120, 20)).all(2).any()
    nothing = miss_sheet(Half(), [(picture, truth[:1])], 0.8)
    assert nothing.shape == (48, 1200, 3)


def offline(*_: object, **__: object) -> None:
    raise URLError("no route to host")


@pytest.mark.parametrize(
    ("words", "says", "code"),
    [
        (["reid", "train", "{tmp}/none.yaml", "--data", "{tmp}", "-o", "{tmp}/o"], "none.yaml: no such recipe", 2),
        (["reid", "train", "{tmp}/typo.yaml", "--data", "{tmp}", "-o", "{tmp}/o"], "typo.yaml, line 1: epoch: unknown key; did you mean epochs?", 2),
        (["reid", "train", "{tmp}/good.yaml", "--data", "{tmp}", "-o", "{tmp}/o"], "unrecognised dataset layout", 2),
        (["reid", "train", "{tmp}/good.yaml", "--data", "{market}", "-o", "{tmp}/good.yaml"], "good.yaml: cannot be written", 5),
        (["reid", "train", "{tmp}/offline.yaml", "--data", "{market}", "-o", "{tmp}/o"], "resnet18: torchvision cannot download", 2),
        (["reid", "train", "{tmp}/start.yaml", "--data", "{market}", "-o", "{tmp}/o"], "good.yaml: not an ONNX file", 4),
        (["reid", "train", "{tmp}/seed.yaml", "--data", "{market}", "-o", "{tmp}/o"], "seed.yaml, line 1: seed: must be greater", 2),
        (["reid", "eval", "mpn-s", "--data", "{tmp}/nowhere"], "nowhere: no such folder", 2),
        (["reid", "eval", "{tmp}/good.onnx", "--data", "{market}"], "good.onnx: no such model file", 4),
        (["reid", "eval", "mpn-s", "--data", "{market}", "--ranks", "{tmp}/no/a.jpg"], "a.jpg: cannot be written (no folder", 5),
        (["reid", "eval", "mpn-s", "--data", "{market}", "--ranks", "{tmp}/a.txt"], "a.txt: must end in .jpg", 2),
        (["reid", "export", "{tmp}/good.yaml", "--data", "{tmp}", "-o", "{tmp}/x.onnx"], "not a readable checkpoint", 2),
        (["reid", "export", "{trained}", "--data", "{market}", "-o", "{tmp}/x"], "x: must end in .onnx", 2),
        (["reid", "export", "{trained}", "--data", "{market}", "-o", "{tmp}/no/x.onnx"], "x.onnx: cannot be written (no folder", 5),
        (["detector", "eval", "person-s", "{tmp}/nowhere"], "No such file or directory", 2),
        (["detector", "train", "{tmp}/good.yaml", "--data", "{tmp}", "-o", "{tmp}/o"], "good.yaml, line 1: epochs: unknown key; expected one of model", 2),
    ],
)  # fmt: skip
def test_mistakes_are_told_in_a_line(tmp_path, market, trained, words, says, code, monkeypatch, capsys):
    (tmp_path / "typo.yaml").write_text("epoch: 3\n")
    (tmp_path / "good.yaml").write_text("epochs: 3\n")
    small = "backbone: mobilenetv2_100\nheight: 64\nwidth: 32\nbatch_ids: 4\nheld_out_ids: 4\n"
    (tmp_path / "offline.yaml").write_text(small.replace("mobilenetv2_100", "resnet18"))
    (tmp_path / "start.yaml").write_text(f"{small}start: {tmp_path}/good.yaml\n")
    (tmp_path / "seed.yaml").write_text("seed: -1\n")
    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    words = [word.format(tmp=tmp_path, market=market, trained=trained) for word in words]
    monkeypatch.setattr("sys.argv", ["passerby", "--log-level", "error", *words])
    with own_logging(), pytest.raises(SystemExit) as ended:
        main()
    told = capsys.readouterr().err
    assert says in told
    assert ended.value.code == code
    assert len(told.splitlines()) == 1


def test_a_data_set_with_pictures_missing_is_refused(market, monkeypatch):
    monkeypatch.setitem(layouts.MARKET.counts, "query", (3368,))
    with pytest.raises(ValueError, match="query: 24 images, but Market-1501 has 3368"):
        layouts.read_split(market, "query")


def test_figures_as_json_and_as_lines(capsys):
    from pipeline.cli.checks import print_figures

    values = {"map": 0.123456, "tpir_1": {"value": 0.5, "low": 0.4, "high": 0.6}, "recall_by_height": {"over_96": 0.9, "under_32": None}}
    print_figures(values, True)
    assert json.loads(capsys.readouterr().out)["map"] == 0.1235
    print_figures(values, False)
    assert capsys.readouterr().out.splitlines() == [
        "map: 0.1235",
        "tpir 1: 0.5 (0.4 to 0.6)",
        "recall by height: over_96 0.9, under_32 None",
    ]
