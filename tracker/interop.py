"""``supervision.Detections`` in and out, for those whose detector, zones and annotators speak it. Needs supervision."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from detectors.detections import Detections
from tracker.following.deepsort import Tracks

if TYPE_CHECKING:
    import supervision


def from_supervision(found: supervision.Detections, embeddings: np.ndarray | None = None) -> Detections:
    """People as supervision gives them (any of its ``from_...``), already of one class; without scores all are sure (1.0)."""
    scores = np.ones(len(found)) if found.confidence is None else found.confidence
    return Detections(found.xyxy, scores, embeddings)


def to_supervision(tracks: Tracks) -> supervision.Detections:
    """Boxes, scores, ``tracker_id`` and, in ``data``, each track's ``row`` in the detections given; the class is 0, person."""
    import supervision

    return supervision.Detections(
        xyxy=tracks.boxes, confidence=tracks.scores, class_id=np.zeros(len(tracks), int), tracker_id=tracks.ids, data={"row": tracks.rows}
    )
