"""Pixels that are not square, and fields: detection in square pixels, results in the video's, both said."""

from __future__ import annotations

from fractions import Fraction

import av
import cv2
import numpy as np
import pytest
from clips import figure, numbered, write_clip
from command import passerby
from hypothesis import given
from hypothesis import strategies as st

from detectors import Detections
from pipeline.engine.pixel_aspect import squared, to_square, to_stored
from pipeline.sources.frame import Selection
from pipeline.sources.open import open_source


@given(st.floats(0.25, 4), st.lists(st.tuples(*[st.floats(-100, 2000)] * 4), max_size=5))
def test_boxes_go_there_and_back(aspect, boxes):
    corners = np.array(boxes, np.float32).reshape(-1, 2, 2)
    found = Detections(np.sort(corners, axis=1).reshape(-1, 4), np.full(len(boxes), 0.5, np.float32))
    np.testing.assert_allclose(to_stored(to_square(found, aspect), aspect).boxes, found.boxes, rtol=1e-5, atol=1e-3)
    height, width = squared(np.zeros((48, 64, 3), np.uint8), aspect).shape[:2]
    assert height >= 48
    assert width >= 64
    assert width / height == pytest.approx(64 * aspect / 48, rel=0.05)


def people(count: int) -> list[np.ndarray]:
    pictures = []
    for at in range(count):
        picture = np.full((360, 480, 3), (150, 160, 150), np.uint8)
        for x, shirt in ((100 + 6 * at, (40, 40, 180)), (380 - 6 * at, (180, 80, 40))):
            figure(picture, x, 300, 200, shirt, (60, 60, 60), stride=at * 0.6)
        pictures.append(picture)
    return pictures


def test_squeezed_people_are_found_where_they_are(tmp_path):
    pictures = people(12)
    write_clip(tmp_path / "square.mp4", pictures, rate=10)
    half = [cv2.resize(picture, (480, 180), interpolation=cv2.INTER_AREA) for picture in pictures]
    write_clip(tmp_path / "squeezed.mp4", half, rate=10, aspect=Fraction(1, 2))
    rows = {}
    for name in ("square", "squeezed"):
        done = passerby(
            "run", tmp_path / f"{name}.mp4", "--detector", "person-n", "--set", "detector.size=480", "--reid", "none", "-o", tmp_path / name,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("pixels of 1:2" in done.stderr) == (name == "squeezed")
        rows[name] = np.loadtxt(tmp_path / name / name / "tracks.txt", delimiter=",", ndmin=2)
    assert len(rows["square"]) >= 10
    assert abs(len(rows["squeezed"]) - len(rows["square"])) <= 0.3 * len(rows["square"])
    bottom = {name: (table[:, 3] + table[:, 5]).mean() for name, table in rows.items()}
    assert bottom["squeezed"] == pytest.approx(bottom["square"] / 2, abs=6)
    assert rows["squeezed"][:, 4].mean() == pytest.approx(rows["square"][:, 4].mean(), rel=0.2)
    with av.open(str(tmp_path / "squeezed/squeezed/video.mp4")) as video:
        assert video.streams.video[0].sample_aspect_ratio == Fraction(1, 2)


def test_what_is_stated_is_said(tmp_path):
    interlaced = write_clip(tmp_path / "i.mp4", numbered(5), options={"x264-params": "tff=1", "preset": "ultrafast"})
    assert any("interlaced, top field first" in text for text in open_source(interlaced).progress.warnings)
    absurd = open_source(write_clip(tmp_path / "a.mp4", numbered(5), aspect=Fraction(1, 90)))
    assert any("taken to be square" in text for text in absurd.progress.warnings)
    assert next(iter(absurd.read(Selection()))).aspect == 1.0
    nearly = open_source(write_clip(tmp_path / "n.mp4", numbered(5), aspect=Fraction(100, 101)))
    assert not nearly.progress.warnings
