"""Detections from a MOTChallenge text file instead of a model: bring your own boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detectors.detections import Detections

LARGEST = 1e9  # frames and pixels beyond are a broken file


def read_boxes(path: Path) -> dict[int, Detections]:
    """Read ``frame, id, left, top, width, height, score, ...`` rows; frames count from 1.

    A file without a seventh column gives every box the score 1; scores over 1 (MOT15's public boxes, say) are scaled to the
    file's greatest. Raises FileNotFoundError, or ValueError naming file, line and what is wrong.
    """
    frames: list[int] = []
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
            frames.append(int(values[0]))
            rows.append([*values[2:6], values[6] if len(values) > 6 else 1.0])
    table = np.array(rows, np.float32).reshape(-1, 5)
    scores = table[:, 4]
    if len(scores) and scores.max() > 1:
        scores = scores / scores.max()
    boxes = np.concatenate([table[:, :2], table[:, :2] + table[:, 2:4]], 1)
    index = np.array(frames, np.int64)
    return {int(frame): Detections(boxes[index == frame], scores[index == frame].clip(0, 1)) for frame in np.unique(index)}
