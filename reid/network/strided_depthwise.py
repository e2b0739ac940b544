"""Strided depthwise convolutions with a fast bfloat16 gradient on CPUs. Needs the extra ``[train]``."""

from __future__ import annotations

from typing import Any

import torch
from timm.layers.padding import pad_same
from torch import nn
from torch.nn import functional as F

Mask = tuple[bool, bool, bool]  # gradients wanted: input, weight, bias


def gradients(grad: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, stride: int, padding: int, mask: Mask) -> list[torch.Tensor]:
    """Gradients of a depthwise convolution by input, weight and bias, as selected by ``mask``."""
    how = (None, (stride, stride), (padding, padding), (1, 1), False, (0, 0), len(weight))
    return torch.ops.aten.convolution_backward(grad, x, weight, *how, mask)


class StridedDepthwise(torch.autograd.Function):
    """A strided depthwise convolution whose input gradient is that of an unstrided one, applied to the zero-interleaved output gradient.

    oneDNN is fast in bfloat16 only without a stride; the strided gradient took 40 % of a MobileNetV2 training step.
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
    """timm's strided depthwise convolution ``conv`` with the same weights and output, and the fast gradient in bfloat16 on a CPU."""

    def __init__(self, conv: nn.Conv2d) -> None:
        channels = conv.in_channels
        super().__init__(channels, channels, conv.kernel_size, conv.stride, conv.padding, groups=channels, bias=False)
        self.weight = conv.weight
        self.same = type(conv) is not nn.Conv2d  # TensorFlow's "same" padding, which depends on the image size

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = pad_same(x, list(self.kernel_size), list(self.stride)) if self.same else x
        if self.training and x.device.type == "cpu" and torch.is_autocast_enabled("cpu"):
            half = torch.get_autocast_dtype("cpu")
            return StridedDepthwise.apply(x.to(half), self.weight.to(half), self.stride[0], self.padding[0])
        return super().forward(x)


def replace_strided_convs(network: nn.Module) -> None:
    """Replace each depthwise convolution of stride 2 in the network by a ``DepthwiseConv2d``, in place."""
    for block in list(network.modules()):
        for name, conv in list(block.named_children()):
            if isinstance(conv, nn.Conv2d) and conv.groups == conv.in_channels > 1 and conv.stride == (2, 2) and conv.bias is None:
                setattr(block, name, DepthwiseConv2d(conv))
