"""Smaller, faster forms of an exported model: half precision, and static INT8. Needs the extra ``[train]``."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import onnx

from detectors.letterbox import as_bgr, input_size, letterbox
from detectors.onnx import OnnxDetector
from detectors.runtime.precision import metadata, static_int8, to_half

RANGE_PICTURES = 96
QUANTISED = ["Conv", "Add", "Clip", "Concat", "MaxPool", "Resize"]  # SiLU and the head's arithmetic stay in single precision


def half(path: Path, out: Path) -> None:
    """A detector ``path`` in half precision."""
    model = onnx.load(path)
    converted = to_half(model)
    onnx.helper.set_model_props(converted, metadata(model) | {"precision": "fp16"})
    onnx.save(converted, out)


def int8(path: Path, out: Path, pictures: Iterable[np.ndarray], size: int) -> None:
    """A detector ``path`` in INT8, ranges from up to ``RANGE_PICTURES`` (h, w, 3) uint8 BGR ``pictures`` at ``size`` px."""
    detector, facts = OnnxDetector(path, size=size, device="cpu"), metadata(onnx.load(path))

    def fitted(picture: np.ndarray) -> np.ndarray:
        picture = as_bgr(picture)
        return letterbox(picture, *input_size(picture.shape[0], picture.shape[1], size, detector.layout.stride))[0]

    inputs = ({"images": detector.blob([fitted(picture)])} for picture in itertools.islice(pictures, RANGE_PICTURES))
    static_int8(path, out, inputs, QUANTISED, last_layers)
    model = onnx.load(out)
    onnx.helper.set_model_props(model, facts | {"precision": "int8"})
    onnx.save(model, out)


def last_layers(model: onnx.ModelProto) -> list[str]:
    """Names of the nodes of which no convolution of more than 1x1 comes any more, and of the convolutions that end the branches.

    They give coordinates and scores, in which eight bits would be seen.
    """
    kernels = {tensor.name: tuple(tensor.dims[2:]) for tensor in model.graph.initializer}
    readers: dict[str, list[int]] = {}
    for at, node in enumerate(model.graph.node):
        for name in node.input:
            readers.setdefault(name, []).append(at)
    before_convolution: set[int] = set()  # nodes from which a convolution over several cells can still be reached
    for at in reversed(range(len(model.graph.node))):  # in the order of the graph, readers come after
        node = model.graph.node[at]
        following = [reader for name in node.output for reader in readers.get(name, [])]
        spatial = node.op_type == "Conv" and any(side > 1 for side in kernels.get(node.input[1], ()))
        if spatial or any(reader in before_convolution for reader in following):
            before_convolution.add(at)
    return [node.name for at, node in enumerate(model.graph.node) if at not in before_convolution]
