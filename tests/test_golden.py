"""A golden table: the tracks of a clip that this test makes, row by row.

Three drawn people cross, one hides for a second; boxes are given, with noise, misses and false ones, so that only tracking, re-ID and
writing decide. ``UPDATE_GOLDEN=1`` writes the table anew; look at the difference before you commit it.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from clips import figure, write_clip

from pipeline import Config, Request, run
from pipeline.config import nested
from pipeline.engine.cameras import specify
from pipeline.evaluation.tracks import evaluate
from pipeline.formats.mot import read_tracks, write_rows

GOLDEN = Path(__file__).parent / "golden/crossing.txt"
SHIRTS = [((40, 40, 200), (90, 60, 30)), ((200, 90, 30), (40, 40, 40)), ((60, 170, 60), (150, 150, 160))]
FRAMES, HEIGHT = 90, 110


def place(who: int, frame: int) -> tuple[float, float]:
    """Where a person's feet are."""
    return [(40 + 4.0 * frame, 190.0), (420 - 4.2 * frame, 205.0), (230 + 20 * np.sin(frame / 15), 225.0)][who]


def make(folder: Path) -> tuple[Path, Path, Path]:
    """The clip, the boxes given, and the ground truth."""
    rng = np.random.default_rng(7)
    background = rng.integers(90, 130, (240, 460, 3)).astype(np.uint8)
    pictures, truth, boxes = [], [], []
    for frame in range(FRAMES):
        picture = background.copy()
        for who, (shirt, trousers) in enumerate(SHIRTS):
            x, ground = place(who, frame)
            figure(picture, round(x), round(ground), HEIGHT, shirt, trousers, frame / 3 + who)
            box = np.array([x - 22, ground - HEIGHT, x + 22, ground])
            truth.append((frame + 1, who + 1, box, 1.0))
            hidden = who == 0 and 60 <= frame < 70
            if not hidden and rng.random() > 0.08:
                boxes.append((frame + 1, -1, box + rng.normal(0, 1.5, 4), rng.uniform(0.65, 0.95)))
        if rng.random() < 0.1:  # a false box
            x, y = rng.uniform(20, 400), rng.uniform(100, 140)
            boxes.append((frame + 1, -1, np.array([x, y, x + 40, y + 90]), rng.uniform(0.2, 0.6)))
        pictures.append(picture)
    for name, rows in (("gt.txt", truth), ("boxes.txt", boxes)):
        frames, ids, corners, scores = (np.array(column) for column in zip(*rows, strict=True))
        with (folder / name).open("w") as file:
            write_rows(file, frames, ids, corners, scores)
    return write_clip(folder / "crossing.mp4", pictures, rate=10), folder / "boxes.txt", folder / "gt.txt"


def test_the_tracks_are_what_they_were(tmp_path):
    clip, boxes, truth = make(tmp_path)
    config = Config.model_validate(nested("output.video", False))
    record = run(Request(specify([str(clip)], detections=[str(boxes)]), config, tmp_path / "out"))
    assert record.exit_code == 0 and record.cameras["crossing"].processed == FRAMES
    found = tmp_path / "out/crossing/tracks.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.write_text(found.read_text())
    golden, now = read_tracks(GOLDEN), read_tracks(found)
    assert now.frames.tolist() == golden.frames.tolist()
    assert now.ids.tolist() == golden.ids.tolist()
    np.testing.assert_allclose(now.boxes, golden.boxes, atol=0.03)
    scores = evaluate({"crossing": (truth, found)})
    assert scores.idf1 > 95 and scores.switches == 0
