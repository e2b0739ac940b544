"""Distillation from the embeddings of a teacher bundle. Needs the extra ``[train]``."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from reid.bundle import open_bundle
from reid.training.pixels import embeddings


def teacher_embeddings(teacher: Path, images: np.ndarray, batch: int = 64) -> torch.Tensor:
    """(n, d) unit rows: the ``teacher`` bundle's embeddings of (n, h, w, 3) uint8 RGB images, averaged over each image and its mirror image.

    Raises ModelError as ``open_bundle`` does.
    """
    session, facts = open_bundle(teacher)
    rows = []
    for start in range(0, len(images), batch):  # resized in batches, to bound memory
        some = images[start : start + batch]
        resized = np.stack([cv2.resize(image, (facts.width, facts.height), interpolation=cv2.INTER_AREA) for image in some])
        rows.append(embeddings(session, resized, batch) + embeddings(session, resized[:, :, ::-1], batch))
    return F.normalize(torch.from_numpy(np.concatenate(rows)))


class Imitation(nn.Module):
    """Distillation loss: cosine distance of the embedding, after a learned linear map, to the teacher's embedding.

    Source: Romero et al. (FitNets, 2015). The teacher sees each image once before the training, unaugmented; the network sees it
    augmented. ``targets`` (n, d) from ``teacher_embeddings``; ``dimensions``: those of the network.
    """

    def __init__(self, targets: torch.Tensor, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("targets", targets, persistent=False)
        self.turn = nn.Linear(dimensions, targets.shape[1], bias=False)

    def forward(self, rows: torch.Tensor, images: np.ndarray) -> torch.Tensor:
        """Mean cosine distance of embeddings ``rows`` (n, dimensions) to the targets of ``images`` (n,), indices of targets."""
        return (1 - F.cosine_similarity(self.turn(F.normalize(rows)), self.targets[images])).mean()
