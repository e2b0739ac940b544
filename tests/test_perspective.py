"""The perspective that a camera learns: the line, what it does to boxes, and that it is off until enough was seen."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import Detections
from pipeline import Config
from pipeline.engine.camera_run import CameraRun
from pipeline.engine.cameras import Camera
from pipeline.engine.step import run_step
from pipeline.engine.stopwatch import Stopwatch
from pipeline.sources.frame import Frame, Progress
from tracker import DeepSort
from tracker.following.costs import iou
from tracker.following.perspective import Perspective, PerspectiveSettings, fit, remainder, spans

ON = PerspectiveSettings(enabled=True, penalty=0)
WIDTH, HEIGHT = 1000, 700
SLOPE, OFFSET = 0.3, 10.0


def person(x, feet, taller=1.0, wider=1.0):
    """The box of a person whose feet are at ``x``, ``feet``."""
    height = (SLOPE * feet + OFFSET) * taller
    width = 0.4 * (SLOPE * feet + OFFSET) * wider
    return [x - width / 2, feet - height, x + width / 2, feet]


def learnt(options=ON, seed=0, people=12, outliers=0.0, noise=0.05, high=0.6):
    """A perspective that has seen people walk down the image for ten seconds."""
    rng = np.random.default_rng(seed)
    out = Perspective(options, high)
    tall, start = 1 + rng.normal(0, noise, people), rng.uniform(250, 450, people)
    for at in range(100):
        boxes = np.array([person(80 + 70 * who, start[who] + 2 * at, tall[who]) for who in range(people)])
        odd = rng.random(people) < outliers
        boxes[odd, 1] -= 0.8 * (boxes[odd, 3] - boxes[odd, 1])
        out.learn(np.arange(people), boxes, np.full(people, 0.9), np.ones(people), at / 10, WIDTH, HEIGHT)
    return out


@pytest.mark.parametrize("outliers", [0.0, 0.25])
def test_the_line_is_found_whatever_a_quarter_of_the_boxes_say(outliers):
    line = learnt(outliers=outliers).line
    assert line is not None
    feet = np.array([300.0, 450.0, 600.0])
    np.testing.assert_allclose(line.heights(feet), SLOPE * feet + OFFSET, rtol=0.08)
    assert line.spread < 0.15 and np.isnan(line.heights(np.array([50.0, 2000.0]))).all()


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(2, 60))
def test_the_line_does_not_depend_on_the_order_of_its_boxes(seed, count):
    rng = np.random.default_rng(seed)
    boxes = np.array([person(rng.uniform(50, 900), rng.uniform(200, 650), rng.uniform(0.8, 1.2)) for _ in range(count)])
    one, other = fit(boxes), fit(boxes[rng.permutation(count)])
    np.testing.assert_allclose(one.heights(np.array([400.0])), other.heights(np.array([400.0])), rtol=1e-9)


def detections(*rows):
    """(box, score) pairs."""
    return Detections(np.array([box for box, _ in rows], np.float32), np.array([score for _, score in rows], np.float32))


def test_nothing_changes_until_enough_was_seen_or_if_it_is_off():
    pair = detections(([300, 300, 420, 500], 0.9), (person(330, 500), 0.5), (person(390, 500), 0.4))
    for perspective in (
        Perspective(ON, 0.6), learnt(PerspectiveSettings()), learnt(people=6), learnt(PerspectiveSettings(enabled=True, min_samples=2000)), learnt(noise=0.6),
    ):  # fmt: skip
        assert perspective.line is None
        assert perspective.screen(pair) is pair and not any(perspective.counts.values())


def test_a_box_of_two_people_gives_way_to_them():
    perspective = learnt()
    height = SLOPE * 500 + OFFSET
    double = [300, 500 - height, 300 + 1.1 * height, 500]
    found = perspective.screen(detections((double, 0.9), (person(300 + 0.25 * height, 500), 0.5), (person(300 + 0.85 * height, 500), 0.3)))
    assert len(found) == 2 and (found.scores == np.float32(0.9)).all() and perspective.counts["dropped"] == 1
    assert (np.abs(found.boxes[:, 0] - 300) > 1).any()


def test_one_behind_the_other_is_too_tall_for_its_feet():
    front, back = person(400, 550), person(410, 440)
    both = [min(front[0], back[0]), back[1] - 10, max(front[2], back[2]), 550]
    found = learnt().screen(detections((both, 0.8), (front, 0.7), (back, 0.4)))
    assert len(found) == 2 and found.scores.min() == np.float32(0.8)


def test_what_one_person_leaves_of_a_box_is_not_embedded():
    perspective = learnt()
    height = SLOPE * 500 + OFFSET
    double = [300, 500 - height, 300 + 1.1 * height, 500]
    seen = person(300 + 0.22 * height, 500)
    found = perspective.screen(detections((double, 0.9), (seen, 0.5)))
    assert perspective.counts["split"] == 1 and len(found) == 2
    rest = found.boxes[found.scores < 0.6][0]
    np.testing.assert_allclose(rest, [seen[2], 500 - height, double[2], 500], atol=1e-3)
    assert found.scores.max() == np.float32(0.9)


def test_single_people_of_any_size_are_left_alone():
    perspective = learnt()
    rows = [(person(100 + 90 * at, 300 + 40 * at, 0.8 + 0.05 * at), 0.7) for at in range(8)]
    rows += [(person(820, 560, 0.5), 0.7), (person(500, 320, 1.0, 2.0), 0.8)]  # one who sits, and one with open arms
    given_rows = detections(*rows)
    found = perspective.screen(given_rows)
    np.testing.assert_array_equal(found.boxes, given_rows.boxes)
    np.testing.assert_array_equal(found.scores, given_rows.scores)


def test_what_is_too_big_for_a_person_loses_a_share_of_its_score():
    perspective = learnt(ON.changed(penalty=0.25))
    rows = [person(400, 500), person(700, 500, 1.0, 2.5), person(300, 500, 1.8), person(600, 500, 0.4), person(100, 30, 3.0)]
    found = perspective.screen(detections(*((row, 0.8) for row in rows)))
    np.testing.assert_allclose(
        found.scores, [0.8, 0.6, 0.6, 0.8, 0.8], atol=1e-6
    )  # one who sits stays; where nothing is known nothing changes
    assert perspective.counts["scored_down"] == 2


@settings(deadline=None)
@given(seed=st.integers(0, 5_000), count=st.integers(0, 12))
def test_screening_invents_no_boxes_and_no_scores(seed, count):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 600, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(5, 300, (count, 2))], 1)
    given_rows = Detections(boxes, rng.uniform(0.1, 1, count))
    perspective = LEARNT
    found = perspective.screen(given_rows)
    assert len(found) <= count and (not count or found.scores.max() <= given_rows.scores.max() + 1e-6)
    again = perspective.screen(given_rows)
    np.testing.assert_array_equal(found.boxes, again.boxes)
    shuffled = perspective.screen(given_rows[rng.permutation(count)])
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(map(tuple, shuffled.boxes.tolist()))


LEARNT = learnt()


def test_tracks_are_forgotten_and_what_was_learnt_stays():
    perspective = learnt()
    line = perspective.line
    for id in range(1000, 1400):
        perspective.learn(np.array([id]), np.array([person(500, 400)]), np.array([0.9]), np.ones(1), 100.0 + id, WIDTH, HEIGHT)
        perspective.forget(np.array([id]))
    assert len(perspective._tracks) < 200 and perspective.line == line


def test_geometry():
    whole = np.array([0, 0, 100, 100.0])
    assert spans(np.array([[0, 5, 40, 100], [55, 0, 95, 98.0]]), whole) and not spans(np.array([[0, 5, 40, 100.0]]), whole)
    np.testing.assert_array_equal(remainder(whole, np.array([[0, 0, 45, 100.0]]), 60), [45, 0, 100, 100])
    np.testing.assert_array_equal(remainder(whole, np.array([[60, 0, 100, 100.0]]), 60), [0, 0, 60, 100])
    assert remainder(whole, np.array([[20, 0, 85, 100.0]]), 60) is None


# ---- in a run


class Hall:
    """A detector and the frames it sees: twelve people walk down a hall; from frame 60 two of them are also one box of a high score."""

    def __init__(self):
        self.frames = [Frame(at, at / 10, np.full((HEIGHT, WIDTH, 3), at, np.uint8)) for at in range(100)]
        self.double = np.array([0.0] * 4)

    def detect(self, images):
        return [self.at(int(image[0, 0, 0])) for image in images]

    def at(self, index):
        boxes = [person(80 + 70 * who, 300 + 10 * who + 2 * index) for who in range(12)]
        rows = [(box, 0.9) for box in boxes]
        if index >= 60:
            self.double = np.concatenate([np.minimum(boxes[4][:2], boxes[5][:2]), np.maximum(boxes[4][2:], boxes[5][2:])])
            rows[4], rows[5] = (boxes[4], 0.5), (boxes[5], 0.4)
            rows.append((self.double, 0.95))
        return detections(*rows)

    def camera(self, enabled=True):
        source = SimpleNamespace(path="hall", width=WIDTH, height=HEIGHT, rate=10.0, progress=Progress())
        config = Config().changed(perspective=ON.changed(enabled=enabled))
        return {"hall": CameraRun(Camera("hall", source, None), config, [])}

    def tracks(self, cameras, frames, known=None):
        """Steps, and per frame the tracked boxes by id."""
        steps, out = [], []
        original = DeepSort.update

        def noted(tracker, *given, **more):
            found = original(tracker, *given, **more)
            out.append(dict(zip(found.ids.tolist(), map(tuple, found.boxes.tolist()), strict=True)))
            return found

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(DeepSort, "update", noted)
            for at, frame in enumerate(frames):
                replayed = known[at] if known is not None and at < len(known) else None
                steps.append(run_step(cameras, {"hall": frame}, self, None, Stopwatch(), replayed))
        return steps, out


def test_a_run_tracks_two_people_and_not_their_common_box():
    hall = Hall()
    camera = hall.camera()
    _, tracked = hall.tracks(camera, hall.frames)
    last = np.array(list(tracked[-1].values()))
    assert len(last) == 12 and (iou(last, hall.double[None])[:, 0] < 0.7).all()
    assert camera["hall"].result.screened["dropped"] == 40
    _, before = hall.tracks(hall.camera(enabled=False), hall.frames)
    assert iou(np.array(list(before[-1].values())), hall.double[None]).max() > 0.7


def test_a_resumed_run_learns_what_it_replays():
    hall = Hall()
    steps, whole = hall.tracks(hall.camera(), hall.frames)
    again, resumed = hall.tracks(hall.camera(), hall.frames, known=steps[:70])
    assert resumed == whole
    for one, other in zip(steps, again, strict=True):
        np.testing.assert_array_equal(one.detections["hall"].boxes, other.detections["hall"].boxes)
