"""The tracker: its filter against filterpy's, its contract, and golden scenarios with the ids they must keep."""

from __future__ import annotations

import numpy as np
import pytest
from filterpy.kalman import KalmanFilter
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from detectors import Detections
from tracker import DeepSort
from tracker.following import kalman
from tracker.following.assignment import assign
from tracker.following.costs import iou, negative_log_likelihood, visibility
from tracker.following.gallery import Gallery
from tracker.interop import from_supervision, to_supervision


def unit(*values: float) -> np.ndarray:
    row = np.array(values, np.float32)
    return row / np.linalg.norm(row)


def person(x: float, y: float = 200, width: float = 40, height: float = 100) -> list[float]:
    return [x - width / 2, y - height, x + width / 2, y]


def detections(*boxes, scores=None, embeddings=None) -> Detections:
    table = np.array(boxes, np.float32).reshape(-1, 4)
    return Detections(table, np.full(len(table), 0.9) if scores is None else np.array(scores), embeddings)


# the filter


def test_the_filter_equals_filterpys_with_uneven_time_steps():
    rng = np.random.default_rng(0)
    start = np.array([[100.0, 80, 40, 90]])
    speed, jerk = np.array([1.0, 0.5, 0.2, 0.2]), np.array([0.25, 0.1, 0.05, 0.05])
    motion = kalman.initiate(start, 0.1, speed)
    oracles = []
    for axis in range(4):
        oracle = KalmanFilter(2, 1)
        oracle.x = np.array([[start[0, axis]], [0.0]])
        oracle.P = np.diag([(0.1 * 90) ** 2, (speed[axis] * 90) ** 2])
        oracle.H = np.array([[1.0, 0.0]])
        oracles.append(oracle)
    for dt in (0.04, 0.04, 0.5, 0.1, 0.04, 1.7):
        variance = kalman.heights(motion.position)[0, 0] ** 2 * dt
        measured = start + rng.normal(0, 5, (1, 4))
        noise = np.full((1, 4), 9.0)
        motion = kalman.correct(kalman.predict(motion, dt, 0.2, jerk), measured, noise)
        for axis, oracle in enumerate(oracles):
            oracle.F = np.array([[1.0, dt], [0.0, 1.0]])
            oracle.Q = np.diag([0.2**2 * variance, jerk[axis] ** 2 * variance])
            oracle.R = np.array([[9.0]])
            oracle.predict()
            oracle.update(measured[0, axis])
            np.testing.assert_allclose(motion.position[0, axis], oracle.x[0, 0], rtol=1e-9)
            np.testing.assert_allclose(motion.velocity[0, axis], oracle.x[1, 0], rtol=1e-8, atol=1e-9)
            covariance = [motion.pp[0, axis], motion.pv[0, axis], motion.vv[0, axis]]
            np.testing.assert_allclose(covariance, [oracle.P[0, 0], oracle.P[0, 1], oracle.P[1, 1]], rtol=1e-8)


# small parts


def test_iou_and_visibility_by_hand():
    a = np.array([[0, 0, 10, 10], [0, 0, 10, 20]], float)
    np.testing.assert_allclose(iou(a, a), [[1, 0.5], [0.5, 1]], atol=1e-6)
    np.testing.assert_allclose(visibility(a), [0.0, 1.0], atol=1e-6)  # the second stands lower: it covers the first


def test_the_cost_is_the_negative_log_likelihood_of_students_distribution():
    start = np.array([[100.0, 80, 40, 90]])
    motion = kalman.initiate(start, 0.1, np.ones(4))
    cost = negative_log_likelihood(motion, np.array([[109.0, 89, 70, 90], [100, 80, 40, 90]]), noise=0.2, tail=3.0)
    variance = 0.1**2 + 0.2**2  # in heights, as the distances: 9 px are a tenth
    density = [stats.t.logpdf([0.1, 0.1, 0], 3, scale=variance**0.5), stats.t.logpdf([0, 0, 0], 3, scale=variance**0.5)]
    expected = [3 * stats.t.logpdf(0, 3) - one.sum() for one in density]
    np.testing.assert_allclose(cost[0], expected, rtol=1e-9)


def test_assignment_is_not_decided_by_pairs_that_cannot_be_made():
    cost = np.array([[0.1, 0.75], [0.2, 5.0]])
    rows, columns = assign(cost, 0.8)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(0, 0)]  # a cost of 5 uncapped would force the other two pairs
    assert len(assign(np.zeros((0, 3)), 1)[0]) == 0


