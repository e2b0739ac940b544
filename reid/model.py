"""MPN, the Multi-task Part-aware Network, and its fused form for inference. Needs the extra ``[train]``.

Source: Ding, Wang, Wang, Tao, "Multi-task Learning with Coarse Priors for Robust Part-aware Person Re-identification",
TPAMI 2020, DOI 10.1109/TPAMI.2020.3024900.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Outputs:
    """What MPN gives in training: ``main`` and ``aux`` (n, k, d) features, and their (n, k, ids) logits."""

    main: torch.Tensor
    aux: torch.Tensor
    main_logits: torch.Tensor
    aux_logits: torch.Tensor

    def float(self) -> Outputs:
        """In single precision, in which losses are taken."""
        return Outputs(self.main.float(), self.aux.float(), self.main_logits.float(), self.aux_logits.float())


class MPN(nn.Module):
    """K part embeddings from one map: main task k sees the whole map, auxiliary task k its part of it alone.

    Both tasks of a part share both 1x1 convolutions and their batch norms (hard parameter sharing); their classifiers are
    separate. The K first convolutions are one convolution with K times the channels, the K second ones one grouped
    convolution, which is the same arithmetic in fewer calls.
    """

    def __init__(self, backbone: nn.Module, ids: int, parts: int = 4, width: int = 256, dim: int = 128) -> None:
        super().__init__()
        self.backbone, self.parts, self.width, self.dim = backbone, parts, width, dim
        self.reduce = nn.Conv2d(backbone.channels, parts * width, 1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(parts * width)
        self.project = nn.Conv2d(parts * width, parts * dim, 1, groups=parts, bias=False)
        self.project_norm = nn.BatchNorm2d(parts * dim)
        for layer in (self.reduce, self.project):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        self.main_classifiers = nn.Parameter(torch.randn(parts, dim, ids) * 0.001)
        self.aux_classifiers = nn.Parameter(torch.randn(parts, dim, ids) * 0.001)

    def head(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, parts * width, h, w) -> (n, parts, dim): global max pooling and the second convolution."""
        pooled = F.adaptive_max_pool2d(maps, 1)
        return F.relu(self.project_norm(self.project(pooled))).flatten(1).unflatten(1, (self.parts, self.dim))

    def maps(self, images: torch.Tensor) -> torch.Tensor:
        return F.relu(self.reduce_norm(self.reduce(self.backbone(images))))

    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> Outputs:
        """``images`` (n, 3, h, w) normalised RGB, ``masks`` (n, parts, h', w') in 0..1 on the backbone's map."""
        maps = self.maps(images)
        main = self.head(maps)
        # after ReLU the maps are not negative, so masking by zero and max pooling see the part alone
        aux = self.head((maps.unflatten(1, (self.parts, self.width)) * masks[:, :, None]).flatten(1, 2))
        return Outputs(
            main,
            aux,
            torch.einsum("nkd,kdi->nki", main, self.main_classifiers),
            torch.einsum("nkd,kdi->nki", aux, self.aux_classifiers),
        )

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) normalised RGB -> (n, parts * dim) unit rows: the main tasks alone."""
        return F.normalize(self.head(self.maps(images)).flatten(1))


def fold_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """The convolution that equals ``norm(conv(x))`` in evaluation."""
    fused = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    with torch.no_grad():
        fused.weight.copy_(conv.weight * scale[:, None, None, None])
        fused.bias.copy_(norm.bias - norm.running_mean * scale)
    return fused


class Inference(nn.Module):
    """MPN for export: the main tasks with their batch norms folded; (n, 3, h, w) -> (n, parts * dim) unit rows."""

    def __init__(self, mpn: MPN) -> None:
        super().__init__()
        mpn.eval()
        self.backbone = mpn.backbone
        self.reduce = fold_norm(mpn.reduce, mpn.reduce_norm)
        self.project = fold_norm(mpn.project, mpn.project_norm)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = F.relu(self.reduce(self.backbone(images))).amax((2, 3), keepdim=True)
        features = F.relu(self.project(pooled)).flatten(1)
        return features / torch.sqrt((features * features).sum(1, keepdim=True) + 1e-12)
