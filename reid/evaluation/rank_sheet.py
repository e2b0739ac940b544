"""Contact sheet of rankings: each query with its nearest gallery images, correct ones framed green, wrong ones red."""

from __future__ import annotations

import cv2
import numpy as np

from reid.datasets.split import Split

HEIGHT, WIDTH, FRAME = 128, 64, 4
INK, RIGHT, WRONG = (60, 60, 60), (60, 160, 40), (40, 40, 210)


def rank_sheet(
    query: Split, query_rows: np.ndarray, gallery: Split, gallery_rows: np.ndarray, chosen: np.ndarray, top: int = 10
) -> np.ndarray:
    """(h, w, 3) uint8 BGR: one row per ``chosen`` row of ``query``, by Market-1501's protocol (no image of the same camera).

    Raises ValueError for an unreadable image.
    """
    lines = []
    for row in chosen.tolist():
        similarity = gallery_rows @ query_rows[row]
        similarity[(gallery.ids == query.ids[row]) & (gallery.cameras == query.cameras[row])] = -np.inf
        best = np.argsort(-similarity, kind="stable")[: min(top, np.isfinite(similarity).sum())]
        cells = [_cell(query.paths[row], INK)]
        cells += [_cell(gallery.paths[at], RIGHT if gallery.ids[at] == query.ids[row] else WRONG) for at in best.tolist()]
        cells.insert(1, np.full((cells[0].shape[0], 12, 3), 255, np.uint8))
        cells += [np.full_like(cells[0], 255)] * (top + 2 - len(cells))
        lines.append(np.concatenate(cells, axis=1))
    return np.concatenate(lines)


def _cell(path: object, colour: tuple[int, int, int]) -> np.ndarray:
    image = cv2.imread(str(path))
    if image is None:
        raise ValueError(f"{path}: not a readable image")
    cell = np.full((HEIGHT + 2 * FRAME, WIDTH + 2 * FRAME, 3), colour, np.uint8)
    cell[FRAME:-FRAME, FRAME:-FRAME] = cv2.resize(image, (WIDTH, HEIGHT))
    return cell