def test_the_gallery_is_bounded_and_remembers_the_nearest():
    gallery = Gallery(3)
    slots = gallery.acquire(2)
    for step in range(5):
        gallery.add(slots[:1], unit(1, step)[None])
    distance = gallery.distance(slots, np.stack([unit(1, 4), unit(1, 0)]))
    assert distance[0, 0] == pytest.approx(0, abs=1e-6)
    assert distance[0, 1] == pytest.approx(1 - unit(1, 0) @ unit(1, 2), abs=1e-6)  # (1, 0) itself has been overwritten
    assert (distance[1] == 2).all()
    with pytest.raises(ValueError, match="dimensions"):
        gallery.add(slots[1:], np.ones((1, 5), np.float32))


# the contract


def walk(tracker: DeepSort, frames: int = 10) -> list:
    return [tracker.update(detections(person(100 + 4 * t), person(400 - 4 * t)), time=t / 10) for t in range(frames)]


def test_ids_last_and_are_unique():
    for tracks in walk(DeepSort()):
        assert tracks.ids.tolist() == [1, 2] or sorted(tracks.ids.tolist()) == [1, 2]
        assert len(set(tracks.ids.tolist())) == len(tracks)


def test_rows_point_at_the_detections_given():
    tracker = DeepSort()
    walk(tracker, 5)
    given = detections(person(400 - 20), person(100 + 20))
    tracks = tracker.update(given, time=0.5)
    np.testing.assert_allclose(tracks.boxes, given.boxes[tracks.rows], atol=6)


def test_reset_equals_new():
    tracker = DeepSort()
    first = walk(tracker)
    tracker.reset()
    for a, b in zip(first, walk(tracker), strict=True):
        assert a.ids.tolist() == b.ids.tolist()
        np.testing.assert_array_equal(a.boxes, b.boxes)


def test_time_may_stand_still_but_not_go_back():
    tracker = DeepSort()
    walk(tracker, 5)
    assert len(tracker.update(detections(person(116), person(384)), time=0.4)) == 2
    with pytest.raises(ValueError, match=r"0\.400 to 0\.300"):
        tracker.update(detections(), time=0.3)
    with pytest.raises(ValueError, match="finite"):
        tracker.update(detections(), time=float("nan"))
    assert len(tracker.held) == 2


def test_empty_frames_one_frame_and_a_crowd():
    tracker = DeepSort()
    assert len(tracker.update(Detections.empty(), time=0)) == 0
    tracker = DeepSort()
    assert len(tracker.update(detections(person(50)), time=0)) == 1
    grid = np.array([person(20 * x, 30 * y, 10, 20) for x in range(100) for y in range(30)], np.float32)
    tracker = DeepSort()
    crowd = Detections(grid, np.full(len(grid), 0.9))
    tracker.update(crowd, time=0)
    assert len(tracker.update(crowd, time=0.1)) == len(grid)


@pytest.mark.slow
def test_ten_thousand_boxes_in_a_frame():
    grid = np.array([person(20 * x, 30 * y, 10, 20) for x in range(100) for y in range(100)], np.float32)
    tracker = DeepSort()
    tracker.update(Detections(grid, np.full(len(grid), 0.9)), time=0)
    assert len(tracker.update(Detections(grid, np.full(len(grid), 0.9)), time=0.1)) == len(grid)


@pytest.mark.parametrize(
    ("boxes", "scores", "words"),
    [
        ([[0, 0, np.nan, 1]], [0.5], "box 0 is not finite"),
        ([[0, 0, 1, 1], [5, 0, 1, 1]], [0.5, 0.5], "box 1 is inverted"),
        ([[0, 0, 1, 1]], [1.5], "score 0 is outside"),
        ([[0, 0, 1]], [0.5], r"\(n, 4\)"),
        ([[0, 0, 1, 1]], [0.5, 0.5], "match the boxes"),
    ],
)
def test_bad_detections_are_refused_by_name(boxes, scores, words):
    with pytest.raises(ValueError, match=words):
        Detections(np.array(boxes), np.array(scores))


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), people=st.integers(1, 12))
def test_the_order_of_detections_changes_nothing(seed, people):
    rng = np.random.default_rng(seed)
    plain, shuffled = DeepSort(), DeepSort()
    centres, speed = rng.uniform(50, 600, (people, 2)), rng.normal(0, 20, (people, 2))
    looks = rng.normal(size=(people, 8)).astype(np.float32)
    looks /= np.linalg.norm(looks, axis=1, keepdims=True)
    for t in range(6):
        boxes = np.array([person(*(centres[i] + speed[i] * t / 10)) for i in range(people)], np.float32)
        seen = np.flatnonzero(rng.random(people) < 0.85)
        given_ = Detections(boxes[seen], rng.uniform(0.2, 1, len(seen)), looks[seen])
        order = rng.permutation(len(seen))
        a, b = plain.update(given_, time=t / 10), shuffled.update(given_[order], time=t / 10)
        assert a.ids.tolist() == b.ids.tolist()
        assert a.rows.tolist() == order[b.rows].tolist()
        assert len(set(a.ids.tolist())) == len(a)


