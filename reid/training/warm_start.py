"""Warm start: load the fused ONNX weights of a bundle into a trainable MPN. Needs the extra ``[train]``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from torch import nn

from detectors.runtime.errors import ModelError
from reid.bundle import check_seal
from reid.network.mpn import MPN
from reid.network.packing import unpack


@dataclass(frozen=True)
class Fused:
    """A network as exported: (weight, bias) of each convolution in execution order; (scale, shift) of its neck, if any."""

    convs: list[tuple[torch.Tensor, torch.Tensor]]
    neck: tuple[torch.Tensor, torch.Tensor] | None


def fused_networks(bundle: Path) -> list[Fused]:
    """The networks in an fp32 or packed bundle. Raises ModelError if it is missing or damaged, ValueError if it is not such a bundle."""
    if not bundle.is_file():
        raise ModelError(f"{bundle}: no such model file")
    try:
        model = onnx.load(bundle)
    except Exception as error:  # onnx does not wrap protobuf's errors
        raise ModelError(f"{bundle}: not an ONNX file ({error})") from None
    check_seal(bundle, {prop.key: prop.value for prop in model.metadata_props})
    graph = unpack(model).graph
    tensors = {tensor.name: torch.from_numpy(np.array(numpy_helper.to_array(tensor), np.float32)) for tensor in graph.initializer}
    for node in graph.node:  # equal tensors are stored once
        if node.op_type == "Identity" and node.input[0] in tensors:
            tensors[node.output[0]] = tensors[node.input[0]]
    layers = [node for node in graph.node if node.op_type in ("Conv", "BatchNormalization")]
    convs = [node for node in layers if node.op_type == "Conv"]
    if not convs or any(len(node.input) < 3 or any(name not in tensors for name in node.input[1:]) for node in convs):
        raise ValueError(f"{bundle}: not an fp32 or packed bundle, so training cannot start from it")
    colours = tensors[convs[0].input[1]].shape[1]  # only the first convolution of a network sees the channels of the image
    first = [row for row, node in enumerate(layers) if node.op_type == "Conv" and tensors[node.input[1]].shape[1] == colours]
    return [fused(layers[start:end], tensors) for start, end in zip(first, [*first[1:], None], strict=True)]


def fused(layers: list[onnx.NodeProto], tensors: dict[str, torch.Tensor]) -> Fused:
    """The network with these convolutions and norm."""
    neck = None
    for norm in (node for node in layers if node.op_type == "BatchNormalization"):
        scale, shift, mean, variance = (tensors[name] for name in norm.input[1:])
        scale = scale / torch.sqrt(variance + next(a.f for a in norm.attribute if a.name == "epsilon"))
        neck = scale, shift - mean * scale
    convs = [(tensors[node.input[1]], tensors[node.input[2]]) for node in layers if node.op_type == "Conv"]
    return Fused(convs, neck)


@torch.no_grad()
def start_from(mpn: MPN, bundle: Path, images: torch.Tensor, number: int = 0) -> None:
    """Load network ``number`` of ``bundle`` into ``mpn``. Its embeddings of ``images`` (n, 3, h, w) then equal those of the network, before
    the projection to principal components that export may have added.

    Batch norms are folded into the exported convolutions: each norm gets the statistics of ``images``, and the scale and shift that
    cancel them. A neck that the bundle lacks starts as the norm of ``images``. Raises ValueError if the bundle has other layers or fewer
    networks, and as ``fused_networks`` does.
    """
    convs: list[nn.Conv2d] = []
    hooks = [m.register_forward_hook(lambda m, *_: convs.append(m)) for m in mpn.modules() if isinstance(m, nn.Conv2d)]
    mpn.eval().embed(images[:1])
    for hook in hooks:
        hook.remove()
    networks = fused_networks(bundle)
    if number >= len(networks):
        raise ValueError(f"{bundle}: start_network {number}: the bundle holds {len(networks)}, counted from 0")
    layers, neck = networks[number].convs, networks[number].neck
    same = [tuple(c.weight.shape) for c in convs] == [tuple(w.shape) for w, _ in layers]
    if not same or (neck is not None and not isinstance(mpn.main.neck, nn.BatchNorm2d)):
        raise ValueError(f"{bundle}: layers differ from the recipe: another backbone, number of parts, or neck?")
    shifts = iter([bias for conv, (_, bias) in zip(convs, layers, strict=True) if conv.bias is None])

    def cancel(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        assert isinstance(norm, nn.BatchNorm2d)
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        norm.running_mean, norm.running_var = mean, variance
        if norm is not mpn.main.neck:
            norm.weight.copy_(torch.sqrt(variance + norm.eps))
            norm.bias.copy_(mean + next(shifts))
        elif neck is not None:
            norm.weight.copy_(torch.sqrt(variance + norm.eps) * neck[0])
            norm.bias.copy_(mean * neck[0] + neck[1])

    for conv, (weight, bias) in zip(convs, layers, strict=True):
        conv.weight.copy_(weight)
        if conv.bias is not None:
            conv.bias.copy_(bias)
    hooks = [m.register_forward_pre_hook(cancel) for m in mpn.modules() if isinstance(m, nn.BatchNorm2d)]
    mpn.embed(images)
    for hook in hooks:
        hook.remove()


@torch.no_grad()
def classifiers_from_centres(mpn: MPN, features: torch.Tensor, labels: torch.Tensor, peak: float = 8.0) -> None:
    """Set both classifiers to the centred class means of ``features`` (n, parts, dim); the logit of the true class is about ``peak``."""
    sums = torch.zeros(mpn.main_classifiers.shape[2], *features.shape[1:]).index_add_(0, labels, features)
    centres = sums / labels.bincount()[:, None, None]
    centres -= centres.mean(0)
    weight = (centres / centres.square().sum(2, keepdim=True).clamp(min=1e-6)).permute(1, 2, 0) * peak
    mpn.main_classifiers.copy_(weight)
    mpn.aux_classifiers.copy_(weight)
