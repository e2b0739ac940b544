"""``Detections``: the boxes of one image as a frozen struct of arrays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

MAX_DETECTIONS = 300  # of one image


@dataclass(frozen=True, eq=False)
class Detections:
    """Row-aligned detections of one image, validated on construction.

    ``boxes`` (n, 4) float32 x1, y1, x2, y2 in pixels; ``scores`` (n,) float32 in 0..1; ``embeddings`` (n, d) float32 unit
    rows or None. Index with an integer array, a boolean mask or a slice, like numpy.

    Raises ValueError for a wrong shape, NaN or infinity, an inverted box, or a score outside 0..1; the message names the
    row and the value.
    """

    boxes: np.ndarray
    scores: np.ndarray
    embeddings: np.ndarray | None = None

    def __post_init__(self) -> None:
        boxes = (
            np.ascontiguousarray(self.boxes, np.float32).reshape(-1, 4)
            if np.size(self.boxes) == 0
            else np.ascontiguousarray(self.boxes, np.float32)
        )
        scores = np.ascontiguousarray(self.scores, np.float32)
        if boxes.ndim != 2 or boxes.shape[1] != 4:
            raise ValueError(f"boxes must be (n, 4), not {boxes.shape}")
        if scores.shape != (len(boxes),):
            raise ValueError(f"scores must be ({len(boxes)},) to match the boxes, not {scores.shape}")
        _reject(~np.isfinite(boxes).all(1), boxes, "box {row} is not finite: {value}")
        _reject((boxes[:, 2:] < boxes[:, :2]).any(1), boxes, "box {row} is inverted (x2 < x1 or y2 < y1): {value}")
        _reject(~((scores >= 0) & (scores <= 1)), scores, "score {row} is outside 0..1: {value}")
        object.__setattr__(self, "boxes", boxes)
        object.__setattr__(self, "scores", scores)
        if self.embeddings is not None:
            embeddings = np.ascontiguousarray(self.embeddings, np.float32)
            if embeddings.ndim != 2 or len(embeddings) != len(boxes):
                raise ValueError(f"embeddings must be ({len(boxes)}, d) to match the boxes, not {embeddings.shape}")
            _reject(~np.isfinite(embeddings).all(1), embeddings, "embedding {row} is not finite")
            object.__setattr__(self, "embeddings", embeddings)

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Any) -> Detections:
        if isinstance(rows, (int, np.integer)):
            rows = [rows]
        return Detections(self.boxes[rows], self.scores[rows], None if self.embeddings is None else self.embeddings[rows])

    @staticmethod
    def empty() -> Detections:
        """No detections."""
        return Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32))


def _reject(bad: Any, values: np.ndarray, message: str) -> None:
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise ValueError(message.format(row=row, value=values[row].tolist()))
