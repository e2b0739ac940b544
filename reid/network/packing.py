"""Packed bundles: weights in 8 and 16 bits, arithmetic in fp32. A third of the file size at the same speed."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

BLOCK = 32  # values that share a scale
LARGE = 16384  # least size of a tensor in 8 bits; smaller ones, the first and the depthwise kernels, lose too much
SMALL = 256  # tensors below this size stay in fp32
MARK = "packed/"


def pack(model: onnx.ModelProto) -> onnx.ModelProto:
    """Store large weights in blocks of ``BLOCK`` int8 with an fp16 scale (llama.cpp's Q8_0), others in fp16.

    Nodes at the start of the graph convert them back to fp32; onnxruntime folds these once, when it opens the model.
    """
    kept: list[onnx.TensorProto] = []
    nodes: list[onnx.NodeProto] = []
    for tensor in model.graph.initializer:
        values, name = numpy_helper.to_array(tensor), f"{MARK}{tensor.name}"
        if values.dtype != np.float32 or values.size < SMALL:
            kept.append(tensor)
        elif values.size < LARGE or values.size % BLOCK:
            kept.append(numpy_helper.from_array(values.astype(np.float16), f"{name}/half"))
            nodes.append(to_fp32(f"{name}/half", tensor.name))
        else:
            blocks = values.reshape(-1, BLOCK)
            scale = np.maximum(np.abs(blocks).max(1, keepdims=True) / 127, np.finfo(np.float16).tiny).astype(np.float16)
            kept.append(
                numpy_helper.from_array(np.round(blocks / scale.astype(np.float32)).clip(-127, 127).astype(np.int8), f"{name}/int8")
            )
            kept.append(numpy_helper.from_array(scale, f"{name}/scale"))
            kept.append(numpy_helper.from_array(np.array(values.shape, np.int64), f"{name}/shape"))
            nodes += [
                to_fp32(f"{name}/int8", f"{name}/steps"),
                to_fp32(f"{name}/scale", f"{name}/step"),
                helper.make_node("Mul", [f"{name}/steps", f"{name}/step"], [f"{name}/blocks"], name=f"{name}/scaled"),
                helper.make_node("Reshape", [f"{name}/blocks", f"{name}/shape"], [tensor.name], name=f"{name}/whole"),
            ]
    return with_graph(model, kept, nodes + list(model.graph.node))


def unpack(model: onnx.ModelProto) -> onnx.ModelProto:
    """Restore fp32 weights. A model that is not packed is returned unchanged."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer if tensor.name.startswith(MARK)}
    kept = [tensor for tensor in model.graph.initializer if tensor.name not in held]
    for name, values in held.items():
        whole, _, part = name.removeprefix(MARK).rpartition("/")
        if part == "half":
            kept.append(numpy_helper.from_array(values.astype(np.float32), whole))
        elif part == "int8":
            scale, shape = (held[f"{MARK}{whole}/{of}"] for of in ("scale", "shape"))
            kept.append(numpy_helper.from_array((values * scale.astype(np.float32)).reshape(shape), whole))
    return with_graph(model, kept, [node for node in model.graph.node if not node.name.startswith(MARK)])


def to_fp32(name: str, out: str) -> onnx.NodeProto:
    """A node that casts a tensor to fp32."""
    return helper.make_node("Cast", [name], [out], name=f"{MARK}{out}", to=TensorProto.FLOAT)


def with_graph(model: onnx.ModelProto, initializers: list[onnx.TensorProto], nodes: list[onnx.NodeProto]) -> onnx.ModelProto:
    """A copy of the model with other initializers and nodes."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    del changed.graph.initializer[:], changed.graph.node[:]
    changed.graph.initializer.extend(initializers)
    changed.graph.node.extend(nodes)
    return changed
