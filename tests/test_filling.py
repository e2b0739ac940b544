"""Gap filling in tracks.txt: linear between the ends, not over long gaps, and nothing else changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.sinks.tracks_text import TracksText
from pipeline.sources.frame import Frame
from tracker import Tracks


def write(path: Path, seen: dict[int, list[int]], frames: int, longest: float, rate: float = 10) -> np.ndarray:
    """Rows of people who walk 10 px a frame; ``seen``: the frames (from 0) in which each id is seen."""
    writer = TracksText(path, longest)
    most = 0
    for index in range(frames):
        ids = np.array([who for who in seen if index in seen[who]], np.int64)
        boxes = np.array([[10 * index, 100 * who, 10 * index + 40, 100 * who + 90] for who in ids], np.float32).reshape(-1, 4)
        scores = np.full(len(ids), 0.5 + 0.01 * index, np.float32)
        writer.take(Frame(index, index / rate, np.zeros((1, 1, 3), np.uint8)), Tracks(ids, boxes, scores, np.arange(len(ids)), scores))
        most = max(most, len(writer._waiting))
    writer.close()
    assert most <= longest * rate + 2
    return np.array([line.split(",") for line in path.read_text().splitlines()], float).reshape(-1, 10)


def test_short_gaps_are_filled_on_the_line_between_their_ends(tmp_path):
    rows = write(tmp_path / "t.txt", {1: [0, 1, 2, 6, 7], 2: list(range(8))}, 8, 1.0)
    mine = rows[rows[:, 1] == 1]
    assert mine[:, 0].tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    np.testing.assert_allclose(mine[:, 2], 10.0 * np.arange(8), atol=0.01)
    assert mine[3, 6] == pytest.approx(0.52)
    assert (np.diff(rows[:, 0]) >= 0).all()


def test_long_gaps_and_zero_fill_nothing(tmp_path):
    seen = {1: [0, 1, *range(20, 30)]}
    assert write(tmp_path / "t.txt", seen, 30, 1.0)[:, 0].tolist() == [1, 2, *range(21, 31)]
    assert write(tmp_path / "t.txt", {1: [0, 2]}, 3, 0.0)[:, 0].tolist() == [1, 3]


def test_frames_of_nobody_are_no_rows(tmp_path):
    assert len(write(tmp_path / "t.txt", {}, 5, 1.0)) == 0