def test_memory_is_bounded():
    tracker = DeepSort(max_lost=0.5)
    rng = np.random.default_rng(0)
    for t in range(400):
        looks = rng.normal(size=(5, 16)).astype(np.float32)
        looks /= np.linalg.norm(looks, axis=1, keepdims=True)
        tracker.update(Detections(np.array([person(x) for x in rng.uniform(0, 5000, 5)], np.float32), np.full(5, 0.9), looks), time=t / 10)
    assert len(tracker.held) < 80
    assert len(tracker._gallery.count) <= 128


def test_embeddings_are_asked_for_only_where_they_decide():
    asked = []

    def embed(rows):
        asked.append(len(rows))
        return np.tile(unit(1, 0, 0), (len(rows), 1))

    tracker = DeepSort()
    for t in range(50):
        tracker.update(detections(person(100 + 4 * t), person(600 + 4 * t)), time=t / 25, embed=embed)
    assert 2 <= sum(asked) <= 20  # of 100: births, and a refresh each third of a second


def test_who_will_be_looked_at_is_known_before():
    rng = np.random.default_rng(0)
    tracker, asked = DeepSort(), []
    for step in range(30):
        found = detections(*(person(x, 200) for x in (100 + 10 * step, 400 - 10 * step, 600)))
        wanted, held = tracker.wanted(found, time=step / 10), tracker.held.tolist()
        np.testing.assert_array_equal(wanted, tracker.wanted(found, time=step / 10))  # asking changes nothing
        assert tracker.held.tolist() == held

        def embed(rows):
            asked.append(rows)
            return np.stack([unit(*rng.normal(size=4)) for _ in rows])

        asked.clear()
        tracker.update(found, time=step / 10, embed=embed)
        assert (asked[0].tolist() if asked else []) == wanted.tolist()
    with pytest.raises(ValueError, match="time goes back"):
        tracker.wanted(detections(), time=0)


def test_the_running_mean_forgets_slowly():
    gallery = Gallery(2, momentum=0.5)
    slots = gallery.acquire(2)
    for look in (unit(1, 0), unit(0, 1), unit(0, 1)):
        gallery.add(slots[:1], look[None])
    mean = np.array([0.25, 0.75])
    assert gallery.distance_to_mean(slots, unit(0, 1)[None])[0, 0] == pytest.approx(1 - 0.75 / np.linalg.norm(mean))
    assert gallery.distance_to_mean(slots, unit(0, 1)[None])[1, 0] == 2
    seen = play([[(100 + 10 * t, 200, A), (400 - 10 * t, 210, B)] for t in range(31)], similarity="ema")
    assert seen[0] == seen[-1]


def test_supervision_in_and_out():
    supervision = pytest.importorskip("supervision")
    tracker = DeepSort()
    for step in range(3):
        boxes = np.array([person(300), person(100 + 4 * step)], np.float32)
        given_ = supervision.Detections(xyxy=boxes, confidence=np.array([0.8, 0.9], np.float32))
        out = to_supervision(tracker.update(from_supervision(given_), time=step / 10))
    assert sorted(out.tracker_id.tolist()) == [1, 2]
    np.testing.assert_allclose(out.xyxy, boxes[out.data["row"]], atol=5)
    assert len(to_supervision(DeepSort().update(from_supervision(supervision.Detections.empty()), time=0))) == 0
    np.testing.assert_array_equal(from_supervision(supervision.Detections(xyxy=boxes)).scores, [1, 1])


def test_settings_are_checked():
    with pytest.raises(ValueError, match="high"):
        DeepSort(high_threshold=1.5)
    with pytest.raises(ValueError, match="hihg"):
        DeepSort(hihg=0.5)


# golden scenarios: two people a and b with looks of their own, at 10 frames per second

A, B = unit(1, 0, 0.1), unit(0, 1, 0.1)


