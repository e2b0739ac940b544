"""Refinement after the fact: broken tracks joined, changed ones split, gaps filled, boxes smoothed; on runs and on text."""

from __future__ import annotations

import json

import numpy as np
import pytest
from clips import write_clip
from command import passerby
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from test_identities import box, recorded

from pipeline.formats.mot import read_tracks
from tracker.refine import RefineSettings, Track, refine, smooth

TIMES = np.arange(200) / 10
A, B = np.array([1.0, 0, 0.1]), np.array([0, 1.0, 0.1])


def walk(name: int, first: int, last: int, x: float = 100, speed: float = 2.0, looks=None, y: float = 200, noise=0.0, seed=0) -> Track:
    """A person who is at ``x`` in frame 1 and walks ``speed`` px a frame, seen from frame ``first`` to ``last``."""
    frames = np.arange(first, last + 1)
    centre = x + speed * frames + np.random.default_rng(seed).normal(0, noise, len(frames))
    boxes = np.stack([centre - 20, np.full(len(frames), y - 100.0), centre + 20, np.full(len(frames), y)], 1)
    looks = np.zeros((0, 3)) if looks is None else np.array(looks, np.float32)
    looks = looks / np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-9)
    moments = np.linspace(TIMES[first - 1], TIMES[last - 1], len(looks))
    return Track(name, frames, TIMES[frames - 1], boxes.astype(np.float32), np.full(len(frames), 0.9, np.float32), moments, looks)


# a scene wide enough that nobody is at its edge by chance
FRAME = [walk(90, 1, 200, x=-600, speed=0, y=0, looks=[[0, 0, 1]] * 4), walk(91, 1, 200, x=1500, speed=0, y=900, looks=[[1, 1, -1]] * 4)]


def ids(tracks: list[Track]) -> list[int]:
    return [track.id for track in tracks if track.id < 90]


def test_a_broken_track_is_joined_and_its_gap_filled():
    whole = refine([walk(1, 1, 50, looks=[A] * 4), walk(2, 61, 120, looks=[A] * 4), *FRAME], TIMES)
    assert ids(whole) == [1]
    assert whole[0].frames.tolist() == list(range(1, 121))
    np.testing.assert_allclose(whole[0].boxes, walk(1, 1, 120).boxes, atol=1.5)
    assert ids(refine([walk(1, 1, 50, looks=[A] * 4), walk(2, 61, 120, looks=[B] * 4), *FRAME], TIMES)) == [1, 2]


def test_who_left_at_the_edge_is_not_joined_with_who_comes_there():
    leaves, comes = walk(1, 1, 50, looks=[A] * 4), walk(2, 61, 120, x=300, speed=-2, looks=[A] * 4)
    assert ids(refine([leaves, comes], TIMES)) == [1, 2]  # they are the edge


def test_a_track_that_changed_person_is_split_where_it_did():
    whole = refine([walk(1, 1, 100, looks=[A] * 5 + [B] * 5), *FRAME], TIMES)
    assert ids(whole)[0] == 1
    first, second = (track for track in whole if track.id not in (90, 91))
    assert second.id == 92
    assert abs(first.frames[-1] - 50) <= 5
    assert second.frames[0] == first.frames[-1] + 1
    assert ids(refine([walk(1, 1, 100, looks=[A] * 10), *FRAME], TIMES)) == [1]


def test_the_smoother_is_filterpys_and_takes_noise_away():
    noisy = walk(1, 1, 100, noise=3.0)
    smoothed = smooth(noisy, TIMES, RefineSettings())
    truth = walk(1, 1, 100).boxes
    assert np.abs(smoothed.boxes - truth).mean() < 0.6 * np.abs(noisy.boxes - truth).mean()
    assert np.abs(smooth(noisy, TIMES, RefineSettings(smooth=False)).boxes - noisy.boxes).max() < 1e-3
    # one axis by filterpy's own batch filter with even steps
    config, unit, dt = RefineSettings(), 100.0, 0.1
    oracle = KalmanFilter(2, 1)
    centre = (noisy.boxes[:, 0] + noisy.boxes[:, 2]).astype(float) / 2
    oracle.x, oracle.F, oracle.H = np.array([[centre[0]], [0.0]]), np.array([[1, dt], [0, 1]]), np.array([[1.0, 0]])
    oracle.P = np.diag([(config.measurement_noise * unit) ** 2, unit**2])
    oracle.R *= (config.measurement_noise * unit) ** 2
    oracle.Q = np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]) * (config.acceleration_noise * unit) ** 2 + np.eye(2) * 1e-9
    start = oracle.x.copy(), oracle.P.copy()
    means, covariances, _, _ = oracle.batch_filter(list(centre[1:]))
    mine = oracle.rts_smoother(np.concatenate([start[0][None], means]), np.concatenate([start[1][None], covariances]))[0]
    np.testing.assert_allclose((smoothed.boxes[:, 0] + smoothed.boxes[:, 2]) / 2, mine[:, 0, 0], atol=1e-3)


