"""Rows of tracks or detections, whatever format they were read from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from detectors.person_class import PERSON_NAMES
from pipeline.errors import UsageError

MAX_VALUE = 1e9  # of frames, ids and pixels: a larger one means a corrupt file
ARRAYS = ("frames", "ids", "boxes", "scores", "classes", "visibility", "lines")


@dataclass(frozen=True, eq=False)
class MotRows:
    """The rows of a file, as aligned columns.

    ``frames`` (n,) int64 from 1; ``ids`` (n,) int64, -1 for a detection; ``boxes`` (n, 4) float64 x1, y1, x2, y2 px; ``scores`` (n,) float64,
    -1 if missing; ``classes`` (n,) int64, -1 if missing; ``visibility`` (n,) in 0..1, 1 if missing; ``lines`` (n,): line numbers in the file
    at ``path``, or numbers of its ``unit``. ``names``: of classes, where the file has them; ``visdrone``: whether the classes are VisDrone's.
    ``note``: what of the file was left out, or None.
    """

    path: Path
    frames: np.ndarray
    ids: np.ndarray
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    visibility: np.ndarray
    lines: np.ndarray
    unit: str = "line"
    names: Mapping[int, str] = field(default_factory=dict)
    visdrone: bool = False
    note: str | None = None

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def last_frame(self) -> int:
        return int(self.frames.max(initial=0))

    def take(self, rows: np.ndarray) -> MotRows:
        return replace(self, **{name: getattr(self, name)[rows] for name in ARRAYS})

    def shifted(self, frames: int) -> MotRows:
        """The same rows, ``frames`` frames later."""
        return replace(self, frames=self.frames + frames)

    def person_classes(self, wanted: Sequence[int | str] | None = None) -> frozenset[int] | None:
        """The class numbers that mean a person: the ``wanted`` ones (numbers or names); None where the rows have no classes.

        Default: by the names of the file; else 0 where a row that counts has class 0 (YOLO's numbers), 1 and 2 of VisDrone's, and 1 of
        MOTChallenge's. Raises UsageError for a name that the file does not have.
        """
        if (self.classes < 0).all():
            return None
        if wanted is not None:
            number_of = {name.lower(): number for number, name in self.names.items()}
            if unknown := [one for one in wanted if not str(one).lstrip("-").isdigit() and str(one).lower() not in number_of]:
                raise UsageError(f"{self.path}: no class {unknown[0]!r}; classes are {', '.join(self._listed()) or 'numbers'}")
            return frozenset(number_of.get(str(one).lower(), int(one) if str(one).lstrip("-").isdigit() else -2) for one in wanted)
        if self.names:
            return frozenset(number for number, name in self.names.items() if name.strip().lower() in PERSON_NAMES)
        if ((self.classes == 0) & (self.scores != 0)).any():
            return frozenset({0})
        return frozenset({1, 2}) if self.visdrone else frozenset({1})

    def _listed(self) -> list[str]:
        return [f"{number} ({self.names[number]})" if number in self.names else str(number) for number in np.unique(self.classes).tolist()]

    def people(self, wanted: Sequence[int | str] | None = None) -> MotRows:
        """The rows of people, and those without a class; ``note`` says how many others there were.

        Raises UsageError if there are rows, but none of a person.
        """
        persons = self.person_classes(wanted)
        if persons is None:
            return self
        kept = (self.classes < 0) | np.isin(self.classes, list(persons))
        if kept.all() or not len(self):
            return self
        classes = ", ".join(self._listed())
        if not kept.any():
            raise UsageError(
                f"{self.path}: no row is a person: its classes are {classes}; state which are with detector.classes or --classes"
            )
        chosen = " and ".join(self.names.get(number, f"class {number}") for number in sorted(persons))
        return replace(
            self.take(np.flatnonzero(kept)),
            note=f"{self.path}: {int((~kept).sum())} of {len(self)} rows are left out: {chosen} is taken for a person, of classes {classes}",
        )

    @property
    def known_scores(self) -> np.ndarray:
        """(n,) scores, 1 if missing; if some are above 1 (MOT15's public detections), all are divided by the file's maximum."""
        return np.where(self.scores < 0, 1.0, self.scores / max(self.scores.max(initial=0.0), 1.0))


def concatenated(tables: Sequence[MotRows]) -> MotRows:
    """The rows of one or more tables, under the path of the first."""
    columns: dict[str, Any] = {name: np.concatenate([getattr(table, name) for table in tables]) for name in ARRAYS}
    return replace(tables[0], **columns)
