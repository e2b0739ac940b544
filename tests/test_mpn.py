"""MPN in training: what each task sees, where its gradients go, hand-worked losses, and the fused form. Needs torch."""

from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra [train]")

import onnx  # noqa: E402
import timm  # noqa: E402
from onnx import numpy_helper  # noqa: E402
from onnxruntime import InferenceSession  # noqa: E402
from torch import nn  # noqa: E402

from detectors.runtime.errors import ModelError  # noqa: E402
from reid.network.backbones import mobile_network  # noqa: E402
from reid.network.mpn import MPN, Inference  # noqa: E402
from reid.network.packing import pack, unpack  # noqa: E402
from reid.network.strided_depthwise import DepthwiseConv2d, replace_strided_convs  # noqa: E402
from reid.training.losses import batch_hard_triplet, class_alignment, part_cross_entropy  # noqa: E402
from reid.training.priors import HEIGHT, WIDTH, Bodies, body_parts, stripes  # noqa: E402
from reid.training.recipe import Recipe  # noqa: E402
from reid.training.train import build, make_optimizer  # noqa: E402


class Tiny(nn.Module):
    """A backbone that keeps places apart: each map cell is a function of its own pixels alone."""

    channels = 8

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 4, 4)

    def forward(self, images):
        return self.conv(images)


def mpn(parts=3, **options):
    torch.manual_seed(0)
    return MPN(Tiny(), ids=5, parts=parts, width=16, dim=8, **options)


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


