"""MPN, the Multi-task Part-aware Network, and its fused inference form. Needs the extra ``[train]``.

Source: Ding, Wang, Wang, Tao, "Multi-task Learning with Coarse Priors for Robust Part-aware Person Re-identification",
TPAMI 2020, DOI 10.1109/TPAMI.2020.3024900.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Outputs:
    """Training outputs of MPN: ``main`` and ``aux`` features (n, k, d), ``necked`` the main ones after the neck, logits (n, k, ids)."""

    main: torch.Tensor
    necked: torch.Tensor
    aux: torch.Tensor
    main_logits: torch.Tensor
    aux_logits: torch.Tensor

    def float(self) -> Outputs:
        """In fp32, for the losses."""
        return Outputs(*(getattr(self, field.name).float() for field in fields(self)))


def batch_norm(norm: nn.BatchNorm2d, x: torch.Tensor, counted: bool = True) -> torch.Tensor:
    """``norm(x)``; with ``counted`` False, training does not update the running statistics."""
    if counted or not norm.training:
        return norm(x)
    return F.batch_norm(x, None, None, norm.weight, norm.bias, True, 0.0, norm.eps)


class Attention(nn.Module):
    """MPN's channel attention per part: max pooling, 1x1 convolution to a quarter of the channels, ReLU, 1x1 convolution, sigmoid."""

    def __init__(self, channels: int, parts: int, reduction: int = 4) -> None:
        super().__init__()
        fewer = channels // reduction
        self.squeeze = nn.Conv2d(channels, fewer, 1, groups=parts, bias=False)
        self.squeeze_norm = nn.BatchNorm2d(fewer)
        self.excite = nn.Conv2d(fewer, channels, 1, groups=parts, bias=False)
        self.excite_norm = nn.BatchNorm2d(channels)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        weight = F.relu(self.squeeze_norm(self.squeeze(maps.amax((2, 3), keepdim=True))))
        return maps * torch.sigmoid(self.excite_norm(self.excite(weight)))


