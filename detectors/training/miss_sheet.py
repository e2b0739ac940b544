"""Contact sheet of a detector's false negatives and false positives, with some context around each box."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from detectors.load import Detector
from detectors.training.evaluate import Sample, judged, match

CELL, COLUMNS, HEADER = 120, 10, 24  # px, cells per row, px
MISSED, FALSE = (40, 40, 210), (200, 120, 20)


def miss_sheet(detector: Detector, samples: Iterable[Sample], score: float, per_kind: int = 60) -> np.ndarray:
    """(h, w, 3) uint8 BGR: up to ``per_kind`` people missed at ``score`` (red), then false positives (blue), highest score first."""
    missed, false = [], []
    for sample in samples:
        image, truth, ignored = Sample(*sample)
        found = detector.detect([image])[0]
        found = found[found.scores >= score]
        found = found[np.argsort(-found.scores, kind="stable")]
        taken = match(found.boxes.astype(float), truth)
        missed += [(0.0, _cell(image, box, MISSED)) for row, box in enumerate(truth) if row not in taken]
        wrong = np.flatnonzero((taken < 0) & judged(found.boxes.astype(float), taken, ignored))
        false += [(-float(found.scores[row]), _cell(image, found.boxes[row], FALSE)) for row in wrong.tolist()]
    parts = []
    for title, cells in (("missed", missed), ("false", false)):
        chosen = [cell for _, cell in sorted(cells, key=lambda item: item[0])]
        chosen = chosen[:: max(1, len(chosen) // per_kind)][:per_kind] if title == "missed" else chosen[:per_kind]
        parts += [_title(f"{title}: {len(cells)}, {len(chosen)} shown"), *_grid(chosen)]
    return np.concatenate(parts)


def _cell(image: np.ndarray, box: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The box centred in a square of twice its longer side."""
    x, y, side = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2, max(box[2] - box[0], box[3] - box[1], 8.0) * 2
    scale = CELL / side
    fit = np.array([[scale, 0, CELL / 2 - x * scale], [0, scale, CELL / 2 - y * scale]])
    cell = cv2.warpAffine(image, fit, (CELL, CELL), flags=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR, borderValue=(230, 230, 230))
    low, high = ((box[:2] - (x, y)) * scale + CELL / 2), ((box[2:] - (x, y)) * scale + CELL / 2)
    cv2.rectangle(cell, (round(float(low[0])), round(float(low[1]))), (round(float(high[0])), round(float(high[1]))), colour, 1)
    return cell


def _title(text: str) -> np.ndarray:
    line = np.full((HEADER, CELL * COLUMNS, 3), 250, np.uint8)
    cv2.putText(line, text, (6, 17), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    return line


def _grid(cells: list[np.ndarray]) -> list[np.ndarray]:
    blank = np.full((CELL, CELL, 3), 250, np.uint8)
    rows = [cells[at : at + COLUMNS] for at in range(0, len(cells), COLUMNS)]
    return [np.concatenate(row + [blank] * (COLUMNS - len(row)), axis=1) for row in rows]
