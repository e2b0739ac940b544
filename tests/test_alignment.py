"""Cameras on one clock: recordings that started at different times, and the segments that live cameras write."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import numbered, write_clip
from command import passerby

from pipeline.formats.mot import write_rows
from pipeline.formats.tracklet import Tracklet
from pipeline.identities.recorded import read_runs
from pipeline.identities.results import runs_of
from pipeline.sinks.tracklets import TrackletFiles

NOW = 1_795_601_700.0  # 2026-11-25T10:15:00Z
FACTS = {"reid": "0" * 64, "slope": "25", "offset": "-8.5"}
CROP = cv2.imencode(".jpg", np.full((128, 60, 3), 90, np.uint8))[1].tobytes()


def written(folder: Path, tracks: list[tuple[str, int, float, int]], began: dict[str, float] | None = None) -> Path:
    """A run folder of ``tracks``: camera, id, time of the first frame, frames at 10 per second; all of one person."""
    folder.mkdir(parents=True)
    files = TrackletFiles(folder, FACTS, began)
    for camera, track, first, count in tracks:
        times = first + np.arange(count) / 10
        boxes = np.tile(np.array([[10, 10, 50, 110]], np.float32), (count, 1))
        look = np.array([1, 0, 0], np.float32)
        files.finish(
            Tracklet(
                camera,
                track,
                np.arange(1, count + 1),
                times,
                boxes,
                np.full(count, 0.9, np.float32),
                look,
                5,
                0.9,
                (CROP,),
                (first,),
                0,
                times[::10],
                np.repeat(look[None], len(times[::10]), 0),
            )
        )
        (folder / camera).mkdir(exist_ok=True)
        with (folder / camera / "tracks.txt").open("a") as file:
            write_rows(file, np.arange(1, count + 1), np.full(count, track), boxes, np.full(count, 0.9))
    files.close()
    return folder


def test_runs_that_know_their_time_are_aligned(tmp_path):
    early = written(tmp_path / "a", [("gate", 1, 5.0, 20)], {"gate": NOW, "quiet": NOW - 30})
    late = written(tmp_path / "b", [("yard", 1, 2.0, 20)], {"yard": NOW + 3600})
    recorded = read_runs([early, late], growth=True)
    assert recorded.epoch == NOW - 30  # of a camera without tracks
    np.testing.assert_allclose(recorded.tracklets.start, [35, 3632])
    np.testing.assert_allclose([path[0, 0] for path in recorded.tracklets.paths], [35, 3632])
    np.testing.assert_allclose([grown.times[0] for grown in recorded.growth], [35, 3632])


def test_a_camera_without_a_time_starts_with_the_earliest_and_that_is_said(tmp_path, caplog):
    recorded = read_runs([written(tmp_path / "a", [("gate", 1, 5.0, 20), ("old", 1, 4.0, 20)], {"gate": NOW})])
    np.testing.assert_allclose(recorded.tracklets.start, [5, 4])
    assert "old" in caplog.text
    assert np.isnan(recorded.epochs).tolist() == [False, True]
    assert read_runs([written(tmp_path / "b", [("gate", 1, 5.0, 20)])]).epoch is None


def test_the_segments_of_a_live_camera_are_one_camera(tmp_path):
    segments = tmp_path / "live" / "segments"
    first = written(segments / "20261125T101500", [("gate", 1, NOW, 30), ("yard", 1, NOW + 1, 20)])
    second = written(segments / "20261125T103000", [("gate", 1, NOW + 3, 20), ("gate", 2, NOW + 90, 30)])
    recorded = read_runs([first, second])
    assert recorded.keys == [("gate", 1), ("yard", 1), ("gate", 2)]
    np.testing.assert_allclose(recorded.tracklets.start, [0, 1, 90])
    np.testing.assert_allclose(recorded.tracklets.end, [4.9, 2.9, 92.9])
    assert [len(frames) for frames in recorded.frames] == [50, 20, 30]
    out = tmp_path / "people"
    shutil.copytree(first, segments / "20261125T104500.open")
    done = passerby("associate", tmp_path / "live", "-o", out, "--set", "reading.time_zone=UTC")
    assert done.returncode == 0, done.stderr
    assert "20261125T104500.open" in done.stderr
    rows = list(csv.DictReader((out / "identities.csv").open()))
    assert {row["camera"] for row in rows} == {"gate", "yard"}
    assert {row["start_wall"][:10] for row in rows} == {"2026-11-25"}
    assert {row["start_wall"][-6:] for row in rows} == {"+00:00"}
    assert "timelines of 1:32.9" in (out / "index.html").read_text()
    assert len((out / "gate/tracks.global.txt").read_text().splitlines()) == 80
    live_and_file = read_runs([first, second, written(tmp_path / "run", [("gate", 1, 0.0, 20)], {"gate": NOW})])
    assert sorted(set(live_and_file.tracklets.cameras)) == ["run/gate", "segments/gate", "yard"]
    forgotten = passerby("identities", "forget", out, next(row["identity"] for row in rows if row["camera"] == "gate"))
    assert forgotten.returncode == 0, forgotten.stderr
    for run in (first, second):
        for row in pq.read_table(run / "tracklets.parquet").to_pylist():
            assert (row["camera"], row["track"]) != ("gate", 1)
        assert not (run / "people/gate-00001.jpg").exists()


def test_a_segment_that_only_goes_on_is_among_the_runs_and_is_erased(tmp_path):
    """A long track may begin in one segment and go on in another, in which no other track is."""
    segments = tmp_path / "live" / "segments"
    first = written(segments / "20261125T101500", [("gate", 1, NOW, 40)])
    second = written(segments / "20261125T103000", [("gate", 1, NOW + 4, 20)])
    assert read_runs([first, second]).folders == [first, second]
    out = tmp_path / "people"
    done = passerby("associate", first, second, "-o", out)
    assert done.returncode == 0, done.stderr
    assert runs_of(out) == [out / os.path.relpath(run, out) for run in (first, second)]
    forgotten = passerby("identities", "forget", out, "1")
    assert forgotten.returncode == 0, forgotten.stderr
    for run in (first, second):
        assert pq.read_table(run / "tracklets.parquet").num_rows == 0
        assert not (run / "people/gate-00001.jpg").exists()


def test_two_recordings_of_one_walk(tmp_path):
    """The same walk in two cameras, one of which started ten seconds later: its times are shifted by what the names say."""
    clip = write_clip(tmp_path / "clip.mp4", numbered(30), rate=10)
    for name in ("gate_20261125_101500.mp4", "yard_20261125_101510.mp4"):
        shutil.copy(clip, tmp_path / name)
    boxes = tmp_path / "det.txt"
    boxes.write_text("".join(f"{at},-1,{20 + at},20,20,50,0.9\n" for at in range(1, 31)))
    names = [path.stem for path in sorted(tmp_path.glob("*_2026*.mp4"))]
    options = [word for name in names for word in ("--detections", f"{name}={boxes}")]
    done = passerby(
        "run", *(tmp_path / f"{name}.mp4" for name in names), *options, "--no-video", "-o", tmp_path / "o", "--set", "reading.time_zone=UTC"
    )
    assert done.returncode == 0, done.stderr
    rows = {row["camera"]: row for row in csv.DictReader((tmp_path / "o/identities.csv").open())}
    assert [float(rows[name]["start_time"]) for name in names] == [0, 10]
    assert rows[names[1]]["start_wall"] == "2026-11-25T10:15:10.000+00:00"
    assert json.loads((tmp_path / "o/run.json").read_text())["cameras"][names[1]]["began_from"] == "file name"
    stated = passerby(
        "run", *(tmp_path / f"{name}.mp4" for name in names), *options, "--no-video", "-o", tmp_path / "p", "--reid", "none",
        "--recorded-at", f"{names[0]}=2026-11-25T10:15:00+01:00", "--set", "reading.clock=none",
    )  # fmt: skip
    assert stated.returncode == 0, stated.stderr
    cameras = json.loads((tmp_path / "p/run.json").read_text())["cameras"]
    assert cameras[names[0]]["began_from"] == "option"
    assert cameras[names[1]]["began"] is None


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"creation_time": "2026-11-25T10:15:00.000000Z"}, NOW),
        ({"creation_time": "2026-11-25T10:15:00.000000Z", "com.apple.quicktime.creationdate": "2026-11-25T12:15:10+0200"}, NOW + 10),
        ({"creation_time": "1904-01-01T00:00:00Z"}, None),
        ({"creation_time": "soon"}, None),
        ({}, None),
    ],
)
def test_times_of_containers(metadata, expected):
    from pipeline.sources.video_file import created

    assert created(metadata, {}) == expected
