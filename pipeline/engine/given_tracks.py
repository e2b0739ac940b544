"""Tracks of any other tracker, in the place of our own: embedded and associated as they are, no box changed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detectors import Detections
from pipeline.formats.boxes_file import read_rows
from tracker import TrackerSettings, Tracks
from tracker.following.costs import visibility


class GivenTracks:
    """One camera's tracks from MOTChallenge text. It asks for looks as sparingly as ``DeepSort`` does of people it is sure of.

    Rows of score 0 are left out (ground truth marks so what is not to be counted); a negative score means none is known. Raises
    FileNotFoundError, or ValueError naming the file and what is wrong: rows without ids (detections), or an id twice in a frame.
    """

    def __init__(self, path: Path, settings: TrackerSettings) -> None:
        self.path, self.settings = path, settings
        rows = read_rows(path)
        counted = rows.scores != 0
        frames, ids, boxes, scores = (column[counted] for column in (rows.frames, rows.ids, rows.boxes, rows.scores))
        if (ids < 0).any() or (ids != np.floor(ids)).any():
            raise ValueError(
                f"{path}: ids are whole numbers from 0, there is {ids[(ids < 0) | (ids != np.floor(ids))][0]:g}: are these detections?"
            )
        order = np.lexsort((ids, frames))
        self.frames, self.ids = frames[order], ids[order].astype(np.int64)
        twice = np.flatnonzero((np.diff(self.frames) == 0) & (np.diff(self.ids) == 0))
        if len(twice):
            raise ValueError(f"{path}: id {self.ids[twice[0]]} twice in frame {self.frames[twice[0]]}")
        self._boxes = boxes[order]
        self._scores = np.where(scores < 0, 1, scores / max(scores.max(initial=0), 1))[order].astype(np.float32)
        self.last = int(self.frames.max(initial=0))
        self._who, backwards = np.unique(self.ids[::-1], return_index=True)
        self._ends = self.frames[::-1][backwards]
        self._looked: dict[int, float] = {}

    def _at(self, frame: int) -> slice:
        return slice(*np.searchsorted(self.frames, [frame, frame + 1]).tolist())

    def detections(self, frame: int) -> Detections:
        """The boxes of ``frame`` (from 1), in the order of their ids."""
        return Detections(self._boxes[self._at(frame)], self._scores[self._at(frame)])

    def wanted(self, frame: int, time: float) -> np.ndarray:
        """(m,) rows of ``detections(frame)`` to be embedded: whoever was not yet, and again who is well seen after a while."""
        clear = visibility(self._boxes[self._at(frame)].astype(np.float64)) >= self.settings.visible
        ago = np.array([time - self._looked.get(int(who), -np.inf) for who in self.ids[self._at(frame)]])
        return np.flatnonzero(np.isinf(ago) | (clear & (ago >= self.settings.refresh)))

    def tracks(self, frame: int, time: float, embedded: list[int]) -> Tracks:
        """The tracks of ``frame``, after its rows ``embedded`` were."""
        at = self._at(frame)
        ids, boxes = self.ids[at], self._boxes[at]
        self._looked |= {int(ids[row]): time for row in embedded}
        visible = visibility(boxes.astype(np.float64)).astype(np.float32)
        return Tracks(ids, boxes, self._scores[at], np.arange(len(ids)), visible)

    def held(self, frame: int) -> np.ndarray:
        """Ids that come again after ``frame``."""
        return self._who[self._ends > frame]
