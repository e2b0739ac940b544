"""A network's second teacher: another network's embeddings of the same pictures. Needs the extra ``[train]``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from reid.bundle import open_bundle
from reid.training.pixels import embeddings


def taught(teacher: Path, pictures: np.ndarray, batch: int = 64) -> torch.Tensor:
    """(n, d) unit rows where the ``teacher``'s bundle points for (n, h, w, 3) uint8 RGB pictures: the mean of each and its mirror image.

    Raises ModelError for a file that is no bundle.
    """
    session, facts = open_bundle(teacher)
    rows = []
    for start in range(0, len(pictures), batch):  # all at once, a large set would fill the memory
        some = pictures[start : start + batch]
        shown = np.stack([cv2.resize(picture, (facts.width, facts.height), interpolation=cv2.INTER_AREA) for picture in some])
        rows.append(embeddings(session, shown, batch) + embeddings(session, shown[:, :, ::-1], batch))
    return F.normalize(torch.from_numpy(np.concatenate(rows)))


class Imitation(nn.Module):
    """Loss by which an embedding, turned by a learned linear map, is to point where a teacher's points for the whole picture.

    Features of a teacher as targets: Romero et al. (FitNets, 2015). The teacher sees each picture once, before the training, whole; the
    network sees it moved and partly erased. ``targets`` (n, d) as of ``taught``; ``dimensions`` are the network's.
    """

    def __init__(self, targets: torch.Tensor, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("targets", targets, persistent=False)
        self.turn = nn.Linear(dimensions, targets.shape[1], bias=False)

    def forward(self, rows: torch.Tensor, pictures: np.ndarray) -> torch.Tensor:
        """``rows`` (n, dimensions) of the ``pictures`` (n,), by their place among the targets -> mean cosine distance."""
        return (1 - F.cosine_similarity(self.turn(F.normalize(rows)), self.targets[pictures])).mean()
