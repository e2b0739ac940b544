"""Reader and writer of MOTChallenge text: frame (from 1), id, left, top, width, height[, score[, class, visibility]].

VisDrone's ten columns, COCO JSON and CVAT XML are read into the same rows (``pipeline.formats.annotations``).
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from detectors import Detections
from pipeline.errors import UsageError
from pipeline.formats.annotations import read_annotations
from pipeline.formats.rows import MAX_VALUE, MotRows

IGNORED = (0, 11)  # VisDrone's classes of regions and objects that are not scored
COLUMNS = "frame, id, left, top, width, height[, score[, class, visibility]]"


def read_mot(path: Path) -> MotRows:
    """Read rows in file order. Columns are separated by commas, semicolons, tabs or spaces; a BOM, a header, ``#`` comments and empty lines
    are skipped.

    Raises UsageError naming the file, the line, and the rule that it violates.
    """
    text = _text(path)
    if text.lstrip()[:1] in ("{", "[", "<"):
        return read_annotations(path, text)
    table, lines = _table(path, text)

    def reject(bad: Any, rule: str) -> None:
        if bad.any():
            line = int(lines[np.flatnonzero(bad)[0]])
            raise UsageError(f"{path}, line {line}: {rule}: {text.splitlines()[line - 1].strip()[:80]!r}")

    columns = table.shape[1]
    reject(~np.isfinite(table).all(1), "numbers must be finite")
    reject((np.abs(table[:, :6]) > MAX_VALUE).any(1), f"a number is larger than {MAX_VALUE:.0e}")
    frames, ids, boxes = table[:, 0], table[:, 1], table[:, 2:6]
    reject(frames != np.floor(frames), "a frame must be a whole number")
    reject(frames < 1, "frames count from 1 (does this file count from 0?)")
    reject(ids != np.floor(ids), "an id must be a whole number")
    reject((boxes[:, 2:] < 0).any(1), "width and height must not be negative")
    scores = table[:, 6] if columns > 6 else np.full(len(table), -1.0)
    classes = table[:, 7] if columns > 7 else np.full(len(table), -1.0)
    if (classes != np.floor(classes)).any():  # MOT15's positions on the ground
        classes = np.full(len(table), -1.0)
    seen = table[:, 8] if columns > 8 else np.full(len(table), -1.0)
    return MotRows(
        path, frames.astype(np.int64), np.maximum(ids, -1).astype(np.int64), np.c_[boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], scores,
        np.maximum(classes, -1).astype(np.int64), np.where((seen < 0) | (columns == 10), 1.0, seen), lines,
        visdrone=columns == 10 and bool((classes > 0).any()),
    )  # fmt: skip


def read_tracks(path: Path, classes: Sequence[int | str] | None = None) -> MotRows:
    """Read the tracks of people, sorted by frame and id; ``classes``: which classes are people, see ``MotRows.person_classes``.

    Raises UsageError as ``read_mot`` and ``MotRows.people`` do, for a row without an id, and for a duplicate id in a frame.
    """
    rows = read_mot(path).people(classes)
    bare = np.flatnonzero(rows.ids < 0)
    if len(bare):
        raise UsageError(
            f"{path}, {rows.unit} {rows.lines[bare[0]]}: id -1 marks a detection, a track needs an id from 0; for detections use --detections"
        )
    rows = rows.take(np.lexsort((rows.ids, rows.frames)))
    twice = np.flatnonzero((np.diff(rows.frames) == 0) & (np.diff(rows.ids) == 0))
    if len(twice):
        first, second = sorted(rows.lines[twice[0] : twice[0] + 2].tolist())
        raise UsageError(f"{path}, {rows.unit}s {first} and {second}: duplicate id {rows.ids[twice[0]]} in frame {rows.frames[twice[0]]}")
    return rows


class DetectionsByFrame:
    """The detections of people in a file, by frame; ``note``: what was left out. Raises UsageError as ``read_mot`` and ``people`` do."""

    def __init__(self, path: Path, classes: Sequence[int | str] | None = None) -> None:
        rows = read_mot(path).people(classes)
        self.note = rows.note
        rows = rows.take(np.argsort(rows.frames, kind="stable"))
        self._frames, self._boxes, self._scores = rows.frames, rows.boxes.astype(np.float32), rows.known_scores.clip(0, 1)

    @property
    def frames(self) -> list[int]:
        """The frames, from 1, that have detections."""
        return np.unique(self._frames).tolist()

    def at(self, frame: int) -> Detections:
        """The detections of ``frame``, from 1, in file order."""
        rows = slice(*np.searchsorted(self._frames, [frame, frame + 1]).tolist())
        return Detections(self._boxes[rows], self._scores[rows])


def write_rows(file: TextIO, frames: np.ndarray, ids: np.ndarray, boxes: np.ndarray, scores: np.ndarray) -> None:
    """Write rows in the given order: ``boxes`` (n, 4) x1, y1, x2, y2 px with 2 decimals, ``scores`` with 4."""
    columns = (frames.tolist(), ids.tolist(), boxes.tolist(), scores.tolist())
    for frame, track_id, (x1, y1, x2, y2), score in zip(*columns, strict=True):
        file.write(f"{frame},{track_id},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score:.4f},-1,-1,-1\n")


def mot_text(rows: MotRows) -> str:
    """All columns of ``rows`` as MOTChallenge text, in their order."""
    lines = []
    columns = (
        rows.frames.tolist(),
        rows.ids.tolist(),
        rows.boxes.tolist(),
        rows.scores.tolist(),
        rows.classes.tolist(),
        rows.visibility.tolist(),
    )
    for frame, track, (x1, y1, x2, y2), score, label, seen in zip(*columns, strict=True):
        lines.append(f"{frame},{track},{x1:.10g},{y1:.10g},{x2 - x1:.10g},{y2 - y1:.10g},{score:.6g},{label},{seen:.6g}\n")
    return "".join(lines)


def _text(path: Path) -> str:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except OSError as error:
        raise UsageError(f"{path}: not readable ({error.strerror or error})") from None
    if content[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UsageError(f"{path}: UTF-16 text; save it as UTF-8")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not a text file in UTF-8; expected rows of {COLUMNS}") from None


def _table(path: Path, text: str) -> tuple[np.ndarray, np.ndarray]:
    """(n, columns) float64, with as many columns as the shortest row, and (n,) line numbers from 1."""
    head = next((line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")), "")
    separator = next((sign for sign in ",;\t" if sign in head), None)
    try:  # NumPy's reader is twenty times faster; files that it rejects are parsed line by line
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # an empty file
            table = np.loadtxt(io.StringIO(text), delimiter=separator, comments=None, ndmin=2)
        if table.shape[1] >= 6 and len(table) == text.count("\n") + (not text.endswith("\n")):
            return table, np.arange(1, len(table) + 1)
    except ValueError:
        pass
    rows, lines = list[list[float]](), list[int]()
    for number, line in enumerate(text.splitlines(), 1):
        plain = line.partition("#")[0].strip()
        if not plain:
            continue
        fields = plain.rstrip(separator).split(separator) if separator and separator in plain else plain.split()
        try:
            row = [float(field) for field in fields]
        except ValueError:
            if not rows and len(fields) >= 6 and not plain[0].isdigit():  # a header
                continue
            raise UsageError(f"{path}, line {number}: {plain[:60]!r} is not a row of numbers ({COLUMNS})") from None
        if len(row) < 6:
            raise UsageError(f"{path}, line {number}: {len(row)} columns; a row is {COLUMNS}")
        rows.append(row)
        lines.append(number)
    columns = min(map(len, rows), default=6)
    return np.array([row[:columns] for row in rows], np.float64).reshape(-1, columns), np.array(lines, np.int64)
