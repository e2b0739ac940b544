"""The motion gate: a still scene skips the detector, a change never does, and nobody is later than the number of frames said."""

from __future__ import annotations

import cv2
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import MotionGate
from pipeline.engine.motion_gate import StillScene

SCENE = cv2.resize(np.random.default_rng(0).integers(60, 200, (9, 16, 3), np.uint8), (640, 360), interpolation=cv2.INTER_CUBIC)


def noisy(seed: int) -> np.ndarray:
    """The scene as a sensor and a codec leave it."""
    noise = np.random.default_rng(seed).normal(0, 6, SCENE.shape)
    return np.clip(SCENE + noise, 0, 255).astype(np.uint8)


def looked_at(pictures, **settings) -> list[bool]:
    scene = StillScene(MotionGate(**settings))
    return [scene.needs_detector(picture) for picture in pictures]


def test_without_a_gate_every_frame_is_looked_at():
    assert all(looked_at([SCENE] * 4))


def test_a_still_scene_is_looked_at_as_often_as_said():
    assert looked_at([noisy(seed) for seed in range(9)], max_skipped=3) == [True, False, False, False] * 2 + [True]


def test_somebody_small_who_comes_in_is_seen_at_once():
    person = SCENE.copy()
    cv2.rectangle(person, (300, 200), (308, 224), (20, 20, 20), -1)  # 24 px high
    assert looked_at([SCENE, SCENE, person, person, SCENE], max_skipped=100) == [True, False, True, False, True]


def test_a_slow_change_adds_up():
    """Each frame is compared with the last one looked at, not with the one before it."""
    assert sum(looked_at([np.full((90, 160, 3), 60 + step, np.uint8) for step in range(31)], max_skipped=1000, change_threshold=10)) == 3


def test_another_size_is_a_change():
    assert looked_at([SCENE, cv2.resize(SCENE, (320, 240)), cv2.resize(SCENE, (320, 240))], max_skipped=9) == [True, True, False]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 6))
def test_nobody_waits_longer_than_said(levels, most):
    looked = looked_at([np.full((12, 16, 3), 60 * level, np.uint8) for level in levels], max_skipped=most)
    waits = np.diff([at for at, seen in enumerate(looked) if seen] + [len(looked)])
    assert (waits <= most + 1).all()
    changed = [at for at in range(1, len(levels)) if levels[at] != levels[at - 1]]
    assert all(looked[at] for at in changed)
    assert looked[:1] == [True] * bool(levels)
