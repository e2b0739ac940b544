"""``tracks.txt``, written a few seconds late, so that short gaps in a track can be interpolated between both ends."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from pipeline.formats.mot import write_rows
from pipeline.sinks.sink import Sink
from pipeline.sources.frame import Frame
from tracker import Tracks


@dataclass
class _Waiting:
    frame: int
    time: float
    rows: dict[int, tuple[np.ndarray, float]] = field(default_factory=dict)  # id -> box, score


class TracksText(Sink):
    """Writes MOTChallenge rows, and fills gaps of up to ``max_gap`` seconds in a track by linear interpolation.

    This is the usual post-processing of trackers, ByteTrack's among them. Interpolated rows have the lower score of the two ends. The rows
    of the last ``max_gap`` seconds are held in memory; ``max_gap`` 0: no interpolation.
    """

    def __init__(self, path: Path, max_gap: float) -> None:
        self.file, self.max_gap = path.open("w", encoding="utf-8"), max_gap
        self._waiting: deque[_Waiting] = deque()

    def take(self, frame: Frame, tracks: Tracks) -> None:
        now = _Waiting(frame.index + 1, frame.time)
        for track_id, box, score in zip(tracks.ids.tolist(), tracks.boxes, tracks.scores.tolist(), strict=True):
            now.rows[track_id] = (box, score)
            self._fill(track_id, now)
        self._waiting.append(now)
        while self._waiting and self._waiting[0].time < frame.time - self.max_gap:
            self._write(self._waiting.popleft())

    def _fill(self, track_id: int, now: _Waiting) -> None:
        gap: list[_Waiting] = []
        for waiting in reversed(self._waiting):
            if track_id in waiting.rows:
                break
            gap.append(waiting)
        else:
            return  # not in the rows held: a new track, or a gap that is too long
        (first, low), (last, high) = waiting.rows[track_id], now.rows[track_id]
        for missing in gap:
            share = (missing.time - waiting.time) / (now.time - waiting.time)
            missing.rows[track_id] = (first + np.float32(share) * (last - first), min(low, high))

    def _write(self, waiting: _Waiting) -> None:
        ids = sorted(waiting.rows)
        boxes = np.array([waiting.rows[track_id][0] for track_id in ids], np.float32).reshape(-1, 4)
        scores = np.array([waiting.rows[track_id][1] for track_id in ids])
        write_rows(self.file, np.full(len(ids), waiting.frame), np.array(ids, np.int64), boxes, scores)

    def close(self) -> None:
        with self.file:
            while self._waiting:
                self._write(self._waiting.popleft())
