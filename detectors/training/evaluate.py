"""Evaluate a detector on images with ground truth: a folder in YOLO format, or frames with MOTChallenge rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from detectors.load import Detector
from detectors.training.label_files import read_labels

HEIGHTS = {"under_32": (0, 32), "32_to_96": (32, 96), "over_96": (96, np.inf)}
IOUS = np.linspace(0.5, 0.95, 10).round(2)  # COCO's
CONFIDENT_SCORE = 0.6  # the tracker's `high`; exported models are calibrated to it
IN_IGNORED = 0.5  # share of a box within an ignored one from which it counts neither as right nor as wrong


class Sample(NamedTuple):
    """An image (h, w, 3) uint8 BGR, the (n, 4) true ``boxes`` of people, and (m, 4) ``ignored`` boxes in which nothing is judged."""

    picture: np.ndarray
    boxes: np.ndarray
    ignored: np.ndarray = np.zeros((0, 4))


@dataclass(frozen=True)
class Quality:
    """Detection quality.

    ``ap50``: AP at IoU 0.5 (area under the precision envelope over recall); ``ap50_95``: its mean over IoU 0.5 to 0.95 (COCO).
    ``best_score``: the score of the best F1; ``precision``, ``recall``, ``false_per_picture`` and ``recall_by_height`` hold there.
    ``false_when_confident``: false positives per image with a score of at least ``CONFIDENT_SCORE``.
    ``precise_score``: the least score with a precision of 0.9 at and above it; 1 if there is none.
    """

    pictures: int
    people: int
    ap50: float
    ap50_95: float
    best_score: float
    precision: float
    recall: float
    false_per_picture: float
    false_when_confident: float
    recall_by_height: dict[str, float | None]
    precise_score: float


def overlaps(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(n, m) intersection over union of (n, 4) and (m, 4) boxes."""
    low, high = np.maximum(boxes[:, None, :2], truth[None, :, :2]), np.minimum(boxes[:, None, 2:], truth[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(rows[:, 2:] - rows[:, :2], axis=1) for rows in (boxes, truth)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


def share_within(boxes: np.ndarray, areas: np.ndarray) -> np.ndarray:
    """(n, m) share of each of (n, 4) boxes that lies within each of (m, 4) areas."""
    low, high = np.maximum(boxes[:, None, :2], areas[None, :, :2]), np.minimum(boxes[:, None, 2:], areas[None, :, 2:])
    sizes = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    return np.prod(np.maximum(high - low, 0), axis=2) / np.maximum(sizes, 1e-9)[:, None]


def judged(boxes: np.ndarray, taken: np.ndarray, ignored: np.ndarray) -> np.ndarray:
    """(n,) bool: boxes that count. Left out are those that match no person (``taken`` -1) and lie in an ignored box by ``IN_IGNORED``."""
    return (taken >= 0) | ~(share_within(boxes, ignored) >= IN_IGNORED).any(1)


def match(boxes: np.ndarray, truth: np.ndarray, iou: float = 0.5) -> np.ndarray:
    """(n,) row of ``truth`` matched to each box (sorted by score), or -1. Greedy: each box takes its best free overlap."""
    return greedy_match(overlaps(boxes, truth), iou)


def greedy_match(overlap: np.ndarray, iou: float) -> np.ndarray:
    """``match`` given the (n, m) ``overlap``."""
    taken = np.full(len(overlap), -1)
    if not overlap.size:
        return taken
    overlap = overlap.copy()
    for row in range(len(overlap)):
        best = int(overlap[row].argmax())
        if overlap[row, best] >= iou:
            taken[row] = best
            overlap[:, best] = 0
    return taken


def average_precision(hit: np.ndarray, people: int) -> float:
    """Area under the precision envelope over recall. ``hit`` (n,) bool: true positives, best score first."""
    right = hit.cumsum()
    precision, recall = right / np.arange(1, len(hit) + 1), right / people
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def evaluate(detector: Detector, samples: Iterable[Sample]) -> Quality:
    """Quality over images with their true boxes. Raises ValueError if there are none.

    A detection that matches no person at IoU 0.5 and lies in an ignored box by half or more is left out.
    """
    scores, hits, found_at, heights = [], [], [], []
    pictures = 0
    for sample in samples:
        picture, truth, ignored = Sample(*sample)
        found = detector.detect([picture])[0]
        order = np.argsort(-found.scores, kind="stable")
        overlap = overlaps(found.boxes[order].astype(float), truth)
        at_each = [greedy_match(overlap, iou) for iou in IOUS]
        taken = at_each[0]
        best = np.zeros(len(truth))  # the score at which each person is found
        best[taken[taken >= 0]] = found.scores[order][taken >= 0]
        counts = judged(found.boxes[order].astype(float), taken, ignored)
        scores.append(found.scores[order][counts])
        hits.append(np.stack([one >= 0 for one in at_each], 1)[counts])
        found_at.append(best)
        heights.append(truth[:, 3] - truth[:, 1])
        pictures += 1
    if not pictures or not sum(map(len, heights)):
        raise ValueError("no ground truth: none of the images has a box of a person")
    score, hit, tall, best = (np.concatenate(rows) for rows in (scores, hits, heights, found_at))
    order = np.argsort(-score, kind="stable")
    score, hits_at = score[order], hit[order]
    aps = [average_precision(hits_at[:, at], len(tall)) for at in range(len(IOUS))]
    hit = hits_at[:, 0]
    right = hit.cumsum()
    precision, recall = right / np.arange(1, len(hit) + 1), right / len(tall)
    at = int(np.argmax(2 * right / (np.arange(1, len(hit) + 1) + len(tall))))
    by_height = {
        name: float((best[(tall >= low) & (tall < high)] >= score[at]).mean()) if ((tall >= low) & (tall < high)).any() else None
        for name, (low, high) in HEIGHTS.items()
    }
    return Quality(
        pictures,
        len(tall),
        aps[0],
        float(np.mean(aps)),
        float(score[at]),
        float(precision[at]),
        float(recall[at]),
        float((~hit[: at + 1]).sum() / pictures),
        float((~hit[score >= CONFIDENT_SCORE]).sum() / pictures),
        by_height,
        float(score[np.flatnonzero(precision >= 0.9)[-1]]) if (precision >= 0.9).any() else 1.0,
    )


def yolo_folder(folder: Path, kinds: tuple[str, ...] = ("",)) -> Iterator[Sample]:
    """Images and boxes of ``images/`` and ``labels/`` whose names begin with one of ``kinds``. An image without a label file has no people;
    rows of class 1 are ignored boxes.

    Raises ValueError for an image that cannot be read, or a label file as ``read_labels`` does.
    """
    for path in sorted((folder / "images").iterdir()):
        if not path.name.startswith(kinds):
            continue
        picture = cv2.imread(str(path))
        if picture is None:
            raise ValueError(f"{path}: not a readable image")
        labels = read_labels(folder / "labels" / f"{path.stem}.txt", picture.shape[1], picture.shape[0])
        yield Sample(picture, labels.people, labels.ignored)


def sequence(frames: Iterable[tuple[int, np.ndarray]], numbers: np.ndarray, boxes: np.ndarray) -> Iterator[Sample]:
    """Numbered frames and the true boxes in each. ``numbers`` (n,): the frame of each of the ``boxes`` (n, 4) x1, y1, x2, y2 px."""
    order = np.argsort(numbers, kind="stable")
    numbers, boxes = numbers[order], boxes[order]
    for number, image in frames:
        first, last = np.searchsorted(numbers, [number, number + 1])
        yield Sample(image, boxes[first:last])
