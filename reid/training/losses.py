"""MPN's losses: pure functions of features or logits and labels. Needs the extra ``[train]``."""

from __future__ import annotations

import torch
from torch.nn import functional as F


def part_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor | None = None, smoothing: float = 0.0
) -> torch.Tensor:
    """Sum over parts of the mean cross entropy over the images that show the part.

    ``logits`` (n, k, ids), ``labels`` (n,), ``valid`` (n, k) bool: which parts are visible, None: all.
    """
    n, k, _ = logits.shape
    loss = F.cross_entropy(logits.flatten(0, 1), labels.repeat_interleave(k), label_smoothing=smoothing, reduction="none").view(n, k)
    if valid is None:
        return loss.mean(0).sum()
    return (torch.where(valid, loss, 0).sum(0) / valid.sum(0).clamp(min=1)).sum()


def class_alignment(main: torch.Tensor, aux: torch.Tensor, labels: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Class alignment: mean over the identities in a batch of 1 - cos(centre of main features, centre of auxiliary features).

    ``main``, ``aux`` (n, k, d): centres are means over an identity's images, concatenated over parts; an image without a part
    (``valid`` (n, k) False) does not contribute to that part of either centre.
    """
    _, index = labels.unique(return_inverse=True)
    member = F.one_hot(index).T.to(main.dtype)  # (ids, n)
    weight = torch.ones(main.shape[:2], dtype=main.dtype, device=main.device) if valid is None else valid.to(main.dtype)
    count = (member @ weight).clamp(min=1)[..., None]
    centres = [(torch.einsum("cn,nkd->ckd", member, x * weight[..., None]) / count).flatten(1) for x in (main, aux)]
    return (1 - F.cosine_similarity(*centres, dim=1)).mean()


def batch_hard_triplet(features: torch.Tensor, labels: torch.Tensor, margin: float = 0.4) -> torch.Tensor:
    """Batch-hard triplet loss (Hermans et al., 2017) on L2-normalised ``features`` (n, d)."""
    unit = F.normalize(features)
    distance = torch.sqrt((2 - 2 * unit @ unit.T).clamp(min=1e-12))
    same = labels[:, None] == labels[None]
    hardest_positive = distance.masked_fill(~same, 0).amax(1)
    hardest_negative = distance.masked_fill(same, torch.inf).amin(1)
    return F.relu(margin + hardest_positive - hardest_negative).mean()
