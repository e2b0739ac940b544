"""Start a training from one of our exported models: convolutions from the ONNX graph, batch norms estimated on pictures."""

from __future__ import annotations

from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from torch import nn


def convolutions(path: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Weight and bias of each convolution of an ONNX model, in the order of the graph, which is that of the forward pass."""
    graph = onnx.load(path).graph
    values = {one.name: torch.from_numpy(numpy_helper.to_array(one).copy()) for one in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    return [(values[node.input[1]], values[node.input[2]] if len(node.input) > 2 else torch.zeros(0)) for node in nodes]


def in_forward_order(model: nn.Module, images: torch.Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d | None]]:
    """The convolutions of ``model`` as a forward pass of ``images`` reaches them, each with the batch norm that takes its output."""
    found: list[tuple[nn.Conv2d, nn.BatchNorm2d | None]] = []

    def reached(module: nn.Module, _: object, __: object) -> None:
        if isinstance(module, nn.Conv2d):
            found.append((module, None))
        elif isinstance(module, nn.BatchNorm2d):
            found[-1] = (found[-1][0], module)

    hooks = [one.register_forward_hook(reached) for one in model.modules() if isinstance(one, nn.Conv2d | nn.BatchNorm2d)]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return found


def load_exported(model: nn.Module, path: Path, images: torch.Tensor) -> None:
    """Give ``model`` the weights of the exported ``path``. An export folds each batch norm into its convolution; here it is unfolded.

    The output of each folded convolution is measured on ``images`` (n, 3, h, w; RGB in 0..1): its mean and variance become the batch
    norm's running statistics, and its scale and shift undo them, so that the function is the export's, and the batch norm can learn.
    Raises ValueError if the two architectures differ.
    """
    model.eval()
    layers, weights = in_forward_order(model, images[:1]), convolutions(path)
    if [tuple(layer.weight.shape) for layer, _ in layers] != [tuple(weight.shape) for weight, _ in weights]:
        raise ValueError(
            f"{path}: not an export of this architecture: {len(weights)} convolutions, the model has {len(layers)}, or their sizes differ"
        )
    measured: dict[nn.Module, tuple[torch.Tensor, torch.Tensor]] = {}

    def measure(module: nn.Module, _: object, output: torch.Tensor) -> None:
        measured[module] = (output.mean((0, 2, 3)), output.var((0, 2, 3)))

    hooks = []
    for (layer, norm), (weight, bias) in zip(layers, weights, strict=True):
        layer.weight.data.copy_(weight)
        if norm is None:
            if layer.bias is not None:
                layer.bias.data.copy_(bias)
            continue
        norm.running_mean.zero_()
        norm.running_var.fill_(1 - norm.eps)
        norm.weight.data.fill_(1.0)
        norm.bias.data.copy_(bias)
        hooks.append(layer.register_forward_hook(measure))
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    for layer, norm in layers:
        if norm is not None:
            mean, variance = measured[layer]
            norm.running_mean.copy_(mean)
            norm.running_var.copy_(variance)
            norm.weight.data.copy_((variance + norm.eps).sqrt())
            norm.bias.data.add_(mean)
