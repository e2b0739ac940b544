"""MOTChallenge text: rows of frame (from 1), id, left, top, width, height, score, -1, -1, -1."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import numpy as np

from pipeline.errors import UsageError


def write_frame(file: TextIO, frame: int, ids: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> None:
    """Write one frame's rows: ``boxes`` (n, 4) x1, y1, x2, y2 px to 2 decimals."""
    for who, (x1, y1, x2, y2), score in zip(ids.tolist(), boxes.tolist(), scores.tolist(), strict=True):
        file.write(f"{frame},{who},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n")


def read_rows(path: Path) -> np.ndarray:
    """(n, columns) float64 of a MOTChallenge file with commas or blanks; all rows have as many columns as the shortest.

    Raises UsageError naming the file, and the line of a row that is no row of at least six numbers.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: not a readable text file ({error})") from None
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = [float(field) for field in line.replace(",", " ").split()]
        except ValueError:
            raise UsageError(f"{path}, line {number}: {line.strip()[:60]!r} is not a row of numbers") from None
        if len(row) < 6:
            raise UsageError(f"{path}, line {number}: {len(row)} columns; a row is frame, id, left, top, width, height[, score, ...]")
        rows.append(row)
    columns = min((len(row) for row in rows), default=6)
    return np.array([row[:columns] for row in rows], np.float64).reshape(-1, columns)
