"""``passerby reid wrap``: other projects' networks as bundles, whatever their input and output look like. The networks are made here."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from command import passerby

onnx = pytest.importorskip("onnx", reason="needs the package onnx")
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from reid import Embedder  # noqa: E402
from reid.export.wrap import candidates  # noqa: E402


@pytest.fixture(scope="session")
def people(tmp_path_factory) -> Path:
    """Twelve people, three pictures of each from two cameras: a shirt and trousers of their own colours."""
    root = tmp_path_factory.mktemp("people")
    rng = np.random.default_rng(0)
    for person in range(12):
        (root / f"{person:03d}").mkdir()
        shirt, trousers = rng.integers(20, 236, (2, 3))
        for camera in (1, 2):
            for number in range(3):
                picture = np.full((64, 32, 3), 120, np.float32)
                picture[8:32, 6:26], picture[32:60, 8:24] = shirt, trousers
                picture += rng.normal(0, 12, picture.shape) + rng.normal(0, 6)
                cv2.imwrite(str(root / f"{person:03d}" / f"{camera}_{number}.jpg"), picture.clip(0, 255).astype(np.uint8))
    return root


def network(
    path: Path,
    layout: str = "NCHW",
    kind: int = TensorProto.FLOAT,
    batch: int | str = "batch",
    size: tuple = (64, 32),
    extra: bool = False,
    flat: bool = True,
    fixed: bool = False,
) -> Path:
    """A network whose embedding is the mean colour of a grid of 4 x 2 cells, less that of grey."""
    half = kind == TensorProto.FLOAT16
    weight = numpy_helper.from_array(np.array([0.45], np.float16 if half else np.float32), "grey")
    nodes = [helper.make_node("Transpose", ["images"], ["x"], perm=[0, 3, 1, 2])] if layout == "NHWC" else []
    nodes.append(helper.make_node("AveragePool", ["x" if nodes else "images"], ["cells"], kernel_shape=[16, 16], strides=[16, 16]))
    nodes.append(helper.make_node("Sub", ["cells", "grey"], ["out" if not flat else "centred"]))
    if fixed:  # a graph that holds for one image alone
        nodes.append(helper.make_node("Reshape", ["centred", "shape"], ["out"]))
    elif flat:
        nodes.append(helper.make_node("Flatten", ["centred"], ["out"], axis=1))
    shape = [batch, *size, 3] if layout == "NHWC" else [batch, 3, *size]
    outputs = [helper.make_tensor_value_info("out", kind, [batch, 24] if flat else [batch, 3, 4, 2])]
    if extra:
        nodes.append(helper.make_node("ReduceMean", ["out"], ["logits"], axes=[1], keepdims=1))
        outputs.insert(0, helper.make_tensor_value_info("logits", kind, [batch, 1]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("images", kind, shape)],
        outputs,
        [weight, numpy_helper.from_array(np.array([1, 24]), "shape")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("form", "words"),
    [
        ({}, ()),
        ({"layout": "NHWC"}, ()),
        ({"kind": TensorProto.FLOAT16}, ()),
        ({"extra": True}, ("--output", "out")),
        ({"batch": 1, "fixed": True}, ()),
        ({"size": ("h", "w")}, ("--size", "64x32")),
    ],
)
def test_a_network_becomes_a_bundle(people, tmp_path, form, words):
    source, out = network(tmp_path / "net.onnx", **form), tmp_path / "mine.onnx"
    done = passerby("reid", "wrap", source, "--data", people, "-o", out, "--pixels", "0-1", "--colour", "BGR", *words)
    assert done.returncode == 0, done.stderr
    bundle = Embedder(str(out))
    assert (bundle.facts.height, bundle.facts.width, bundle.facts.dimension) == (64, 32, 24)
    assert 0 < bundle.facts.calibration.gate < 2
    picture = cv2.imread(str(people / "003" / "1_0.jpg"))
    cells = picture.astype(np.float64).reshape(4, 16, 2, 16, 3).mean((1, 3)) / 255 - 0.45
    expected = cells.transpose(2, 0, 1).ravel()
    for row in bundle.embed([picture] * 3):
        np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=2e-3)


def test_the_pixels_are_found_by_the_data(people, tmp_path):
    """The network wants 0..1: with other numbers, its grey is not subtracted, and people look alike."""
    done = passerby("reid", "wrap", network(tmp_path / "net.onnx"), "--data", people, "-o", tmp_path / "mine.onnx")
    assert done.returncode == 0, done.stderr
    assert "pixels 0-255 RGB" in done.stdout
    best = max(
        (line for line in done.stdout.splitlines() if "deviations" in line), key=lambda line: float(line.split("are ")[1].split()[0])
    )
    assert "pixels 0-1" in best
    assert "pixels 0-1" in done.stdout.splitlines()[-1]
    assert len([line for line in done.stdout.splitlines() if "deviations" in line]) == 8


@pytest.mark.parametrize(
    ("form", "words", "said"),
    [
        ({"extra": True}, (), "choose the embedding with --output"),
        ({"flat": False}, (), "one vector per image"),
        ({}, ("--output", "none"), "no output 'none'"),
        ({}, ("--size", "128x64"), "takes images of 64x32"),
        ({}, ("--pixels", "bright"), "must be auto"),
        ({}, ("--mean", "0,0,0"), "both --mean and --std"),
        ({}, ("--layout", "HWC"), "NCHW or NHWC"),
    ],
)
def test_what_cannot_be_wrapped_is_said(people, tmp_path, form, words, said):
    import re

    done = passerby("reid", "wrap", network(tmp_path / "net.onnx", **form), "--data", people, "-o", tmp_path / "mine.onnx", *words)
    assert done.returncode == 2
    assert re.search(said, done.stderr), done.stderr
    assert not (tmp_path / "mine.onnx").exists()


def test_what_is_stated_is_taken():
    (one,) = candidates("auto", "BGR", [0.5, 0.5, 0.5], [0.25, 0.25, 0.25])
    assert (one.mean, one.std) == ((127.5,) * 3, (63.75,) * 3)
    rgb, bgr = candidates("imagenet", None, None, None)
    assert rgb.mean == bgr.mean[::-1]
