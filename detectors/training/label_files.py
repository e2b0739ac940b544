"""Label files in YOLO format: people, and places that training and evaluation ignore."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

PERSON, IGNORED = 0, 1  # classes of the rows


@dataclass(frozen=True)
class Labels:
    """The labels of one image: (n, 4) boxes of ``people`` and (m, 4) ``ignored`` boxes, x1, y1, x2, y2 px. ``by_hand``: how many people a
    human labelled.
    """

    people: np.ndarray
    ignored: np.ndarray
    by_hand: int = 0


def read_labels(path: Path, width: int, height: int) -> Labels:
    """A label file in YOLO format: rows of class, centre and size as shares of the image. Class 1 is ignored, all others are people.

    A missing file has no rows. Raises ValueError, naming file and line, for a row that is not five numbers.
    """
    rows = []
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    for number, line in enumerate(lines, 1):
        try:
            values = [float(word) for word in line.split()]
        except ValueError:
            values = [np.nan]
        if not values:
            continue
        if len(values) != 5 or not np.isfinite(values).all():
            raise ValueError(
                f"{path}, line {number}: expected class, x, y, width, height as shares of the image, not {line.strip()[:80]!r}"
            )
        rows.append(values)
    table = np.array(rows).reshape(-1, 5)
    boxes = np.concatenate([table[:, 1:3] - table[:, 3:] / 2, table[:, 1:3] + table[:, 3:] / 2], 1) * [width, height, width, height]
    ignored = table[:, 0] == IGNORED
    return Labels(boxes[~ignored], boxes[ignored], int((~ignored).sum()))


def to_text(labels: Labels, width: int, height: int) -> str:
    """The rows of a label file. Boxes are clipped to the image; what has no area then is left out."""
    lines = []
    for category, boxes in ((PERSON, labels.people), (IGNORED, labels.ignored)):
        shares = (boxes.reshape(-1, 4) / [width, height, width, height]).clip(0, 1)
        for x1, y1, x2, y2 in shares[(shares[:, 2:] > shares[:, :2]).all(1)].tolist():
            lines.append(f"{category} {(x1 + x2) / 2:.6f} {(y1 + y2) / 2:.6f} {x2 - x1:.6f} {y2 - y1:.6f}\n")
    return "".join(lines)
