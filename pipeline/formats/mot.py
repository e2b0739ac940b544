"""Reader and writer of MOTChallenge text: frame (from 1), id, left, top, width, height[, score[, class, visibility]]."""

from __future__ import annotations

import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from detectors import Detections
from pipeline.errors import UsageError

MAX_VALUE = 1e9  # of frames, ids and pixels: a larger one means a corrupt file
COLUMNS = "frame, id, left, top, width, height[, score[, class, visibility]]"


@dataclass(frozen=True, eq=False)
class MotRows:
    """The rows of a file, as aligned columns.

    ``frames`` (n,) int64 from 1; ``ids`` (n,) int64, -1 for a detection; ``boxes`` (n, 4) float64 x1, y1, x2, y2 px; ``scores`` (n,) float64,
    -1 if missing; ``classes`` (n,) int64, -1 if missing; ``visibility`` (n,) in 0..1, 1 if missing; ``lines`` (n,): line numbers in the file
    at ``path``.
    """

    path: Path
    frames: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    visibility: np.ndarray
    lines: np.ndarray

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def last_frame(self) -> int:
        return int(self.frames.max(initial=0))

    def take(self, rows: np.ndarray) -> MotRows:
        columns = (self.frames, self.ids, self.boxes, self.scores, self.classes, self.visibility, self.lines)
        return MotRows(self.path, *(column[rows] for column in columns))

    def shifted(self, frames: int) -> MotRows:
        """The same rows, ``frames`` frames later."""
        return replace(self, frames=self.frames + frames)

    @property
    def known_scores(self) -> np.ndarray:
        """(n,) scores, 1 if missing; if some are above 1 (MOT15's public detections), all are divided by the file's maximum."""
        return np.where(self.scores < 0, 1.0, self.scores / max(self.scores.max(initial=0.0), 1.0))


def read_mot(path: Path) -> MotRows:
    """Read rows in file order. Columns are separated by commas, semicolons, tabs or spaces; a BOM, a header, ``#`` comments and empty lines
    are skipped.

    Raises UsageError naming the file, the line, and the rule that it violates.
    """
    text = _text(path)
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
    seen = table[:, 8] if columns > 8 else np.full(len(table), -1.0)
    return MotRows(
        path, frames.astype(np.int64), np.maximum(ids, -1).astype(np.int64), np.c_[boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], scores,
        np.maximum(classes, -1).astype(np.int64), np.where(seen < 0, 1.0, seen), lines,
    )  # fmt: skip


def concatenated(tables: Sequence[MotRows]) -> MotRows:
    """The rows of one or more tables, under the path of the first."""
    columns = (np.concatenate([getattr(table, field.name) for table in tables]) for field in fields(MotRows) if field.name != "path")
    return MotRows(tables[0].path, *columns)


def read_tracks(path: Path) -> MotRows:
    """Read tracks, sorted by frame and id. Raises UsageError as ``read_mot`` does, for a row without an id, and for a duplicate id in a
    frame.
    """
    rows = read_mot(path)
    bare = np.flatnonzero(rows.ids < 0)
    if len(bare):
        raise UsageError(
            f"{path}, line {rows.lines[bare[0]]}: id -1 marks a detection, a track needs an id from 0; for detections use --detections"
        )
    rows = rows.take(np.lexsort((rows.ids, rows.frames)))
    twice = np.flatnonzero((np.diff(rows.frames) == 0) & (np.diff(rows.ids) == 0))
    if len(twice):
        first, second = sorted(rows.lines[twice[0] : twice[0] + 2].tolist())
        raise UsageError(f"{path}, lines {first} and {second}: duplicate id {rows.ids[twice[0]]} in frame {rows.frames[twice[0]]}")
    return rows


class DetectionsByFrame:
    """The detections of a file, by frame. Raises UsageError as ``read_mot`` does."""

    def __init__(self, path: Path) -> None:
        rows = read_mot(path)
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
