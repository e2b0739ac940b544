"""Tracks given by the user, from any tracker: embedded and associated, with ids and boxes unchanged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detectors import Detections
from pipeline.formats.mot import read_tracks
from tracker import TrackerSettings, Tracks
from tracker.following.costs import visibility


class GivenTracks:
    """One camera's tracks from MOTChallenge text. They are embedded as rarely as ``DeepSort`` embeds confident tracks.

    Rows of score 0 are left out (ground truth marks ignored rows so). ``classes``: which classes are people; ``note``: what
    was left out. Raises UsageError as ``read_tracks`` does.
    """

    def __init__(self, path: Path, settings: TrackerSettings, classes: Sequence[int | str] | None = None) -> None:
        self.path, self.settings = path, settings
        rows = read_tracks(path, classes)
        self.note = rows.note
        rows = rows.take(np.flatnonzero(rows.scores != 0))
        self.frames, self.ids, self.last = rows.frames, rows.ids, rows.last_frame
        self._boxes, self._scores = rows.boxes.astype(np.float32), rows.known_scores.astype(np.float32)
        self._track_ids, last_rows = np.unique(self.ids[::-1], return_index=True)
        self._last_frames = self.frames[::-1][last_rows]
        self._embedded: dict[int, float] = {}  # track id -> time of its last embedding

    def _at(self, frame: int) -> slice:
        return slice(*np.searchsorted(self.frames, [frame, frame + 1]).tolist())

    def detections(self, frame: int) -> Detections:
        """The boxes of ``frame`` (from 1), in the order of their ids."""
        return Detections(self._boxes[self._at(frame)], self._scores[self._at(frame)])

    def wanted(self, frame: int, time: float) -> np.ndarray:
        """(m,) rows of ``detections(frame)`` to embed: tracks without an embedding, and visible ones after ``refresh_interval`` seconds."""
        visible = visibility(self._boxes[self._at(frame)].astype(np.float64)) >= self.settings.min_gallery_visibility
        age = np.array([time - self._embedded.get(int(track_id), -np.inf) for track_id in self.ids[self._at(frame)]])
        return np.flatnonzero(np.isinf(age) | (visible & (age >= self.settings.refresh_interval)))

    def tracks(self, frame: int, time: float, embedded: list[int]) -> Tracks:
        """The tracks of ``frame``, of which the rows ``embedded`` were embedded now."""
        at = self._at(frame)
        ids, boxes = self.ids[at], self._boxes[at]
        self._embedded |= {int(ids[row]): time for row in embedded}
        visible = visibility(boxes.astype(np.float64)).astype(np.float32)
        return Tracks(ids, boxes, self._scores[at], np.arange(len(ids)), visible)

    def held(self, frame: int) -> np.ndarray:
        """Ids that occur after ``frame``."""
        return self._track_ids[self._last_frames > frame]
