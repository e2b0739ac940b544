"""YOLOv8's detection loss with boxes that are neither a person nor background."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import binary_cross_entropy_with_logits
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.tal import make_anchors

PERSON, IGNORED = 0, 1  # classes of the rows of a label file


def inside(points: torch.Tensor, boxes: torch.Tensor, image: torch.Tensor, images: int) -> torch.Tensor:
    """(images, n) bool: is the point in a box of the image. ``points`` (n, 2), ``boxes`` (m, 4) x1, y1, x2, y2, ``image`` (m,) its image."""
    hit = torch.zeros(images, len(points), dtype=torch.bool)
    for box, number in zip(boxes, image.long().tolist(), strict=True):
        hit[number] |= ((points >= box[:2]) & (points <= box[2:])).all(1)
    return hit


class PersonLoss(v8DetectionLoss):
    """``v8DetectionLoss`` (ultralytics) for one class. Rows of class ``IGNORED`` are no targets, and anchors whose centres lie in them
    have no classification loss unless they are assigned to a person: a box that a teacher is unsure of is not learnt as background.
    """

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.ignored: torch.Tensor | None = None
        self.bce = self.masked_cross_entropy

    def masked_cross_entropy(self, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Binary cross-entropy of (images, anchors, 1), zero where an anchor is ignored."""
        loss = binary_cross_entropy_with_logits(logits, targets, reduction="none")
        return loss if self.ignored is None else loss * ~(self.ignored[..., None] & (targets == 0))

    def get_assigned_targets_and_loss(self, preds: dict[str, torch.Tensor], batch: dict[str, Any], **assign_kwargs: Any) -> Any:
        """As the base class, with ``batch["cls"]`` of ``PERSON`` and ``IGNORED``."""
        uncertain = batch["cls"].view(-1) == IGNORED
        points, strides = make_anchors(preds["feats"], self.stride, 0.5)
        height, width = (side * float(self.stride[0]) for side in preds["feats"][0].shape[2:])
        centres, sizes = batch["bboxes"][uncertain].split(2, 1)
        corners = torch.cat([centres - sizes / 2, centres + sizes / 2], 1) * torch.tensor([width, height] * 2)
        self.ignored = inside(points * strides, corners, batch["batch_idx"][uncertain], len(preds["scores"]))
        kept = {key: batch[key][~uncertain] for key in ("cls", "bboxes", "batch_idx")}
        return super().get_assigned_targets_and_loss(preds, {**batch, **kept}, **assign_kwargs)
