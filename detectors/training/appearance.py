"""Changes of a camera's appearance during training: infrared, colour cast, low light, low resolution."""

from __future__ import annotations

import torch
from torch.nn.functional import interpolate

LUMA = torch.tensor([0.299, 0.587, 0.114])
GREY, CAST, EXPOSURE, SOFT = 0.2, 0.15, 0.25, 0.2  # chance of each change


def as_other_cameras(images: torch.Tensor) -> torch.Tensor:
    """(n, 3, h, w) RGB in 0..1 as other cameras might have seen it: each change is drawn for each image on its own."""
    count, _, height, width = images.shape
    draw = torch.rand(4, count)
    grey = (images * LUMA[None, :, None, None]).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    images = torch.where((draw[0] < GREY)[:, None, None, None], grey, images)
    gain = 1 + (torch.rand(count, 3, 1, 1) - 0.5) * 0.5
    images = torch.where((draw[1] < CAST)[:, None, None, None], images * gain, images)
    gamma = torch.exp((torch.rand(count, 1, 1, 1) - 0.5) * 1.2)
    level = torch.exp((torch.rand(count, 1, 1, 1) - 0.6) * 1.2)
    images = torch.where((draw[2] < EXPOSURE)[:, None, None, None], images.clamp(1e-4, 1).pow(gamma) * level, images).clamp(0, 1)
    soft = draw[3] < SOFT
    if soft.any():
        images = images.clone()
        small = interpolate(images[soft], scale_factor=0.5, mode="area")
        images[soft] = interpolate(small, size=(height, width), mode="bilinear", align_corners=False)
    return images
