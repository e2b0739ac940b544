"""MPN in training: what each task sees, where its gradients go, hand-worked losses, and the fused form. Needs torch."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

from torch import nn  # noqa: E402

from reid.losses import batch_hard_triplet, class_alignment, part_cross_entropy  # noqa: E402
from reid.model import MPN, Inference  # noqa: E402
from reid.priors import stripes  # noqa: E402


class Tiny(nn.Module):
    """A backbone that keeps places apart: each map cell is a function of its own pixels alone."""

    channels = 8

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)

    def forward(self, images):
        return self.conv(images)


def mpn(parts=3):
    torch.manual_seed(0)
    return MPN(Tiny(), ids=5, parts=parts, width=16, dim=8)


def test_stripes_cover_the_map_and_none_is_empty():
    for parts, height in ((3, 6), (6, 8), (4, 3)):
        bands = stripes(parts, height, 2)
        assert bands.shape == (parts, height, 2)
        assert (bands.sum(0) >= 1).all()
        assert (bands.sum((1, 2)) > 0).all()
    np.testing.assert_array_equal(stripes(3, 6, 1)[:, :, 0].argmax(1), [0, 2, 4])


def test_auxiliary_task_k_sees_part_k_and_nothing_else():
    model = mpn().eval()
    masks = torch.from_numpy(stripes(3, 6, 4))[None]
    images = torch.randn(2, 3, 24, 16, requires_grad=True)
    for k in range(3):
        (gradient,) = torch.autograd.grad(model(images, masks).aux[:, k].sum(), images)
        rows = gradient.abs().sum((0, 1, 3)).nonzero().ravel()
        assert rows.min() >= 8 * k
        assert rows.max() < 8 * (k + 1)


def test_a_missing_part_gives_no_gradient():
    model = mpn()
    masks = torch.from_numpy(stripes(3, 6, 4))[None].repeat(4, 1, 1, 1)
    valid = torch.ones(4, 3, dtype=torch.bool)
    valid[:, 1] = False
    result = model(torch.randn(4, 3, 24, 16), masks)
    part_cross_entropy(result.aux_logits, torch.tensor([0, 0, 1, 1]), valid).backward()
    assert model.aux_classifiers.grad[1].abs().max() == 0
    assert model.aux_classifiers.grad[0].abs().max() > 0


@pytest.mark.parametrize("task", ["main_logits", "aux_logits"])
def test_both_tasks_reach_the_shared_convolutions(task):
    model = mpn()
    result = model(torch.randn(4, 3, 24, 16), torch.from_numpy(stripes(3, 6, 4))[None])
    part_cross_entropy(getattr(result, task), torch.tensor([0, 0, 1, 1])).backward()
    assert model.reduce.weight.grad.abs().max() > 0
    assert model.project.weight.grad.abs().max() > 0


def test_cross_entropy_by_hand():
    logits = torch.log(torch.tensor([[[0.5, 0.5], [0.25, 0.75]]]))
    assert float(part_cross_entropy(logits, torch.tensor([0]))) == pytest.approx(np.log(2) + np.log(4), rel=1e-5)


def test_alignment_by_hand():
    labels = torch.tensor([0, 0, 1])
    main = torch.tensor([[[1.0, 0]], [[1.0, 0]], [[0, 2.0]]])
    aux = torch.tensor([[[2.0, 0]], [[0, 2.0]], [[0, 5.0]]])
    # identity 0: centres (1, 0) and (1, 1); identity 1: the same direction
    assert float(class_alignment(main, aux, labels)) == pytest.approx((1 - 1 / np.sqrt(2)) / 2, rel=1e-5)


def test_triplet_by_hand():
    features = torch.tensor([[1.0, 0], [0, 3.0], [-2.0, 0], [0, -1.0]])
    labels = torch.tensor([0, 0, 1, 1])
    # positives are a quarter turn apart (sqrt 2), nearest negatives too: the loss is the margin
    assert float(batch_hard_triplet(features, labels, 0.4)) == pytest.approx(0.4, rel=1e-5)


def test_the_fused_form_is_exact():
    model = mpn(6).train()
    for _ in range(3):
        model(torch.randn(8, 3, 24, 16), torch.from_numpy(stripes(6, 6, 4))[None])  # moves the running statistics
    model.eval()
    images = torch.randn(5, 3, 24, 16)
    with torch.no_grad():
        np.testing.assert_allclose(Inference(model)(images).numpy(), model.embed(images).numpy(), atol=1e-6)
