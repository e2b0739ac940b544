"""Other tools' formats: COCO JSON, CVAT XML, VisDrone; classes in tracks and in ground truth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from clips import numbered, write_clip
from command import passerby
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluation.tracks import evaluate
from pipeline.formats.annotations import coco_json, cvat_xml, visdrone_text
from pipeline.formats.mot import mot_text, read_mot, read_tracks
from pipeline.formats.rows import MotRows

coordinate = st.integers(-20_000, 200_000).map(lambda hundredths: hundredths / 100)
size = st.integers(1, 200_000).map(lambda hundredths: hundredths / 100)
tables = st.dictionaries(
    st.tuples(st.integers(1, 60), st.integers(0, 9)),
    st.tuples(coordinate, coordinate, size, size, st.integers(1, 100)),
    min_size=1,
    max_size=30,
)


def rows_of(table: dict, classes: list[int] | None = None) -> MotRows:
    keys = np.array(sorted(table), np.int64).reshape(-1, 2)
    values = np.array([table[tuple(key)] for key in keys.tolist()], float).reshape(-1, 5)
    labels = np.full(len(keys), -1) if classes is None else np.resize(classes, len(keys))
    boxes = np.c_[values[:, :2], values[:, :2] + values[:, 2:4]]
    return MotRows(
        Path("made.txt"), keys[:, 0], keys[:, 1], boxes, values[:, 4] / 100, labels, np.ones(len(keys)), np.arange(1, len(keys) + 1)
    )


@settings(deadline=None)
@given(tables, st.sampled_from(["txt", "json", "xml", "visdrone"]))
def test_what_is_written_is_read(tmp_path_factory, table, kind):
    rows = rows_of(table)
    write = {"txt": mot_text, "json": lambda r: coco_json(r, (640, 480)), "xml": lambda r: cvat_xml(r, None), "visdrone": visdrone_text}[
        kind
    ]
    path = tmp_path_factory.mktemp("rows") / f"t.{kind}"
    path.write_text(write(rows))
    found = read_tracks(path)
    assert list(zip(found.frames.tolist(), found.ids.tolist(), strict=True)) == sorted(table)
    np.testing.assert_allclose(found.boxes, rows.boxes, atol=0.011)
    if kind != "xml":
        np.testing.assert_allclose(found.scores, rows.scores, atol=1e-4)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(["{", "[", "<"]),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5) | st.integers(),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["images", "annotations", "categories", "id", "image_id", "bbox", "name", "track_id", "score"]),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    ),
    st.text(alphabet='<>/="abox track image annotations frame01', max_size=80),
)
def test_any_file_gives_rows_or_one_line(tmp_path_factory, begin, values, text):
    path = tmp_path_factory.mktemp("any") / "t"
    for content in (json.dumps(values), begin + text, f"<annotations>{text}</annotations>"):
        path.write_text(content)
        try:
            read_tracks(path)
        except UsageError as error:
            assert "\n" not in str(error)


def test_coco_as_others_write_it(tmp_path):
    path = tmp_path / "t.json"
    path.write_text(
        json.dumps(
            {
                "images": [{"id": 31, "file_name": "b.jpg", "frame_id": 1}, {"id": 30, "file_name": "a.jpg", "frame_id": 0}],
                "categories": [{"id": 3, "name": "car"}, {"id": 7, "name": "Person"}],
                "annotations": [
                    {"image_id": 30, "bbox": [1, 2, 3, 4], "category_id": 7, "track_id": 5},
                    {"image_id": 31, "bbox": [1, 2, 3, 4], "category_id": 3, "attributes": {"track_id": 6}},
                ],
            }
        )
    )
    assert read_mot(path).frames.tolist() == [1, 2]
    people = read_tracks(path)
    assert people.ids.tolist() == [5]
    assert "1 of 2 rows are left out" in people.note
    assert "3 (car)" in people.note
    assert read_tracks(path, ["car"]).ids.tolist() == [6]
    path.write_text(json.dumps([{"image_id": 1, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.5}]))
    assert read_mot(path).ids.tolist() == [-1]
    for wrong, says in (
        ('{"annotations": [{"image_id": 1}]}', "annotation 1"),
        ('[{"image_id": 0, "bbox": [0, 0, 1, 1]}]', "annotation 1: frames count from 1"),
        ('[{"image_id": 1, "bbox": [0, 0, -1, 1]}]', "must not be negative"),
        ("{", "not valid JSON"),
        ("[1]", "annotation 1"),
        ('{"boxes": []}', "not COCO JSON"),
        ("<html></html>", "not CVAT"),
        ("<annotations><track id='1'><box frame='0'/></track></annotations>", "box 1"),
    ):
        path.write_text(wrong)
        with pytest.raises(UsageError, match=says):
            read_tracks(path)


def test_cvat_as_people_leave_it(tmp_path):
    path = tmp_path / "t.xml"
    path.write_text(
        """<annotations><track id="4" label="person"><box frame="0" xtl="0" ytl="0" xbr="10" ybr="20" outside="0"/>
        <box frame="4" xtl="40" ytl="0" xbr="50" ybr="20" outside="0"/><box frame="5" xtl="40" ytl="0" xbr="50" ybr="20" outside="1"/>
        <box frame="8" xtl="80" ytl="0" xbr="90" ybr="20" outside="0"/></track>
        <track id="9" label="car"><box frame="2" xtl="0" ytl="0" xbr="10" ybr="20" outside="0"/></track></annotations>"""
    )
    people = read_tracks(path)
    assert people.frames.tolist() == [1, 2, 3, 4, 5, 9]  # keyframes, and what lies between them
    np.testing.assert_allclose(people.boxes[:, 0], [0, 10, 20, 30, 40, 80])
    assert "2 (car)" in people.note


@pytest.mark.parametrize(
    ("lines", "ids"),
    [
        (["1 1 5 5 4 9 0.9 0 -1", "1 2 40 5 9 9 0.8 2 -1"], [1]),  # YOLO's numbers: 0 is a person
        (["1,1,5,5,4,9,1,1,1", "1,2,40,5,9,9,1,3,1"], [1]),  # MOTChallenge's
        (
            ["1,1,5,5,4,9,1,1,0,0", "1,2,40,5,9,9,1,2,0,1", "1,3,70,5,9,9,1,4,0,0", "1,0,0,0,9,9,0,0,0,0", "1,0,9,0,9,9,0,0,0,0"],
            [1, 2],
        ),  # VisDrone's
        (["1,1,5,5,4,9,1,-1,-1,-1", "1,2,40,5,9,9,1,-1,-1,-1"], [1, 2]),
        (["1,1,5,5,4,9,1,0.5,3.25,0", "1,2,40,5,9,9,1,7.5,2,0"], [1, 2]),  # MOT15's positions on the ground
    ],
)
def test_people_among_classes(tmp_path, lines, ids):
    path = tmp_path / "t.txt"
    path.write_text("\n".join(lines) + "\n")
    rows = read_tracks(path)
    assert rows.ids.tolist() == ids
    assert (rows.note is None) == (len(ids) == len(lines))


def test_no_person_is_an_error(tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("1,1,5,5,4,9,1,7,1\n")
    with pytest.raises(UsageError, match="no row is a person: its classes are 7"):
        read_tracks(path)
    assert read_tracks(path, ["7"]).ids.tolist() == [1]


def walk(track: int, label: int | str, left: float, more: str = "1", score: float = 1) -> list[str]:
    return [f"{frame},{track},{left + 5 * frame},100,40,100,{score:g},{label},{more}" for frame in range(1, 31)]


def test_evaluation_scores_the_classes_that_are_stated(tmp_path):
    gt, tracks = tmp_path / "gt.txt", tmp_path / "t.txt"
    tracks.write_text("\n".join(walk(1, -1, 100, "-1,-1")) + "\n")

    def score(*lines: list[str], classes: list[str] | None = None):
        gt.write_text("\n".join(line for part in lines for line in part) + "\n")
        return evaluate({"t": (gt, tracks)}, classes)

    visdrone = (walk(1, 1, 100, "0,0"), walk(2, 4, 400, "0,0"), [f"{at},0,0,0,50,50,0,0,0,0" for at in range(1, 31)])
    assert score(*visdrone).mota == pytest.approx(100)
    assert score(walk(1, 0, 100), walk(2, 2, 400)).mota == pytest.approx(100)  # YOLO's numbers
    assert score(walk(1, 4, 100), walk(2, 1, 400), classes=["4"]).mota == pytest.approx(100)
    assert score(walk(1, 4, 100), walk(2, 1, 400)).mota == pytest.approx(-100)
    tracks.write_text("\n".join(walk(1, -1, 100, "-1,-1") + walk(5, -1, 600, "-1,-1")) + "\n")
    in_region = (walk(1, 1, 100, "0,0"), [f"{at},0,590,50,300,300,0,0,0,0" for at in range(1, 31)])
    assert score(*in_region).mota == pytest.approx(100)  # track 5 lies in an ignored region
    with pytest.raises(UsageError, match="nothing to score"):
        score(walk(1, 1, 100, score=0))
    with pytest.raises(UsageError, match="nothing to score"):
        score(walk(1, 1, 100, "0,0"), classes=["9"])


def test_a_car_is_no_person(tmp_path):
    clip = write_clip(tmp_path / "gate.mp4", numbered(5), rate=10)
    tracks = tmp_path / "t.txt"
    tracks.write_text("".join(f"{at} 1 10 10 20 50 0.9 0 -1\n{at} 2 80 10 60 40 0.8 2 -1\n" for at in range(1, 6)))
    words = ("--tracks", tracks, "--reid", "none", "--no-video")
    done = passerby("run", clip, *words, "-o", tmp_path / "o")
    assert done.returncode == 0
    assert "5 of 10 rows are left out: class 0 is taken for a person, of classes 0, 2" in done.stderr
    assert {line.split(",")[1] for line in (tmp_path / "o/gate/tracks.txt").read_text().splitlines()} == {"1"}
    assert passerby("run", clip, *words, "-o", tmp_path / "p", "--set", "detector.classes=[0, 2]").returncode == 0
    assert {line.split(",")[1] for line in (tmp_path / "p/gate/tracks.txt").read_text().splitlines()} == {"1", "2"}


def test_convert_and_back(tmp_path):
    tracks = tmp_path / "t.txt"
    tracks.write_text(
        "".join(f"{at},{track},{10 * track + at},10,20,50,0.9,-1,-1,-1\n" for at in range(1, 9) for track in (1, 2) if at != 4)
    )
    clip = write_clip(tmp_path / "gate.mp4", numbered(3))
    for name in ("t.xml", "t.json", "v.txt"):
        words = ("--to", "visdrone") if name == "v.txt" else ()
        done = passerby("convert", tracks, "-o", tmp_path / name, "--video", clip, *words)
        assert done.returncode == 0, done.stderr
        back = passerby("convert", tmp_path / name, "-o", tmp_path / "back.txt", "--people")
        assert back.returncode == 0, back.stderr
        found, expected = read_tracks(tmp_path / "back.txt"), read_tracks(tracks)
        assert found.frames.tolist() == expected.frames.tolist()
        np.testing.assert_allclose(found.boxes, expected.boxes, atol=0.01)
        refined = passerby("refine", "--tracks", tmp_path / name, "-o", tmp_path / "refined.txt", "--set", "refine.smooth=false")
        assert refined.returncode == 0, refined.stderr
    assert "<width>160</width>" in (tmp_path / "t.xml").read_text()
    (tmp_path / "det.txt").write_text("1,-1,1,1,5,5,0.5\n")
    assert "holds tracks" in passerby("convert", tmp_path / "det.txt", "-o", tmp_path / "d.xml").stderr
    assert passerby("convert", tracks, "-o", tmp_path / "t.doc").returncode == 2
    assert passerby("convert", tracks, "-o", tracks).returncode == 2
