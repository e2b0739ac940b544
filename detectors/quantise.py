"""Smaller, faster forms of an exported model: half precision, and static INT8. Needs the extra ``[train]``."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16

from detectors.letterbox import as_bgr, input_size, letterbox
from detectors.onnx import OnnxDetector

Precision = Literal["fp32", "fp16", "int8"]

RANGE_PICTURES = 96
QUANTISED = ["Conv", "Add", "Clip", "Concat", "MaxPool", "Resize"]  # SiLU and the head's arithmetic stay in single precision


def to_half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Weights and arithmetic in half precision; what goes in and comes out stays single."""
    return convert_float_to_float16(model, keep_io_types=True)


def static_int8(
    path: Path,
    out: Path,
    inputs: Iterator[dict[str, np.ndarray]],
    kinds: list[str],
    spared: Callable[[onnx.ModelProto], list[str]] = lambda _: [],
) -> None:
    """Write ``path`` with its nodes of ``kinds``, less those ``spared`` by name, in static INT8: a scale per channel, ranges from ``inputs``."""

    class Inputs(CalibrationDataReader):
        def get_next(self) -> dict[str, np.ndarray] | None:
            return next(inputs, None)

    with tempfile.TemporaryDirectory() as scratch:
        prepared = Path(scratch) / "prepared.onnx"
        quant_pre_process(str(path), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            str(prepared), str(out), Inputs(), quant_format=QuantFormat.QDQ, op_types_to_quantize=kinds, per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, nodes_to_exclude=spared(onnx.load(prepared)),
            calibrate_method=CalibrationMethod.MinMax, extra_options={"ActivationSymmetric": False, "WeightSymmetric": True},
        )  # fmt: skip


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


def metadata(model: onnx.ModelProto) -> dict[str, str]:
    return {entry.key: entry.value for entry in model.metadata_props}


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
