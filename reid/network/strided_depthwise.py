"""Depthwise convolutions with a stride that train quickly in bfloat16 on a CPU. Needs the extra ``[train]``."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.padding import pad_same
from torch import nn
from torch.nn import functional as F

Wanted = tuple[bool, bool, bool]  # the gradients by input, weight and bias


def gradients(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int, wanted: Wanted) -> list[torch.Tensor]:
    """Of a depthwise convolution."""
    how = (None, (stride, stride), (padding, padding), (1, 1), False, (0, 0), len(weight))
    return torch.ops.aten.convolution_backward(grad, x, weight, *how, wanted)


class StridedDepthwise(torch.autograd.Function):
    """A depthwise convolution with a stride, whose gradient by the input is that of one without: of the gradient spread out, zeros between.

    For the latter oneDNN has quick code in bfloat16. The former took four tenths of a MobileNetV2's training step.
    """

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, len(weight))

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None, None]:
        (x, weight), stride, padding = ctx.saved_tensors, ctx.stride, ctx.padding
        tall, wide = (size + 2 * padding - kernel + 1 for size, kernel in zip(x.shape[2:], weight.shape[2:], strict=True))
        spread = grad.new_zeros(*grad.shape[:2], tall, wide).to(memory_format=torch.channels_last)
        spread[:, :, ::stride, ::stride] = grad
        by_input = gradients(spread, x, weight, 1, padding, (True, False, False))[0]
        by_weight = gradients(grad, x, weight, stride, padding, (False, True, False))[1]
        return by_input, by_weight, None, None


class DepthwiseConv2d(nn.Conv2d):
    """The depthwise convolution with a stride ``conv`` of timm: the same weights and values, and in bfloat16 on a CPU the quick gradient."""

    def __init__(self, conv: nn.Conv2d) -> None:
        channels = conv.in_channels
        super().__init__(channels, channels, conv.kernel_size, conv.stride, conv.padding, groups=channels, bias=False)
        self.weight = conv.weight
        self.same = type(conv) is not nn.Conv2d  # TensorFlow's padding, which depends on the picture's size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = pad_same(x, list(self.kernel_size), list(self.stride)) if self.same else x
        if self.training and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            half = torch.get_autocast_dtype("cpu")
            return StridedDepthwise.apply(x.to(half), self.weight.to(half), self.stride[0], self.padding[0])
        return super().forward(x)


def quicken(network: nn.Module) -> None:
    """Put a ``DepthwiseConv2d`` where the network has a depthwise convolution with a stride."""
    for block in list(network.modules()):
        for name, conv in list(block.named_children()):
            if isinstance(conv, nn.Conv2d) and conv.groups == conv.in_channels > 1 and conv.stride == (2, 2) and conv.bias is None:
                setattr(block, name, DepthwiseConv2d(conv))
