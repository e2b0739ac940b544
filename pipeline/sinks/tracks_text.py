"""``tracks.txt`` as it is written: a few seconds late, so that short gaps in a track can be filled from both their ends."""

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
    """Writes MOTChallenge rows, boxes of gaps up to ``longest`` seconds interpolated linearly between the boxes seen.

    Who was hidden for a moment was still there (ByteTrack's and most trackers' post-processing). Filled rows carry the lower
    score of the two ends. Holds the frames of the last ``longest`` seconds; ``longest`` 0 fills nothing.
    """

    def __init__(self, path: Path, longest: float) -> None:
        self.file, self.longest = path.open("w", encoding="utf-8"), longest
        self._waiting: deque[_Waiting] = deque()

    def take(self, frame: Frame, tracks: Tracks) -> None:
        now = _Waiting(frame.index + 1, frame.time)
        for who, box, score in zip(tracks.ids.tolist(), tracks.boxes, tracks.scores.tolist(), strict=True):
            now.rows[who] = (box, score)
            self._fill(who, now)
        self._waiting.append(now)
        while self._waiting and self._waiting[0].time < frame.time - self.longest:
            self._write(self._waiting.popleft())

    def _fill(self, who: int, now: _Waiting) -> None:
        gap: list[_Waiting] = []
        for waiting in reversed(self._waiting):
            if who in waiting.rows:
                break
            gap.append(waiting)
        else:
            return  # not seen in what is held: a new track, or too long a gap
        (first, low), (last, high) = waiting.rows[who], now.rows[who]
        for missing in gap:
            share = (missing.time - waiting.time) / (now.time - waiting.time)
            missing.rows[who] = (first + np.float32(share) * (last - first), min(low, high))

    def _write(self, waiting: _Waiting) -> None:
        ids = sorted(waiting.rows)
        boxes = np.array([waiting.rows[who][0] for who in ids], np.float32).reshape(-1, 4)
        scores = np.array([waiting.rows[who][1] for who in ids])
        write_rows(self.file, np.full(len(ids), waiting.frame), np.array(ids, np.int64), boxes, scores)

    def close(self) -> None:
        with self.file:
            while self._waiting:
                self._write(self._waiting.popleft())
