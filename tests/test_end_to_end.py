"""The main job on real video with the shipped models: people are found and followed with stable ids."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from pipeline.errors import SourceError
from pipeline.evaluation.tracks import evaluate
from pipeline.jobs.demo_clip import obtain_clip


@pytest.fixture(scope="module")
def clip():
    try:
        return obtain_clip()
    except SourceError as error:
        pytest.skip(str(error).splitlines()[0])


@pytest.fixture(scope="module")
def followed(clip, tmp_path_factory):
    """The whole clip, as a user would run it."""
    out = tmp_path_factory.mktemp("vtest")
    done = subprocess.run(
        [sys.executable, "-m", "pipeline.cli.app", "run", str(clip), "-o", str(out), "--json"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def test_people_are_followed_with_stable_ids(followed):
    out, record = followed
    camera = record["cameras"]["vtest"]
    assert camera["processed"] == camera["frames_in"] == 795
    rows = np.loadtxt(out / "vtest/tracks.txt", delimiter=",")
    per_frame = np.bincount(rows[:, 0].astype(int), minlength=796)[1:]
    assert 3.5 < per_frame.mean() < 8  # 5.8 people a frame walk there
    lengths = np.sort(np.bincount(rows[:, 1].astype(int)))[::-1]
    assert lengths[:10].min() > 90  # ten people at least are held for nine seconds and more
    assert 15 <= camera["tracks"] <= 120
    assert (rows[:, 2] + rows[:, 4] > 0).all()
    assert record["timing"]["frames_per_second"] > 0


def test_few_embeddings_are_enough(followed):
    camera = followed[1]["cameras"]["vtest"]
    assert camera["detections_embedded"] < 0.5 * camera["detections_confident"]


def test_the_measured_quality_does_not_get_worse(followed, shared):
    """A regression gate: within half a point of what docs/quality.md reports."""
    scores = evaluate({"vtest": (shared / "data/pets09-s2l1/gt/gt.txt", followed[0] / "vtest/tracks.txt")})
    assert scores.hota >= GATE["hota"]
    assert scores.idf1 >= GATE["idf1"]
    assert scores.mota >= GATE["mota"]


GATE = {"hota": 62.6 - 0.5, "idf1": 88.2 - 0.5, "mota": 82.7 - 0.5}