def test_long_gaps_stay_open_and_short_ones_are_filled():
    one = walk(1, 1, 100)
    seen = np.r_[0:20, 30:50, 90:100]  # a gap of 1 s and one of 4 s
    broken = Track(1, one.frames[seen], one.times[seen], one.boxes[seen], one.scores[seen], np.zeros(0), np.zeros((0, 3)))
    (whole,) = refine([broken], TIMES)
    assert whole.frames.tolist() == [*range(1, 51), *range(91, 101)]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_nothing_is_lost_and_the_order_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    tracks = []
    for name in range(1, 9):
        first = int(rng.integers(1, 150))
        looks = rng.normal(size=(int(rng.integers(0, 8)), 3))
        tracks.append(
            walk(
                name,
                first,
                first + int(rng.integers(1, 50)),
                x=rng.uniform(0, 900),
                speed=rng.normal(0, 3),
                looks=looks if len(looks) else None,
            )
        )
    whole = refine(tracks, TIMES)
    again = refine([tracks[row] for row in rng.permutation(len(tracks))], TIMES)
    assert [track.id for track in whole] == [track.id for track in again]
    assert len({track.id for track in whole}) == len(whole)
    for one, other in zip(whole, again, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
        assert (np.diff(one.frames) > 0).all()
        assert np.isfinite(one.boxes).all()
    every = {int(frame) for track in tracks for frame in track.frames}
    assert every <= {int(frame) for track in whole for frame in track.frames}


def test_settings_are_checked():
    with pytest.raises(ValueError, match="reach"):
        RefineSettings(reach=0)
    assert refine([], TIMES) == []


def test_a_run_is_refined_into_a_run(tmp_path):
    run = recorded(tmp_path / "run", [("hall", 1, 1, 40), ("hall", 1, 52, 90), ("hall", 2, 1, 90), ("hall", 3, 1, 90)])
    done = passerby("refine", run, "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["hall"]["before"] == 4
    rows = read_tracks(tmp_path / "out/hall/tracks.txt")
    assert len(rows) >= len(read_tracks(run / "hall/tracks.txt"))
    associated = passerby("associate", tmp_path / "out", "-o", tmp_path / "people", "--json")
    assert json.loads(associated.stdout)["identities"] == 3
    at_once = passerby("associate", run, "--refine", "-o", tmp_path / "both", "--json")
    assert json.loads(at_once.stdout) == json.loads(associated.stdout)
    assert (tmp_path / "both/refined/hall/tracks.txt").is_file()
    assert passerby("refine", run, "-o", run).returncode == 2


def test_any_trackers_text_with_its_video(tmp_path):
    pictures, lines = [], []
    for frame in range(1, 61):
        picture = np.full((240, 400, 3), 120, np.uint8)
        for who, y, colour in ((1, 10, (30, 30, 220)), (5, 120, (220, 60, 30))):
            x = 60 + 4 * frame
            picture[y : y + 100, x : x + 40] = colour
            if who == 1 and 25 <= frame < 33:
                continue
            lines.append(f"{frame},{who + (who == 1 and frame >= 33)},{x},{y},40,100,0.9,-1,-1,-1")
        pictures.append(picture)
    clip = write_clip(tmp_path / "clip.mp4", pictures, rate=10)
    (tmp_path / "tracks.txt").write_text("\n".join(lines) + "\n")
    done = passerby(
        "refine", "--tracks", tmp_path / "tracks.txt", "--video", clip, "-o", tmp_path / "out.txt", "--set", "refine.edge_margin=0"
    )
    assert done.returncode == 0, done.stderr
    motion = passerby(
        "refine", "--tracks", tmp_path / "tracks.txt", "-o", tmp_path / "motion.txt", "--set", "refine.edge_margin=0", "--json"
    )
    assert json.loads(motion.stdout) == {"tracks": {"before": 3, "after": 3}}  # in so small a scene place alone says too little
    rows = read_tracks(tmp_path / "out.txt")
    assert set(rows.ids.tolist()) == {1, 5}
    assert len(rows) == 120
    one = rows.take(rows.ids == 1)
    np.testing.assert_allclose(one.boxes[:, 0], 60 + 4 * one.frames, atol=2)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["refine", "-o", "{tmp}/o"], "give either the output folder of a run or --tracks FILE"),
        (["refine", "{tmp}", "-o", "{tmp}/o"], "no tracklets.parquet;"),
        (["refine", "--tracks", "{tmp}/no.txt", "-o", "{tmp}/o"], "no such file"),
        (["refine", "--tracks", "{tmp}/bad.txt", "-o", "{tmp}/o"], "bad.txt, line 2"),
        (
            ["refine", "--tracks", "{tmp}/bad.txt", "-o", "{tmp}/o", "--set", "refine.max_join_gap=-1"],
            "refine.max_join_gap: must be greater than or equal to 0",
        ),
    ],
)
def test_mistakes_are_told_in_a_line(tmp_path, words, says):
    (tmp_path / "bad.txt").write_text("1,1,0,0,10,10,1\n1,2,x\n")
    done = passerby(*(word.format(tmp=tmp_path) for word in words))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_boxes_of_the_recorded_run_are_where_it_says():
    np.testing.assert_array_equal(box(1, 1), [101, 50, 141, 150])
