"""Convert exported detectors to fp16 or static INT8. Needs the extra ``[train]``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

from detectors.heads import HEADS
from detectors.letterbox import as_bgr, input_size, letterbox
from detectors.onnx import read_layout
from detectors.preparation import to_input
from detectors.runtime.precision import metadata, static_int8, to_half
from detectors.runtime.session import open_model

RANGE_IMAGES = 96
QUANTISED = ["Conv", "Add", "Clip", "Concat", "MaxPool", "Resize"]  # SiLU and the head's arithmetic stay in fp32


def half(path: Path, out: Path) -> None:
    """Convert a detector to fp16."""
    model = onnx.load(path)
    converted = to_half(model)
    onnx.helper.set_model_props(converted, metadata(model) | {"precision": "fp16"})
    onnx.save(converted, out)


def int8(path: Path, out: Path, images: Iterable[np.ndarray], size: int) -> None:
    """Quantise a detector to INT8; ranges from up to ``RANGE_IMAGES`` (h, w, 3) uint8 BGR ``images`` at ``size`` px."""
    layout, facts = read_layout(open_model(path, "cpu")), metadata(onnx.load(path))

    def fitted(image: np.ndarray) -> np.ndarray:
        image = as_bgr(image)
        return letterbox(image, *input_size(image.shape[0], image.shape[1], size, layout.stride))[0]

    inputs = ({"images": to_input([fitted(image)], HEADS[layout.heads[0]].colours)} for image in itertools.islice(images, RANGE_IMAGES))
    static_int8(path, out, inputs, QUANTISED, head_layers)
    model = onnx.load(out)
    onnx.helper.set_model_props(model, facts | {"precision": "int8"})
    onnx.save(model, out)


def head_layers(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes from which no convolution larger than 1x1 is reachable.

    They output coordinates and scores, which 8 bits would visibly round.
    """
    kernels = {tensor.name: tuple(tensor.dims[2:]) for tensor in model.graph.initializer}
    readers: dict[str, list[int]] = {}
    for at, node in enumerate(model.graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(at)
    before_convolution: set[int] = set()  # nodes from which a convolution larger than 1x1 is reachable
    for at in reversed(range(len(model.graph.node))):  # the graph is sorted: readers come later
        node = model.graph.node[at]
        following = [reader for name in node.output for reader in readers.get(name, [])]
        spatial = node.op_type == "Conv" and any(side > 1 for side in kernels.get(node.input[1], ()))
        if spatial or any(reader in before_convolution for reader in following):
            before_convolution.add(at)
    return [node.name for at, node in enumerate(model.graph.node) if at not in before_convolution]
