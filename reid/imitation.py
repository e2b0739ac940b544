"""A network's second teacher: another network's embeddings of the same pictures. Needs the extra ``[train]``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from reid.bundle import open_bundle


class Imitation(nn.Module):
    """Loss by which an embedding, turned by a learned linear map, is to point where the ``teacher``'s bundle points.

    Features of a teacher as targets: Romero et al. (FitNets, 2015); of the very pictures, augmented, that the network sees: Beyer et al.
    (2022). ``dimensions`` are the network's. Raises ModelError for a file that is no bundle.
    """

    def __init__(self, teacher: Path, dimensions: int) -> None:
        super().__init__()
        self.session, self.facts = open_bundle(teacher)
        self.turn = nn.Linear(dimensions, self.facts.dimension, bias=False)

    def forward(self, rows: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
        """``rows`` (n, dimensions) of ``images`` (n, 3, h, w), normalised RGB -> mean cosine distance to the teacher's embeddings."""
        shown = F.interpolate(images, (self.facts.height, self.facts.width), mode="bilinear", antialias=True)
        wanted = torch.from_numpy(self.session.run(shown.contiguous().cpu().numpy())[0]).to(rows.device)
        return (1 - F.cosine_similarity(self.turn(F.normalize(rows)), wanted)).mean()
