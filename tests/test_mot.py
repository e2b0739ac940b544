"""The one reader and writer of MOTChallenge text: what it reads, what it refuses, and that nothing is lost on the way."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.formats.mot import DetectionsByFrame, read_mot, read_tracks, write_rows


def written(tmp_path, text: str | bytes, name: str = "t.txt"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_detections_by_frame(tmp_path):
    found = DetectionsByFrame(written(tmp_path, "1,-1,10,20,30,40,80\n3 -1 1 2 3 4 40\n\n3,-1,5,5,5,5,20,-1,-1,-1\n"))
    assert found.frames == [1, 3]
    np.testing.assert_allclose(found.at(1).boxes, [[10, 20, 40, 60]])
    np.testing.assert_allclose(found.at(3).scores, [0.5, 0.25])


@pytest.mark.parametrize(
    "text",
    [
        "1,7,10,20,30,40,0.5,1,1\n2,7,11,20,30,40,0.5,1,1\n",
        "\ufeff1,7,10,20,30,40,0.5,1,1\r\n2,7,11,20,30,40,0.5,1,1\r\n",
        "# made by hand\n1,7,10,20,30,40,0.5,1,1  # first\n\n2,7,11,20,30,40,0.5,1,1",
        "frame,id,left,top,width,height,score,class,visibility\n1,7,10,20,30,40,0.5,1,1\n2,7,11,20,30,40,0.5,1,1\n",
        "1;7;10;20;30;40;0.5;1;1\n2;7;11;20;30;40;0.5;1;1\n",
        "1\t7\t10\t20\t30\t40\t0.5\t1\t1\n2\t7\t11\t20\t30\t40\t0.5\t1\t1\n",
        "1 7 10 20 30 40 .5 1 1\n2  7 11 20 30 40 5e-1 1 1\n",
    ],
)
def test_the_same_rows_however_they_are_written(tmp_path, text):
    rows = read_tracks(written(tmp_path, text))
    assert rows.frames.tolist() == [1, 2] and rows.ids.tolist() == [7, 7]
    np.testing.assert_allclose(rows.boxes, [[10, 20, 40, 60], [11, 20, 41, 60]])
    assert rows.scores.tolist() == [0.5, 0.5] and rows.classes.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,2,3\n", "line 1: 3 columns"),
        ("1,1,1,1,1,1\nx\n", "line 2: 'x' is not a row of numbers"),
        ("1,1,1,1,1,1\n0,1,1,1,1,1\n", "line 2: frames count from 1"),
        ("1.5,1,1,1,1,1\n", "line 1: a frame must be a whole number"),
        ("inf,1,1,1,1,1\n", "line 1: numbers must be finite"),
        ("1,nan,1,1,1,1\n", "line 1: numbers must be finite"),
        ("1,1,1,1,1e39,1\n", "line 1: a number is larger"),
        ("3000000000,1,1,1,1,1\n", "line 1: a number is larger"),
        ("1,1,1,1,-5,1\n", "line 1: width and height must not be negative"),
        ("1,1.5,1,1,5,1\n", "line 1: an id must be a whole number"),
        ("1,,1,1,5,1\n", "line 1"),
        ("1,-1,1,1,5,1\n", "line 1: id -1 marks a detection"),
        ("2,1,1,1,5,1\n1,4,1,1,5,1\n\n2,1,1,1,5,1\n", "lines 1 and 4: duplicate id 1 in frame 2"),
        ("1,1,1,1,5,1\n".encode("utf-16"), "UTF-16"),
        (b"\x00\xff\x80PNG", "not a text file"),
    ],
)
def test_what_breaks_a_rule_is_named(tmp_path, text, says):
    path = written(tmp_path, text)
    with pytest.raises(UsageError, match=says) as caught:
        read_tracks(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_score_is_no_low_score(tmp_path):
    assert read_mot(written(tmp_path, "1,1,1,1,5,5\n")).known_scores.tolist() == [1]
    assert read_mot(written(tmp_path, "1,1,1,1,5,5,-1\n2,1,1,1,5,5,0.25\n")).known_scores.tolist() == [1, 0.25]


def test_an_empty_file_has_no_rows(tmp_path):
    assert len(read_tracks(written(tmp_path, ""))) == 0
    assert len(DetectionsByFrame(written(tmp_path, "\n\n")).at(1)) == 0


coordinate = st.integers(-200_000, 200_000).map(lambda hundredths: hundredths / 100)
size = st.integers(0, 200_000).map(lambda hundredths: hundredths / 100)


@given(
    st.dictionaries(
        st.tuples(st.integers(1, 10**6), st.integers(0, 10**6)),
        st.tuples(coordinate, coordinate, size, size, st.integers(0, 10**4)),
        max_size=20,
    )
)
def test_what_is_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("mot") / "t.txt"
    keys = np.array(sorted(rows), np.int64).reshape(-1, 2)
    values = np.array([rows[tuple(key)] for key in keys.tolist()], float).reshape(-1, 5)
    boxes = np.c_[values[:, :2], values[:, :2] + values[:, 2:4]]
    with path.open("w") as file:
        write_rows(file, keys[:, 0], keys[:, 1], boxes, values[:, 4] / 1e4)
    found = read_tracks(path)
    assert found.frames.tolist() == keys[:, 0].tolist() and found.ids.tolist() == keys[:, 1].tolist()
    np.testing.assert_allclose(found.boxes, boxes, atol=1e-6)
    np.testing.assert_allclose(found.scores, values[:, 4] / 1e4, atol=1e-9)


@given(st.binary(max_size=200) | st.text(alphabet="0123456789,.;-+e \n\t#nai\x00é", max_size=200).map(str.encode))
def test_any_file_gives_rows_or_one_line(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("mot") / "t.txt"
    path.write_bytes(content)
    for read in (read_mot, read_tracks, DetectionsByFrame):
        try:
            read(path)
        except UsageError as error:
            assert "\n" not in str(error)
