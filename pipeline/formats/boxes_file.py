"""Boxes from a MOTChallenge text file instead of a model: bring your own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detectors.detections import Detections

LARGEST = 1e9  # frames and pixels beyond are a broken file


@dataclass(frozen=True)
class Rows:
    """Row-aligned: ``frames`` (n,) int64 from 1, ``ids`` (n,) float64, ``boxes`` (n, 4) float32 x1, y1, x2, y2 px, ``scores`` (n,)."""

    frames: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray


def read_rows(path: Path) -> Rows:
    """Read ``frame, id, left, top, width, height[, score, ...]`` rows; without a seventh column every score is 1.

    Raises FileNotFoundError, or ValueError naming file, line and what is wrong.
    """
    rows: list[list[float]] = []
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            fields = line.replace(",", " ").split()
            try:
                values = [float(field) for field in fields[:7]]
            except ValueError:
                raise ValueError(f"{path}, line {number}: {line.strip()[:60]!r} is not a row of numbers") from None
            if len(values) < 6:
                raise ValueError(f"{path}, line {number}: {len(values)} columns; a row is frame, id, left, top, width, height[, score]")
            if not np.isfinite(values).all() or max(map(abs, values)) > LARGEST or min(values[4:6]) < 0:
                raise ValueError(f"{path}, line {number}: numbers must be finite, width and height not negative: {line.strip()[:60]!r}")
            if values[0] < 1 or values[0] != int(values[0]):
                raise ValueError(f"{path}, line {number}: frame {fields[0]}; frames are whole numbers from 1")
            rows.append([*values, 1.0][:7])
    table = np.array(rows, np.float64).reshape(-1, 7)
    boxes = np.concatenate([table[:, 2:4], table[:, 2:4] + table[:, 4:6]], 1)
    return Rows(table[:, 0].astype(np.int64), table[:, 1], boxes.astype(np.float32), table[:, 6])


def read_boxes(path: Path) -> dict[int, Detections]:
    """Detections by frame, from 1. Scores over 1 (MOT15's public boxes, say) are scaled to the file's greatest.

    Raises as ``read_rows`` does.
    """
    rows = read_rows(path)
    scores = rows.scores / max(rows.scores.max(initial=0), 1)
    return {
        int(frame): Detections(rows.boxes[mine], scores[mine].clip(0, 1))
        for frame in np.unique(rows.frames)
        for mine in [rows.frames == frame]
    }