@pytest.mark.parametrize("foreground", [False, True])
def test_with_a_silhouette_it_sees_that_part_of_the_body_and_nothing_else(foreground):
    """The body stands in the lower half of the left half of the picture; auxiliary task k sees a third of it."""
    body = np.zeros((1, HEIGHT, WIDTH), bool)
    body[:, HEIGHT // 2 :, : WIDTH // 2] = True
    masks, there = body_parts(Bodies(np.array([[0.5, 1]], np.float32), body), 3, 12, 4, foreground)
    assert there.all()
    model, images = mpn().eval(), torch.randn(2, 3, 48, 16, requires_grad=True)
    for k in range(3):
        (gradient,) = torch.autograd.grad(model(images, torch.from_numpy(masks)).aux[:, k].sum(), images)
        seen = gradient.abs().sum((0, 1))
        rows, columns = seen.sum(1).nonzero().ravel(), seen.sum(0).nonzero().ravel()
        assert rows.min() >= 24 + 8 * k
        assert rows.max() < 24 + 8 * (k + 1)
        assert columns.max() < (8 if foreground else 16)


def test_tasks_apart_share_no_convolution_and_without_auxiliary_tasks_there_are_none():
    images, masks = torch.randn(4, 3, 24, 16), torch.from_numpy(stripes(3, 6, 4))[None]
    apart = mpn(shared=False)
    part_cross_entropy(apart(images, masks).aux_logits, torch.tensor([0, 0, 1, 1])).backward()
    assert apart.main.reduce.weight.grad is None
    assert apart.apart.reduce.weight.grad.abs().max() > 0
    alone = mpn(auxiliary=False)
    result = alone(images, masks)
    assert result.aux is result.main
    assert result.aux_logits is result.main_logits


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
    assert model.main.reduce.weight.grad.abs().max() > 0
    assert model.main.project.weight.grad.abs().max() > 0


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


@pytest.mark.parametrize("options", [{}, {"neck": True}, {"attention": True}, {"neck": True, "attention": True}])
def test_the_fused_form_is_exact(options):
    model = mpn(6, **options).train()
    for _ in range(3):
        model(torch.randn(8, 3, 24, 16), torch.from_numpy(stripes(6, 6, 4))[None])  # moves the running statistics
    model.eval()
    images = torch.randn(5, 3, 24, 16)
    with torch.no_grad():
        np.testing.assert_allclose(Inference(model)(images).numpy(), model.embed(images).numpy(), atol=1e-6)


def test_the_neck_stands_between_features_and_classifiers():
    model = mpn(neck=True).train()
    result = model(torch.randn(16, 3, 24, 16), torch.from_numpy(stripes(3, 6, 4))[None])
    assert result.main.min() >= 0  # features end in ReLU
    assert not model.main.neck.bias.requires_grad
    with torch.no_grad():
        mean = model.necked(torch.randn(16, 3, 24, 16)).mean(0)
    np.testing.assert_allclose(mean.numpy(), 0, atol=1e-5)  # centred


def test_auxiliary_tasks_leave_the_running_statistics_of_inference_alone():
    one, other = mpn(neck=True).train(), mpn(neck=True).train()
    images, masks = torch.randn(8, 3, 24, 16), torch.from_numpy(stripes(3, 6, 4))[None]
    one(images, masks)
    other(images, 0 * masks)
    for name in ("project_norm", "neck"):
        np.testing.assert_array_equal(getattr(one.main, name).running_mean.numpy(), getattr(other.main, name).running_mean.numpy())


def test_attention_weighs_each_part_by_its_own_channels():
    model = mpn(attention=True).eval()
    maps = torch.rand(2, 48, 6, 4)
    weighed = (model.main.attention(maps) / maps).detach()
    assert float(weighed.min()) > 0
    assert float(weighed.max()) < 1
    changed = maps.clone()
    changed[:, :16] = 0.5  # part 1's channels
    np.testing.assert_array_equal(
        model.main.attention(maps)[:, 16:].detach().numpy(), model.main.attention(changed)[:, 16:].detach().numpy()
    )


@pytest.mark.parametrize("given", [False, True])
def test_a_neck_starts_from_a_bundle(tmp_path, given):
    """From a bundle with a neck the embeddings are the bundle's; from one without, the neck begins as a plain norm."""
    from reid.training.warm_start import start_from

    model = mpn(neck=given).train()
    for _ in range(3):
        model(torch.randn(8, 3, 24, 16), torch.from_numpy(stripes(3, 6, 4))[None])
    if given:
        model.main.neck.weight.data.uniform_(0.5, 2)
    path = tmp_path / "b.onnx"
    torch.onnx.export(Inference(model), (torch.zeros(2, 3, 24, 16),), str(path), dynamo=False, opset_version=17)
    images, new = torch.randn(16, 3, 24, 16), mpn(neck=True)
    start_from(new, path, images)
    with torch.no_grad():
        if given:
            np.testing.assert_allclose(new.eval().embed(images).numpy(), model.embed(images).numpy(), atol=1e-5)
        else:
            np.testing.assert_allclose(new.eval().necked(images).mean(0).numpy(), 0, atol=1e-5)
    with pytest.raises(ValueError, match="or neck"):
        start_from(mpn(neck=not given, parts=3 if given else 2), path, images)


def test_a_training_starts_from_any_network_of_a_joined_bundle(tmp_path):
    import onnx

    from reid.export.joining import Network, joined
    from reid.training.warm_start import start_from

    models, networks = [], []
    for neck in (True, False):
        model = mpn(neck=neck)
        for parameter in model.parameters():
            parameter.data += 0.1 * torch.randn_like(parameter)
        path = tmp_path / "one.onnx"
        names = {"input_names": ["crops"], "output_names": ["embeddings"], "dynamic_axes": {"crops": {0: "batch"}}}
        torch.onnx.export(Inference(model), (torch.zeros(2, 3, 24, 16),), str(path), dynamo=False, opset_version=17, **names)
        models.append(model)
        networks.append(Network(onnx.load(path), 24, 16, 24))
    onnx.save(joined(networks).model, tmp_path / "two.onnx")
    images = torch.randn(16, 3, 24, 16)
    for number, model in enumerate(models):
        new = mpn(neck=number == 0)
        start_from(new, tmp_path / "two.onnx", images, number)
        with torch.no_grad():
            np.testing.assert_allclose(new.eval().embed(images).numpy(), model.eval().embed(images).numpy(), atol=1e-5)
    with pytest.raises(ValueError, match="start_network 2: the bundle holds 2"):
        start_from(mpn(), tmp_path / "two.onnx", images, 2)


def test_a_training_starts_from_a_bundle_where_the_bundle_was(tmp_path):
    pytest.importorskip("timm", reason="the backbones need the extra [train]")
    from reid.shipped import WEIGHTS
    from reid.training.recipe import Recipe
    from reid.training.train import build
    from reid.training.warm_start import classifiers_from_centres, start_from

    bundle = WEIGHTS / "mpn-s.onnx"
    recipe = Recipe(backbone="mobilenetv2_100", height=256, width=128, neck=True, part_width=320, part_dim=256)
    images = torch.randn(6, 3, 256, 128, generator=torch.Generator().manual_seed(0))
    model = build(recipe, ids=3, pretrained=False)
    start_from(model, bundle, images)
    projection = next(t for t in unpack(onnx.load(bundle)).graph.initializer if t.name == "projection")
    with torch.no_grad():
        ours = model.eval().embed(images) @ torch.from_numpy(numpy_helper.to_array(projection).copy())
        ours = torch.nn.functional.normalize(ours)
    import onnxruntime

    theirs = onnxruntime.InferenceSession(str(bundle), providers=["CPUExecutionProvider"]).run(None, {"crops": images.numpy()})[0]
    assert float((ours.numpy() * theirs).sum(1).min()) > 0.9999
    features, labels = torch.tensor([[[3.0, 0]], [[1, 0]], [[0, 2]], [[3, 3]]]).repeat(1, 4, 128), torch.tensor([0, 0, 1, 2])
    classifiers_from_centres(model, features, labels)
    centred = torch.stack([features[:2].mean(0), features[2], features[3]])
    centred = centred - centred.mean(0)
    own = torch.einsum("nkd,kdn->kn", centred, model.main_classifiers)
    np.testing.assert_allclose(own.detach().numpy(), 8.0, rtol=1e-4)
    with pytest.raises(ValueError, match="another backbone, number of parts, or neck"):
        start_from(build(Recipe(backbone="mobilenetv2_100", parts=2), ids=3, pretrained=False), bundle, images)
    with pytest.raises(ValueError, match="not an fp32 or packed bundle"):
        start_from(model, without_convolutions(bundle, tmp_path), images)
    with pytest.raises(ValueError, match="not an fp32 or packed bundle"):
        start_from(model, without_biases(bundle, tmp_path), images)
    damaged = bytearray(bundle.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    (tmp_path / "damaged.onnx").write_bytes(damaged)
    (tmp_path / "text.onnx").write_bytes(b"\xff" * 9)
    for name, message in (("damaged", "checksum mismatch"), ("text", "not an ONNX file"), ("none", "no such model file")):
        with pytest.raises(ModelError, match=f"{name}.onnx: .*{message}"):
            start_from(model, tmp_path / f"{name}.onnx", images)


def without_biases(bundle, folder):
    import onnx

    model = onnx.load(bundle)
    for node in model.graph.node:
        if node.op_type == "Conv":
            del node.input[2:]
    del model.metadata_props[:]
    onnx.save(model, folder / "unbiased.onnx")
    return folder / "unbiased.onnx"


def without_convolutions(bundle, folder):
    import onnx

    model = onnx.load(bundle)
    del model.graph.node[:]
    del model.metadata_props[:]
    onnx.save(model, folder / "empty.onnx")
    return folder / "empty.onnx"


def test_packed_weights_unpack_to_what_they_were_within_a_step():
    rng = np.random.default_rng(0)
    kinds = {"large": (64, 300), "ragged": (129, 131), "middle": (20, 20), "few": (3,), "none": (64, 512)}
    arrays = {name: rng.normal(0, 0.1, shape).astype(np.float32) for name, shape in kinds.items()}
    arrays["none"][:] = 0
    graph = onnx.helper.make_graph(
        [], "weights", [], [onnx.helper.make_tensor_value_info(name, 1, shape) for name, shape in kinds.items()],
        [numpy_helper.from_array(values, name) for name, values in arrays.items()],
    )  # fmt: skip
    packed = pack(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8))
    assert {tensor.name.rpartition("/")[2]: tensor.data_type for tensor in packed.graph.initializer if "large" in tensor.name} == {
        "int8": onnx.TensorProto.INT8, "scale": onnx.TensorProto.FLOAT16, "shape": onnx.TensorProto.INT64,
    }  # fmt: skip
    restored = {tensor.name: numpy_helper.to_array(tensor) for tensor in unpack(packed).graph.initializer}
    ran = InferenceSession(packed.SerializeToString(), providers=["CPUExecutionProvider"]).run(list(kinds), {})
    assert restored.keys() == arrays.keys()
    for (name, values), run in zip(arrays.items(), ran, strict=True):
        np.testing.assert_array_equal(restored[name], run)
        assert np.abs(restored[name] - values).max() <= {"large": np.abs(values).max() / 250, "few": 0}.get(name, 1e-3)
    assert unpack(unpack(packed)) == unpack(packed)


def test_norms_and_biases_do_not_decay():
    recipe = Recipe(backbone="mobilenetv2_100", weight_decay=0.3, backbone_rate=0.5)
    mpn = build(recipe, 3, pretrained=False)
    optimizer = make_optimizer(mpn, None, recipe)
    decayed = {id(p) for group in optimizer.param_groups if group["weight_decay"] for p in group["params"]}
    every = [id(p) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(every) == sorted(id(p) for p in mpn.parameters())
    assert decayed == {id(p) for p in mpn.parameters() if p.ndim > 1}


@pytest.mark.parametrize("name", ["mobilenetv2_100", "tf_efficientnet_lite0"])
def test_parts_begin_with_the_features_that_imagenet_taught(name):
    network = mobile_network(name, pretrained=True).eval()
    mpn = build(Recipe(backbone=name, parts=4, part_width=320, last_stride=2), 3).eval()
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        maps = mpn.main.maps(mpn.backbone(images)).clamp(max=6)  # theirs ends with ReLU6
        theirs = network.bn2(network.conv_head(network.blocks(network.bn1(network.conv_stem(images)))))
    torch.testing.assert_close(maps, theirs, atol=2e-3, rtol=0)  # its norms guard against division by nothing with another number
    assert maps.std() > 0.1


@pytest.mark.parametrize(
    ("name", "size"), [("mobilenetv2_100", (12, 9)), ("tf_efficientnet_lite0", (12, 9)), ("tf_efficientnet_lite0", (11, 8))]
)
def test_the_quick_gradient_of_strided_depthwise_convolutions_is_the_gradient(name, size):
    block = timm.create_model(name).blocks[1][0]
    plain, quick = block.conv_dw, copy.deepcopy(block)
    replace_strided_convs(quick)
    assert type(quick.conv_dw) is DepthwiseConv2d
    assert set(quick.state_dict()) == set(block.state_dict())
    x = torch.randn(2, plain.in_channels, *size)
    found = []
    for conv in (plain, quick.conv_dw):
        given = x.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            y = conv(given)
        y.float().square().sum().backward()
        with torch.no_grad():
            found.append((y, given.grad, conv.weight.grad, conv(x)))
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, rtol=0.02, atol=0.02)
    assert type(found[1][0].grad_fn).__name__ == "StridedDepthwiseBackward"


def test_half_whitening_divides_components_by_the_root_of_their_spread():
    from reid.export.whitening import half_whitening

    rng = np.random.default_rng(0)
    axes, _ = np.linalg.qr(rng.normal(size=(5, 5)))
    rows = rng.choice([-1.0, 1.0], (4000, 5)) * [8, 4, 2, 1, 0.5] @ axes.T  # spreads that halve along the axes
    turned = (rows @ half_whitening(rows, 3)).std(0)
    np.testing.assert_allclose(turned / turned[0], [1, np.sqrt(1 / 2), np.sqrt(1 / 4)], rtol=0.02)
    with pytest.raises(ValueError, match="dimensions 6: 4000 embeddings of 5 dimensions have at most 5"):
        half_whitening(rows, 6)
