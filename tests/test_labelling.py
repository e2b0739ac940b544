"""Pseudo-labels: fusion of teachers, what becomes a person and what is ignored, files, videos and tracks."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from clips import write_clip
from command import passerby
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import Detections
from detectors.training.evaluate import Sample, evaluate, overlaps, yolo_folder
from detectors.training.fusion import fuse
from detectors.training.label_files import Labels, read_labels, to_text
from detectors.training.pseudo_labels import LabelThresholds, with_human, without_human
from detectors.training.teachers import Teachers
from pipeline.errors import SourceError, UsageError
from pipeline.jobs.label import LabelRequest, label

THRESHOLDS = LabelThresholds()


def boxes_of(*rows):
    return np.array(rows, np.float32).reshape(-1, 4)


class Finder:
    """Finds white rectangles; the score is the value of their blue channel over 255. ``misses``: calls in which it finds nothing."""

    def __init__(self, misses=()):
        self.misses, self.calls = misses, 0

    def detect(self, images):
        found = []
        for image in images:
            self.calls += 1
            mask = (image[..., 2] > 200).astype(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(mask)
            rows = stats[1:][stats[1:, 4] > 60]
            boxes = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4]], 1).astype(np.float32)
            scores = [np.median(image[y + 2 : y + h - 2, x + 2 : x + w - 2, 0]) / 255 for x, y, w, h, _ in rows]
            found.append(Detections.empty() if self.calls in self.misses else Detections(boxes, np.array(scores, np.float32)))
        return found


def picture(*people, size=(120, 200)):
    """Black, with a rectangle per (x1, y1, x2, y2, score)."""
    image = np.zeros((*size, 3), np.uint8)
    for x1, y1, x2, y2, score in people:
        image[y1:y2, x1:x2] = (round(score * 255), 255, 255)
    return image


# ---- fusion


def random_looks(seed, looks):
    rng = np.random.default_rng(seed)
    people = rng.uniform(0, 200, (3, 2))
    out = []
    for _ in range(looks):
        corner = people[rng.permutation(3)[: rng.integers(0, 4)]] + rng.normal(0, 2, (1, 2))
        out.append(Detections(np.concatenate([corner, corner + np.array([30, 70])], 1), rng.uniform(0.05, 1, len(corner))))
    return out


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), looks=st.integers(1, 5))
def test_fusion_does_not_depend_on_order_and_stays_within_its_boxes(seed, looks):
    given_looks = random_looks(seed, looks)
    fused = fuse(given_looks)
    again = fuse([look[np.arange(len(look))[::-1]] for look in given_looks][::-1])
    np.testing.assert_allclose(fused.boxes, again.boxes, atol=1e-4)
    np.testing.assert_allclose(fused.scores, again.scores, atol=1e-6)
    assert len(fused) <= sum(map(len, given_looks)) and (np.diff(fused.scores) <= 1e-7).all()
    every = np.concatenate([look.boxes for look in given_looks])
    for box in fused.boxes:
        members = every[overlaps(box[None].astype(float), every.astype(float))[0] > 0.3]
        assert (box >= members.min(0) - 1e-3).all() and (box <= members.max(0) + 1e-3).all()


def test_a_fused_score_is_a_mean_over_looks_and_a_box_is_weighted():
    one = Detections(boxes_of([0, 0, 30, 60], [100, 0, 130, 60]), np.array([0.9, 0.6]))
    two = Detections(boxes_of([3, 0, 33, 60]), np.array([0.3]))
    fused = fuse([one, two])
    np.testing.assert_allclose(fused.scores, [0.6, 0.3], atol=1e-6)
    np.testing.assert_allclose(fused.boxes[0], [0.75, 0, 30.75, 60], atol=1e-4)
    assert len(fuse([])) == len(fuse([Detections.empty()])) == 0


def test_mirror_and_tiles_find_the_same_places():
    image = picture((300, 100, 340, 220, 0.9), (700, 500, 760, 690, 0.6), size=(760, 1000))
    plain = Finder().detect([image])[0]
    for teachers in (Teachers([Finder()]), Teachers([Finder(), Finder()], tiles=True), Teachers([Finder()], False, True)):
        found = teachers.detect([image])[0]
        order = np.argsort(-plain.scores)
        np.testing.assert_allclose(found.boxes, plain.boxes[order], atol=1e-3)
        np.testing.assert_allclose(found.scores, plain.scores[order], atol=1e-5)
    with pytest.raises(ValueError, match="at least one teacher"):
        Teachers([])


def test_a_tile_does_not_add_the_half_of_a_person_that_it_cuts():
    image = picture((300, 300, 500, 460, 0.9), size=(760, 1000))  # across the inner edges of all tiles
    found = Teachers([Finder()], mirror=False, tiles=True).detect([image])[0]
    assert len(found) == 1
    np.testing.assert_allclose(found.boxes[0], [300, 300, 500, 460], atol=1e-3)


# ---- thresholds


def test_a_teacher_alone():
    found = Detections(boxes_of([0, 0, 10, 20], [20, 0, 30, 20], [40, 0, 50, 20]), np.array([0.3, 0.29, 0.09]))
    labels = without_human(found, THRESHOLDS)
    assert labels.people.tolist() == [[0, 0, 10, 20]] and labels.ignored.tolist() == [[20, 0, 30, 20]] and labels.by_hand == 0


def test_human_labels_stay_and_what_they_lack_is_added():
    human = Labels(boxes_of([0, 0, 10, 20]).astype(float), boxes_of([80, 0, 95, 20]).astype(float), 1)
    boxes = boxes_of([2, 0, 12, 20], [20, 0, 30, 20], [40, 0, 50, 20], [60, 0, 70, 20], [80, 0, 94, 20])
    labels = with_human(Detections(boxes, np.array([0.9, 0.4, 0.39, 0.09, 0.9])), human, THRESHOLDS)
    assert labels.people.tolist() == [[0, 0, 10, 20], [20, 0, 30, 20]] and labels.by_hand == 1
    assert labels.ignored.tolist() == [[80, 0, 95, 20], [40, 0, 50, 20]]
    empty = with_human(Detections(boxes, np.array([0.9, 0.4, 0.39, 0.09, 0.9])), Labels(np.zeros((0, 4)), np.zeros((0, 4))), THRESHOLDS)
    assert len(empty.people) == 3 and len(empty.ignored) == 1


@settings(deadline=None)
@given(seed=st.integers(0, 10_000), count=st.integers(0, 6))
def test_label_files_come_back(seed, count, tmp_path_factory):
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 80, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(1, 20, (count, 2))], 1)
    labels = Labels(boxes[: count // 2], boxes[count // 2 :])
    path = tmp_path_factory.mktemp("labels") / "one.txt"
    path.write_text(to_text(labels, 100, 100))
    again = read_labels(path, 100, 100)
    np.testing.assert_allclose(again.people, labels.people, atol=1e-3)
    np.testing.assert_allclose(again.ignored, labels.ignored, atol=1e-3)
    assert again.by_hand == count // 2


def test_what_lies_outside_of_the_picture_is_no_label():
    outside = Labels(np.array([[-20, 0, -5, 20], [-5, 10, 10, 30.0]]), np.zeros((0, 4)))
    assert to_text(outside, 100, 100) == "0 0.050000 0.200000 0.100000 0.200000\n"


@pytest.mark.parametrize("row", ["0 0.5 0.5 0.1", "0 0.5 0.5 0.1 x", "0 0.5 0.5 0.1 nan"])
def test_a_damaged_label_file_names_its_line(tmp_path, row):
    (tmp_path / "a.txt").write_text(f"0 0.5 0.5 0.1 0.1\n\n{row}\n")
    with pytest.raises(ValueError, match=r"a\.txt, line 3: expected class"):
        read_labels(tmp_path / "a.txt", 10, 10)


def test_evaluation_judges_nothing_in_ignored_boxes():
    image = picture((10, 10, 30, 60, 0.9), (100, 10, 120, 60, 0.8), (150, 10, 170, 60, 0.7))
    truth, ignored = boxes_of([10, 10, 30, 60]).astype(float), boxes_of([90, 0, 140, 70]).astype(float)
    assert evaluate(Finder(), [Sample(image, truth, ignored)]).false_when_confident == 1
    assert evaluate(Finder(), [(image, truth)]).false_when_confident == 2
    hidden = evaluate(Finder(), [Sample(image, truth, boxes_of([0, 0, 200, 120]).astype(float))])
    assert hidden.ap50 == 1 and hidden.false_when_confident == 0 and hidden.recall == 1  # a true positive counts also there


# ---- sources


def request(out, *sources, **given_settings):
    return LabelRequest(sources, out, THRESHOLDS, **given_settings)


def rows(path):
    return [line.split()[0] for line in path.read_text().splitlines()]


def test_pictures_with_and_without_human_labels(tmp_path):
    plain, made = tmp_path / "plain", tmp_path / "made"
    for folder in (plain, made / "images", made / "labels"):
        folder.mkdir(parents=True)
    cv2.imwrite(str(plain / "a.png"), picture((10, 10, 30, 60, 0.35), (60, 10, 80, 60, 0.2)))
    (plain / "broken.png").write_bytes(b"no image")
    cv2.imwrite(str(made / "images/b.png"), picture((10, 10, 30, 60, 0.9), (60, 10, 80, 60, 0.9), (120, 10, 140, 60, 0.35)))
    (made / "labels/b.txt").write_text(to_text(Labels(np.array([[11, 10, 31, 60.0]]), np.zeros((0, 4))), 200, 120))
    counts = label(request(tmp_path / "out", plain, made, tmp_path / "none"), Finder())
    assert (counts.images, counts.by_hand, counts.by_teacher, counts.ignored, counts.unreadable) == (2, 1, 2, 2, 1)
    assert counts.failed_sources == [str(tmp_path / "none")]
    assert rows(tmp_path / "out/labels/a.txt") == ["0", "1"] and rows(tmp_path / "out/labels/b.txt") == ["0", "0", "1"]
    assert (tmp_path / "out/images/a.png").read_bytes() == (plain / "a.png").read_bytes()
    samples = {len(sample.boxes): len(sample.ignored) for sample in yolo_folder(tmp_path / "out")}
    assert samples == {1: 1, 2: 1}

    again = label(request(tmp_path / "out", plain, made), teacher := Finder())
    assert again.kept == 2 and again.images == 0 and teacher.calls == 0
    (tmp_path / "out/labels/a.txt").unlink()  # as after an interruption
    assert label(request(tmp_path / "out", plain, made), Finder()).images == 1
    with pytest.raises(UsageError, match=r"was labelled with other settings \(rate: "):
        label(request(tmp_path / "out", plain, rate=2.0), Finder())
    with pytest.raises(SourceError, match="none of the sources"):
        label(request(tmp_path / "else", tmp_path / "none"), Finder())
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    with pytest.raises(UsageError, match="would both be a; rename one"):
        label(request(tmp_path / "else", plain, tmp_path / "a.png"), Finder())


def walk(tmp_path, scores):
    """A person who walks for 40 frames at 10 per second, with these scores, and a blink elsewhere in frame 20."""
    images = []
    for at in range(40):
        people = [(20 + 3 * at, 20, 44 + 3 * at, 84, scores[at])] if scores[at] else []
        if 19 <= at <= 21:
            people.append((4, 92, 16, 118, 0.9))
        images.append(picture(*people))
    return write_clip(tmp_path / "walk.mp4", images, rate=10)


def test_frames_of_a_video_at_a_rate(tmp_path):
    clip = walk(tmp_path, [0.8] * 40)
    counts = label(request(tmp_path / "out", clip, rate=2.0), Finder())
    names = sorted(path.stem for path in (tmp_path / "out/labels").glob("*.txt"))
    assert names == [f"walk-{1 + 5 * at:06d}" for at in range(8)] and counts.images == 8
    assert label(request(tmp_path / "out", clip, rate=2.0), Finder()).kept == 8


def test_only_what_a_track_explains(tmp_path):
    scores = [0.8] * 40
    for at in (10, 30):
        scores[at] = 0.2  # a low score within a track
    clip = walk(tmp_path, scores)
    misses = {25}  # and a frame in which the teacher sees nothing
    label(request(tmp_path / "out", clip, rate=2.0, tracked=True), Finder({at + 1 for at in misses}))
    got = {path.stem[-2:]: rows(path) for path in sorted((tmp_path / "out/labels").glob("*.txt"))}
    assert got["11"] == ["0"] and got["31"] == ["0"]  # the track vouches for it
    assert got["21"] == ["0", "1"]  # the blink is no track, whatever its score
    assert got["26"] == ["1"]  # the person is there, but where exactly is not known
    assert got["16"] == ["0"]
    alone = label(request(tmp_path / "alone", clip, rate=2.0), Finder())
    assert rows(tmp_path / "alone/labels/walk-000021.txt") == ["0", "0"] and alone.ignored == 2


# ---- the command


def test_the_command(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), picture())
    done = passerby("detector", "label", tmp_path / "a.png", "--teacher", "person-n", "--size", "160", "-o", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images"] == 1 and (tmp_path / "out/labels/a.txt").exists()
    kept = json.loads((tmp_path / "out/labelling.json").read_text())
    assert kept["teachers"][0].startswith("person-n.onnx ") and kept["sizes"] == [160]
    other = passerby("detector", "label", tmp_path / "a.png", "--teacher", "person-n", "-o", tmp_path / "out")
    assert other.returncode == 2 and "other settings (sizes: see" in other.stderr
    for words, code, said in (
        (["--person", "0.5"], 2, "must not decrease"),
        (["--teacher", "nothing"], 4, "unknown"),
    ):
        failed = passerby("detector", "label", tmp_path / "a.png", "--teacher", "person-n", "-o", tmp_path / "new", *words)
        assert failed.returncode == code and said in failed.stderr
    missing = passerby("detector", "label", tmp_path / "none", tmp_path / "a.png", "--teacher", "person-n", "-o", tmp_path / "new")
    assert missing.returncode == 1 and "failed sources" in missing.stdout
