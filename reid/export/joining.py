"""Join networks into one ONNX graph with concatenated embeddings and an optional projection. Needs the extra ``[train]``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, compose, helper, numpy_helper

CROPS, EMBEDDINGS = "crops", "embeddings"
OPSET = 17


@dataclass(frozen=True)
class Network:
    """An fp32 ONNX graph from normalised ``crops`` (n, 3, height, width) to ``embeddings`` (n, dimension), unit rows."""

    model: onnx.ModelProto
    height: int
    width: int
    dimension: int


def joined(networks: Sequence[Network], projection: np.ndarray | None = None) -> Network:
    """Join ``networks`` into one graph, which takes crops of the largest input and resizes them for the others.

    Embeddings are concatenated and normalised, so the cosine of two crops is the mean of the networks' cosines. A ``projection`` (sum of
    all dimensions, d) is applied before normalisation.
    """
    if len(networks) == 1 and projection is None:
        return networks[0]
    largest = max(networks, key=lambda network: network.height * network.width)
    nodes, tensors = [], []
    for number, network in enumerate(networks):
        graph = compose.add_prefix(network.model, f"{number}/").graph
        nodes += resize_nodes(largest, network, f"{number}/{CROPS}")
        nodes += graph.node
        tensors += graph.initializer
    rows, last = [f"{number}/{EMBEDDINGS}" for number in range(len(networks))], "side by side"
    nodes.append(helper.make_node("Concat", rows, [last], axis=1))
    dimension = sum(network.dimension for network in networks)
    if projection is not None:
        tensors.append(numpy_helper.from_array(np.ascontiguousarray(projection, np.float32), "projection"))
        nodes.append(helper.make_node("MatMul", [last, "projection"], ["turned"]))
        last, dimension = "turned", projection.shape[1]
    nodes.append(helper.make_node("LpNormalization", [last], [EMBEDDINGS], axis=1, p=2))
    inputs = [helper.make_tensor_value_info(CROPS, TensorProto.FLOAT, ["batch", 3, largest.height, largest.width])]
    outputs = [helper.make_tensor_value_info(EMBEDDINGS, TensorProto.FLOAT, ["batch", dimension])]
    graph = helper.make_graph(nodes, "joined", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=networks[0].model.ir_version)
    onnx.checker.check_model(model)
    return Network(model, largest.height, largest.width, dimension)


def resize_nodes(largest: Network, network: Network, own: str) -> list[onnx.NodeProto]:
    """Nodes that resize the crops of the graph, which have the size of the ``largest`` network, to the input ``own`` of a network."""
    if (network.height, network.width) == (largest.height, largest.width):
        return [helper.make_node("Identity", [CROPS], [own])]
    size = numpy_helper.from_array(np.array([3, network.height, network.width], np.int64))
    return [
        helper.make_node("Shape", [CROPS], [f"{own}/batch"], end=1),
        helper.make_node("Constant", [], [f"{own}/size"], value=size),
        helper.make_node("Concat", [f"{own}/batch", f"{own}/size"], [f"{own}/sizes"], axis=0),
        helper.make_node("Resize", [CROPS, "", "", f"{own}/sizes"], [own], mode="linear", coordinate_transformation_mode="half_pixel"),
    ]
