"""Weighted box fusion: one set of boxes from several looks at the same image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detectors.detections import Detections
from detectors.training.evaluate import overlaps

MATCH = 0.55  # IoU of boxes of one person


def fuse(looks: Sequence[Detections], iou: float = MATCH) -> Detections:
    """Fuse boxes of ``looks`` that overlap by ``iou`` or more.

    A fused box is the mean of its boxes weighted by their scores. Its score is the sum of the best score of each look over the number of looks:
    what one look of several finds counts little. The result does not depend on the order of looks or boxes, but for exact ties.

    Source: Solovyev, Wang, Gabruseva, Weighted boxes fusion, Image and Vision Computing 107, 2021.
    """
    if not looks or not sum(map(len, looks)):
        return Detections.empty()
    boxes = np.concatenate([look.boxes for look in looks]).astype(np.float64)
    scores = np.concatenate([look.scores for look in looks]).astype(np.float64)
    source = np.concatenate([np.full(len(look), at) for at, look in enumerate(looks)])
    order = np.lexsort((*boxes.T, -scores))
    fused, members = np.zeros((0, 4)), list[list[int]]()
    for row in order.tolist():
        overlap = overlaps(boxes[row : row + 1], fused)[0]
        best = int(overlap.argmax()) if len(overlap) else -1
        if best < 0 or overlap[best] < iou:
            fused = np.concatenate([fused, boxes[row : row + 1]])
            members.append([row])
            continue
        members[best].append(row)
        rows = members[best]
        fused[best] = np.average(boxes[rows], axis=0, weights=np.maximum(scores[rows], 1e-9))
    score = np.zeros(len(fused))
    for at, rows in enumerate(members):
        best_of_look = np.zeros(len(looks))
        np.maximum.at(best_of_look, source[rows], scores[rows])
        score[at] = best_of_look.sum() / len(looks)
    order = np.argsort(-score, kind="stable")
    return Detections(fused[order], score[order].clip(0, 1))
