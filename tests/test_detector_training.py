"""Training of person detectors: weights of an export, uncertain boxes, other cameras' looks."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("ultralytics")
pytest.importorskip("onnx")

from detectors.runtime.session import open_model  # noqa: E402
from detectors.training.appearance import as_other_cameras  # noqa: E402
from detectors.training.loss import IGNORED, PERSON, PersonLoss, inside  # noqa: E402
from detectors.training.start import load_exported  # noqa: E402
from detectors.training.train import PersonModel  # noqa: E402

CHECKOUT = Path(__file__).parents[1]
EXPORT = CHECKOUT / "detectors/weights/person-s.onnx"


@pytest.fixture(scope="module")
def model() -> PersonModel:
    torch.manual_seed(0)
    return PersonModel(str(CHECKOUT / "configs/detector/person-s-model.yaml"), nc=1, ch=3, verbose=False)


def test_a_training_begins_where_the_exported_model_ended(model: PersonModel) -> None:
    images = torch.rand(4, 3, 96, 96)
    load_exported(model, EXPORT, images)
    with torch.no_grad():
        found = model.eval()(images[:1])[0].numpy()
    np.testing.assert_allclose(found, open_model(EXPORT, "cpu").run(images[:1].numpy())[0], atol=2e-2)


def test_an_export_of_another_architecture_is_refused(tmp_path: Path) -> None:
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    with pytest.raises(ValueError, match=r"person-s\.onnx: not an export of this architecture"):
        load_exported(other, EXPORT, torch.rand(1, 3, 32, 32))


def test_points_in_the_boxes_of_each_image() -> None:
    points = torch.tensor([[1.0, 1.0], [5.0, 5.0]])
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [4.0, 0.0, 6.0, 9.0]])
    assert inside(points, boxes, torch.tensor([1.0, 2.0]), 3).tolist() == [[False, False], [True, False], [False, True]]


def loss_of(model: PersonModel, boxes: list[tuple[int, float, float, float, float]]) -> torch.Tensor:
    model.args = SimpleNamespace(box=7.5, cls=0.5, dfl=1.5)
    rows = torch.tensor(boxes).reshape(-1, 5)
    batch = {"img": torch.full((1, 3, 64, 64), 0.5), "cls": rows[:, :1], "bboxes": rows[:, 1:], "batch_idx": torch.zeros(len(rows))}
    criterion = PersonLoss(model)
    with torch.no_grad():
        total, _ = criterion(model.train()(batch["img"]), batch)
    return total


def test_what_is_ignored_is_neither_a_person_nor_background(model: PersonModel) -> None:
    everywhere, person = (IGNORED, 0.5, 0.5, 1.0, 1.0), (PERSON, 0.5, 0.5, 0.4, 0.8)
    nothing = loss_of(model, [])
    assert nothing[1] > 0  # all is background
    assert loss_of(model, [everywhere])[1] == 0
    both, alone = loss_of(model, [person, everywhere]), loss_of(model, [person])
    assert both[0] == pytest.approx(alone[0].item(), rel=1e-4)  # the person's box is learnt all the same
    assert 0 < both[1] < alone[1]


def test_other_cameras_change_pictures_and_stay_in_range() -> None:
    torch.manual_seed(0)
    images = torch.rand(64, 3, 16, 16)
    seen = as_other_cameras(images)
    assert seen.shape == images.shape
    assert seen.min() >= 0 and seen.max() <= 1
    changed = (seen != images).flatten(1).any(1)
    assert 20 < changed.sum() < 64  # some, not all
    assert (seen[:, 0] == seen[:, 1]).flatten(1).all(1).any()  # infrared
