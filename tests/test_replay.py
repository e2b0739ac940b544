"""The simulator behind benchmarks/replay.py: its truth is exact, its switches do what they say, and it links people who differ."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from reid import Embedder
from tracker import apply_events

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
import replay
from replay import Appearance, World, ceiling, idf1, offline, online, play

SMALL = World(cameras=3, people=8, minutes=3, visits=4, misses=0, false_boxes=0, occlusion=False)


@pytest.fixture(scope="module")
def embedder() -> Embedder:
    return Embedder()


@pytest.fixture(scope="module")
def appearance(embedder) -> Appearance:
    """Eight people as vectors, a little different in each camera and crop."""
    rng = np.random.default_rng(0)
    person, camera = rng.normal(size=(8, 64)), rng.normal(0, 0.15, (3, 64))
    crops = person[:, None, None] + camera[None, :, None] + rng.normal(0, 0.25, (8, 3, 5, 64))
    crops /= np.linalg.norm(crops, axis=-1, keepdims=True)
    strangers = rng.normal(size=(10, 64))
    return Appearance(
        [dict(enumerate(mine.astype(np.float32))) for mine in crops],
        (strangers / np.linalg.norm(strangers, axis=1, keepdims=True)).astype(np.float32), embedder,
    )  # fmt: skip


@pytest.fixture(scope="module")
def quiet(appearance):
    return play(SMALL, appearance)


def test_the_truth_is_one_place_at_a_time(quiet):
    places: dict[tuple[int, int], str] = {}
    for name, rows in quiet.truth.items():
        for frame, who, *box in rows:
            assert places.setdefault((frame, who), name) == name
            assert box[2] > box[0]
            assert box[3] > box[1]
    assert {who for _, who in places} == set(range(1, 9))


def test_people_who_differ_are_linked_while_running_and_after(quiet, appearance):
    assert idf1(quiet, ceiling(quiet)) > 97
    events, linker, took = online(quiet, appearance, quiet.site, [])
    assert idf1(quiet, apply_events({}, events)) > 90
    assert idf1(quiet, offline(quiet, appearance, quiet.site, [])) > 90
    assert linker.late == 0
    assert len(took) == len(quiet.updates)


def test_late_updates_within_what_is_allowed_change_nothing(quiet, appearance):
    late = play(replace(SMALL, late=4.0), appearance)
    straight = replace_times(late)
    assert online(late, appearance, late.site, [])[0] == online(straight, appearance, late.site, [])[0]


def replace_times(run: replay.Replay) -> replay.Replay:
    """The same updates, each coming at once."""
    updates = sorted(((u.end, u) for _, u in run.updates), key=lambda item: (item[0], item[1].key))
    return replay.Replay(run.site, run.truth, run.tracks, updates)


def test_the_switches_do_what_they_say(quiet, appearance):
    def boxes(run):
        return sum(map(len, run.tracks.values()))

    def shown(run):
        return sum(map(len, run.truth.values()))

    missed = play(replace(SMALL, misses=0.4), appearance)
    assert boxes(missed) / shown(missed) < boxes(quiet) / shown(quiet)
    false = play(replace(SMALL, false_boxes=1.0), appearance)
    assert boxes(false) > shown(false)
    hidden = play(replace(SMALL, occlusion=True), appearance)
    assert boxes(hidden) <= shown(hidden)
    clocks = play(replace(SMALL, clocks=30.0), appearance)
    offsets = [place.offset for place in clocks.site.cameras.values()]
    assert np.std(offsets) > 5
    events, _, _ = online(clocks, appearance, clocks.site, [])
    assert idf1(clocks, apply_events({}, events)) > 90  # the site file sets the clocks right
    unknown = play(replace(SMALL, clocks=30.0, clocks_known=False), appearance)
    assert {place.offset for place in unknown.site.cameras.values()} == {0.0}


def test_drawn_figures_are_embedded_by_the_real_model():
    drawn = replay.drawn_appearance(Embedder(), cameras=2, people=4, seed=0)
    assert len(drawn.of) == 4
    rows = np.concatenate([mine[camera] for mine in drawn.of for camera in (0, 1)])
    assert rows.shape[0] == 4 * 2 * 3
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    same = np.mean([float(np.mean(mine[0] @ mine[1].T)) for mine in drawn.of])
    other = np.mean([float(np.mean(drawn.of[a][0] @ drawn.of[b][1].T)) for a in range(4) for b in range(4) if a != b])
    assert same > other