class PartHead(nn.Module):
    """The layers of K tasks: their first 1x1 convolutions as one with K times the channels, their second ones as a grouped convolution."""

    def __init__(self, channels: int, parts: int, width: int, dim: int, neck: bool, attention: bool) -> None:
        super().__init__()
        self.parts = parts
        self.reduce = nn.Conv2d(channels, parts * width, 1, bias=False)
        self.reduce_norm = nn.BatchNorm2d(parts * width)
        self.attention = Attention(parts * width, parts) if attention else nn.Identity()
        self.project = nn.Conv2d(parts * width, parts * dim, 1, groups=parts, bias=False)
        self.project_norm = nn.BatchNorm2d(parts * dim)
        self.neck = nn.BatchNorm2d(parts * dim) if neck else nn.Identity()
        if isinstance(self.neck, nn.BatchNorm2d):
            self.neck.bias.requires_grad_(False)
        for layer in (self.reduce, self.project):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")

    @torch.no_grad()
    def init_from(self, conv: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
        """Initialise the first convolution and its norm with the filters of a 1x1 convolution of the same input, repeated as necessary."""
        chosen = torch.arange(len(self.reduce.weight)) % len(conv.weight)
        self.reduce.weight.copy_(conv.weight[chosen])
        for name in ("weight", "bias", "running_mean", "running_var"):
            getattr(self.reduce_norm, name).copy_(getattr(norm, name)[chosen])

    def maps(self, shared: torch.Tensor) -> torch.Tensor:
        """The backbone's map (n, channels, h, w) -> (n, parts * width, h, w), non-negative."""
        maps: torch.Tensor = self.attention(F.relu(self.reduce_norm(self.reduce(shared))))
        return maps

    def features(self, maps: torch.Tensor, counted: bool = True) -> tuple[torch.Tensor, torch.Tensor]:
        """(n, parts * width, h, w) -> (n, parts, dim) features, and the same after the neck.

        Global max pooling and the second convolution. ``counted``: whether running statistics are updated.
        """
        pooled = F.adaptive_max_pool2d(maps, 1)
        features = F.relu(batch_norm(self.project_norm, self.project(pooled), counted))
        necked = batch_norm(self.neck, features, counted) if isinstance(self.neck, nn.BatchNorm2d) else features
        return by_part(features, self.parts), by_part(necked, self.parts)


def by_part(x: torch.Tensor, parts: int) -> torch.Tensor:
    """(n, parts * d, ...) -> (n, parts, d * ...)"""
    return x.flatten(1).unflatten(1, (parts, -1))


class MPN(nn.Module):
    """K part embeddings from one feature map: main task k sees the whole map, auxiliary task k only its part.

    Both tasks of a part share both 1x1 convolutions and their batch norms (hard parameter sharing), unless ``shared`` is False;
    classifiers are separate. ``auxiliary`` False omits the auxiliary tasks.
    """

    def __init__(
        self,
        backbone: nn.Module,
        ids: int,
        parts: int = 4,
        width: int = 256,
        dim: int = 128,
        neck: bool = False,
        attention: bool = False,
        shared: bool = True,
        auxiliary: bool = True,
    ) -> None:
        super().__init__()
        self.backbone, self.parts, self.width, self.dim, self.auxiliary = backbone, parts, width, dim, auxiliary
        self.main = PartHead(backbone.channels, parts, width, dim, neck, attention)
        self.apart = None if shared else PartHead(backbone.channels, parts, width, dim, neck, attention)
        self.main_classifiers = nn.Parameter(torch.randn(parts, dim, ids) * 0.001)
        self.aux_classifiers = nn.Parameter(torch.randn(parts, dim, ids) * 0.001)

    def forward(self, images: torch.Tensor, masks: torch.Tensor) -> Outputs:
        """``images`` (n, 3, h, w) normalised RGB, ``masks`` (n or 1, parts, h', w') in 0..1 on the backbone's map."""
        shared = self.backbone(images)
        maps = self.main.maps(shared)
        main, main_necked = self.main.features(maps)
        main_logits = torch.einsum("nkd,kdi->nki", main_necked, self.main_classifiers)
        if not self.auxiliary:
            return Outputs(main, main_necked, main, main_logits, main_logits)
        head = self.main if self.apart is None else self.apart
        if self.apart is not None:
            maps = self.apart.maps(shared)
        # maps are non-negative, so zeros outside the part do not change its maximum; running statistics of shared layers come from
        # the main tasks only, which alone run in inference
        parts = (maps.unflatten(1, (self.parts, self.width)) * masks[:, :, None]).flatten(1, 2)
        aux, aux_necked = head.features(parts, counted=self.apart is not None)
        return Outputs(main, main_necked, aux, main_logits, torch.einsum("nkd,kdi->nki", aux_necked, self.aux_classifiers))

    def necked(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) normalised RGB -> (n, parts, dim) of the main tasks, the input of their classifiers."""
        return self.main.features(self.main.maps(self.backbone(images)))[1]

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) normalised RGB -> (n, parts * dim) unit rows of the main tasks."""
        return F.normalize(self.necked(images).flatten(1))


class Projected(nn.Module):
    """MPN with a linear projection to the embedding dimensions of another model: the student of a distillation.

    (n, 3, h, w) normalised RGB -> (n, dimension) unit rows.
    """

    def __init__(self, mpn: MPN, dimension: int) -> None:
        super().__init__()
        self.mpn = mpn
        self.turn = nn.Linear(mpn.parts * mpn.dim, dimension)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, h, w) -> (n, parts * dim), the input of the projection."""
        return self.mpn.necked(images).flatten(1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return F.normalize(self.turn(self.features(images)).float())


def fold_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    """The convolution equal to ``norm(conv(x))`` in inference."""
    fused = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, groups=conv.groups)
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    with torch.no_grad():
        fused.weight.copy_(conv.weight * scale[:, None, None, None])
        fused.bias.copy_(norm.bias - norm.running_mean * scale)
    return fused


class Inference(nn.Module):
    """MPN for export: the main tasks with folded batch norms, and the ``projection`` of a distilled network, if any.

    (n, 3, h, w) -> (n, parts * dim) unit rows, or as many dimensions as the projection has.
    """

    def __init__(self, mpn: MPN, projection: nn.Linear | None = None) -> None:
        super().__init__()
        self.projection = projection or nn.Identity()
        mpn.eval()
        self.backbone, head = mpn.backbone, mpn.main
        self.reduce = fold_norm(head.reduce, head.reduce_norm)
        self.attention = head.attention
        self.project = fold_norm(head.project, head.project_norm)
        self.neck = head.neck
        self.eval()

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pooled = self.attention(F.relu(self.reduce(self.backbone(images)))).amax((2, 3), keepdim=True)
        return unit(self.projection(self.neck(F.relu(self.project(pooled))).flatten(1)))


def unit(rows: torch.Tensor) -> torch.Tensor:
    """(n, d) rows of unit length, in operators that every ONNX runtime has."""
    return rows / torch.sqrt((rows * rows).sum(1, keepdim=True) + 1e-12)