def play(frames: list[list[tuple[float, float, np.ndarray]]], **changes) -> list[dict[str, int]]:
    """Ids per frame by name; a frame is a list of (x, ground, look)."""
    tracker, out = DeepSort(**changes), []
    for t, frame in enumerate(frames):
        boxes = [person(x, y) for x, y, _ in frame]
        looks = np.array([look for _, _, look in frame], np.float32).reshape(len(frame), -1) if frame else None
        tracks = tracker.update(detections(*boxes, embeddings=looks), time=t / 10)
        names = {0: "a", 1: "b"}
        out.append({names[int(np.argmax(frame[row][2][:2]))]: int(who) for who, row in zip(tracks.ids, tracks.rows, strict=True)})
    return out


def test_crossing_keeps_both_ids():
    frames = [[(100 + 10 * t, 200, A), (400 - 10 * t, 210, B)] for t in range(31)]
    seen = play(frames)
    assert seen[0] == seen[-1]


def test_occlusion_behind_another_keeps_both_ids():
    frames = []
    for t in range(41):
        x = 100 + 8 * t
        hidden = abs(x - 260) < 30
        frames.append([(260, 220, B)] + ([] if hidden else [(x, 200, A)]))
    seen = play(frames)
    assert seen[1]["a"] == seen[-1]["a"]
    assert seen[1]["b"] == seen[-1]["b"]


def test_re_entry_within_the_memory_is_the_same_person_and_later_is_not():
    there = [[(100 + 5 * t, 200, A)] for t in range(10)]
    back = [[(160 + 5 * t, 200, A)] for t in range(10)]
    seen = play(there + [[]] * 15 + back, max_lost=3.0)
    assert seen[-1]["a"] == seen[1]["a"]
    seen = play(there + [[]] * 40 + back, max_lost=3.0)
    assert seen[-1]["a"] != seen[1]["a"]


def test_a_stranger_where_somebody_was_gets_an_id_of_his_own():
    seen = play([[(100, 200, A)]] * 10 + [[]] * 8 + [[(130, 200, B)]] * 10)
    assert seen[-1]["b"] != seen[1]["a"]


def test_a_crop_of_two_people_decides_nothing():
    # a is half covered by b, so its crop looks like b; it must stay a
    frames = (
        [[(100, 200, A), (160, 205, B)]] * 10 + [[(100, 200, unit(0.4, 1, 0.1)), (115, 205, B)]] * 5 + [[(100, 200, A), (160, 205, B)]] * 5
    )
    tracker, first = DeepSort(), {}
    for time, frame in enumerate(frames):
        looks = np.array([look for _, _, look in frame])
        tracks = tracker.update(detections(*(person(x, y) for x, y, _ in frame), embeddings=looks), time=time / 10)
        by_row = dict(zip(tracks.rows.tolist(), tracks.ids.tolist(), strict=True))
        first = first or by_row
    assert by_row == first


def test_who_comes_back_from_behind_a_column_elsewhere_is_found_by_looks():
    # a goes behind a column and comes out where no velocity would have taken them; others have shown how wide the scene is
    wide = [(-300, 100, unit(0.5, 0, 1)), (900, 500, unit(0, 0.5, 1))]
    frames = [[(100 + 5 * t, 300, A), *wide] for t in range(15)] + [wide] * 25
    back = [[(60 - 5 * t, 310, A), *wide] for t in range(10)]
    other = [[(60 - 5 * t, 310, B), *wide] for t in range(10)]

    def first_and_last(frames):
        tracker, out = DeepSort(), []
        for time, frame in enumerate(frames):
            looks = np.array([look for _, _, look in frame])
            tracks = tracker.update(detections(*(person(x, y) for x, y, _ in frame), embeddings=looks), time=time / 10)
            out.append(dict(zip(tracks.rows.tolist(), tracks.ids.tolist(), strict=True)))
        return out[1][0], out[-1][0]

    assert len(set(first_and_last(frames + back))) == 1
    assert len(set(first_and_last(frames + other))) == 2


def test_stop_and_go_keeps_the_id():
    places = [100 + 6 * t for t in range(10)] + [160] * 15 + [160 + 6 * t for t in range(10)]
    seen = play([[(x, 200, A)] for x in places])
    assert {frame["a"] for frame in seen[1:]} == {seen[1]["a"]}


def test_a_jump_in_time_moves_the_prediction_with_it():
    tracker = DeepSort()
    for t in range(10):
        tracker.update(detections(person(100 + 10 * t)), time=t / 10)
    tracks = tracker.update(detections(person(100 + 10 * 14)), time=1.4)  # five frames were lost
    assert tracks.ids.tolist() == [1]


def test_an_unknown_setting_names_the_nearest_ones():
    with pytest.raises(ValueError, match=r"TrackerSettings has no setting 'max_age'; did you mean"):
        DeepSort(max_age=30)
    with pytest.raises(ValueError, match="did you mean max_lost"):
        DeepSort(max_los=3)
