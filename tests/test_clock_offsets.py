"""Offsets between the clocks of cameras, from people who walk: found where they are told, and not made up where they are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.formats.tracklet import Tracklet
from pipeline.live.clocks import ClockWatch
from tracker import Site
from tracker.linking.clock_offsets import ClockOffsets, shift_between

PLANE = [[0.01, 0, 0], [0, 0.01, 0], [0, 0, 1]]  # 100 px are a metre
VIEWS = Site.model_validate({"cameras": {"a": {"ground": PLANE}, "b": {"ground": PLANE}}})


def walk(rng: np.random.Generator, seconds: float = 12.0, speed: float = 1.3) -> np.ndarray:
    """(k, 3) seconds and px of somebody who walks and turns, at 10 a second."""
    times = np.arange(0, seconds, 0.1)
    heading = rng.uniform(0, 2 * np.pi) + np.cumsum(rng.normal(0, 0.08, len(times)))
    steps = 0.1 * speed * np.c_[np.cos(heading), np.sin(heading)]
    return np.c_[times, 500 + 100 * np.cumsum(steps, 0)]


def seen(path: np.ndarray, rng: np.random.Generator, late: float = 0.0, bias: float = 0.0) -> np.ndarray:
    out = path[rng.random(len(path)) < 0.8] + np.array([late, 0, 0])
    out[:, 1:] += rng.normal(0, 8, (len(out), 2)) + bias * rng.normal(0, 1, 2)
    return out


@settings(max_examples=8, deadline=None)
@given(st.integers(0, 1000), st.floats(-4, 4))
def test_overlapping_views_tell_the_offset(seed, late):
    rng, offsets = np.random.default_rng(seed), ClockOffsets(VIEWS)
    for _ in range(12):
        path = walk(rng)
        offsets.seen_by_both("b", seen(path, rng, late, 25), "a", seen(path, rng, 0.0, 25))  # either order
    (found,) = offsets.estimates()
    assert (found.a, found.b, found.by) == ("a", "b", "views")
    assert found.seconds == pytest.approx(late, abs=0.5)
    assert abs(found.seconds - late) < 5 * found.uncertainty + 0.1


def test_who_stands_still_tells_nothing():
    rng = np.random.default_rng(0)
    standing = walk(rng, speed=0.02)
    metres = np.array([1, 0.01, 0.01])
    assert shift_between(metres * seen(standing, rng), metres * seen(standing, rng, 2.0)) is None
    assert shift_between(standing[:3], standing) is None


@pytest.mark.parametrize("both", [True, False])
def test_links_tell_the_offset_by_both_ways_or_a_typical_time(both):
    rng = np.random.default_rng(3)
    link = {"start": "a", "end": "b", **({} if both else {"typical_time": 20, "max_time": 60})}
    offsets = ClockOffsets(Site.model_validate({"links": [link]}))
    for _ in range(20):
        offsets.walked("a", "b", 20 + rng.normal(0, 2) + 7)
        if both:
            offsets.walked("b", "a", 20 + rng.normal(0, 2) - 7)
        offsets.walked("a", "c", 1.0)  # no link
    (found,) = offsets.estimates()
    assert found.seconds == pytest.approx(7, abs=1.5) and found.by == "links"
    assert found.uncertainty < (1.0 if both else 5.0)


def tracklet(camera: str, track: int, path: np.ndarray) -> Tracklet:
    feet = path[:, 1:]
    boxes = np.c_[feet[:, 0] - 20, feet[:, 1] - 100, feet[:, 0] + 20, feet[:, 1]].astype(np.float32)
    some = np.arange(1, len(path) + 1)
    return Tracklet(camera, track, some, path[:, 0], boxes, np.ones(len(path)), None, 0, 0.0, (), (), 0, np.zeros(0), np.zeros((0, 0)))


def test_a_clock_that_is_off_is_told_once():
    rng, watch, identities, told = np.random.default_rng(1), ClockWatch(VIEWS, bound=1.0), {}, []
    for person in range(10):
        path = walk(rng) + np.array([60.0 * person, 0, 0])
        watch.finish(tracklet("a", person, seen(path, rng)))
        watch.finish(tracklet("b", person, seen(path, rng, 2.5)))
        identities |= {("a", person): person, ("b", person): person}
        told += watch.review(60.0 * person + 50, identities)
    told += watch.review(1000.0, identities)
    assert [(one.a, one.b) for one in told] == [("a", "b")]
    assert told[0].seconds == pytest.approx(2.5, abs=0.3)
    assert watch.offsets[0].samples == 10
