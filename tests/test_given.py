"""Another tracker's tracks instead of our own: ``passerby run --tracks``, and ``passerby associate`` of MOTChallenge text with videos."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import figure, write_clip
from command import passerby

from pipeline.engine.given_tracks import GivenTracks
from pipeline.identities.training_set import file_names
from tracker import TrackerSettings

LOOKS = {7: ((40, 40, 200), (60, 50, 40)), 12: ((60, 170, 60), (160, 160, 170))}  # shirt, trousers of two people


@pytest.fixture(scope="module")
def cameras(tmp_path_factory):
    """Two videos of the same two people, who have other ids in each, and their tracks as another tool would write them."""
    folder = tmp_path_factory.mktemp("cameras")
    scene = cv2.resize(np.random.default_rng(0).integers(90, 170, (9, 12, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    for name, ids in (("door", {7: 7, 12: 12}), ("hall", {7: 3, 12: 0})):
        pictures, rows = [], []
        for t in range(30):
            picture = scene.copy()
            for at, (who, (shirt, trousers)) in enumerate(LOOKS.items()):
                x, ground = 60 + 150 * at + 2 * t, 215
                figure(picture, x, ground, 160, shirt, trousers, t / 3)
                if not 10 <= t < 20 or who == 7:  # the other tracker lost one of them for a second
                    rows.append(f"{t + 1},{ids[who]},{x - 35},{ground - 165},70,170,{0.8 if at else -1},-1,-1,-1")
            pictures.append(picture)
        write_clip(folder / f"{name}.mp4", pictures, rate=10)
        (folder / f"{name}.txt").write_text("\n".join(reversed(rows)) + "\n")  # in no order
    return folder


def test_a_run_takes_tracks_as_they_are(cameras, tmp_path):
    out = tmp_path / "out"
    done = passerby("run", cameras / "door.mp4", "--tracks", cameras / "door.txt", "-o", out, "--no-video", "--json")
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert record["models"]["detector"] is None
    given = np.loadtxt(cameras / "door.txt", delimiter=",")
    written = np.loadtxt(out / "door/tracks.txt", delimiter=",")
    given = given[np.lexsort((given[:, 1], given[:, 0]))]
    np.testing.assert_allclose(written[:, :6], given[:, :6])  # no box filtered, no gap filled
    rows = pq.read_table(out / "tracklets.parquet").to_pylist()
    assert [row["track"] for row in rows] == [7, 12]
    assert all(row["embedding"] is not None for row in rows)
    assert 2 <= rows[0]["embeddings_count"] <= 12  # every 0.3 s of 3, not every frame
    assert (out / "people/door-00007.jpg").is_file()


def test_associate_takes_text_and_videos_beside_runs(cameras, tmp_path):
    run, out = tmp_path / "run", tmp_path / "out"
    assert passerby("run", cameras / "door.mp4", "--tracks", cameras / "door.txt", "-o", run, "--no-video").returncode == 0
    text = ["--tracks", f"hall={cameras / 'hall.txt'}", "--video", f"hall={cameras / 'hall.mp4'}"]
    done = passerby("associate", run, *text, "-o", out, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["tracklets"] == 4
    who = {(row["camera"], row["track"]): row["identity"] for row in pq.read_table(out / "identities.parquet").to_pylist()}
    assert who["door", 7] == who["hall", 3] != who["door", 12] == who["hall", 0]
    ids = np.loadtxt(out / "hall/tracks.global.txt", delimiter=",")[:, 1]
    assert set(ids) == {who["hall", 3], who["hall", 0]}
    alone = passerby("associate", *text, "-o", tmp_path / "alone", "--online")
    assert alone.returncode == 0, alone.stderr


def test_text_of_another_video_is_told(cameras, tmp_path):
    longer = tmp_path / "longer.txt"
    longer.write_text((cameras / "door.txt").read_text() + "90,7,1,1,20,50,1\n")
    done = passerby("run", cameras / "door.mp4", "--tracks", longer, "-o", tmp_path / "out", "--no-video")
    assert done.returncode == 0
    assert "has rows up to frame 90, but the source has 30 frames; check that both belong to the same video" in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1,-1,10,10,20,50,1\n", "id -1 marks a detection"),
        ("1,1,10,10,20,50,1\n1,1,30,10,20,50,1\n", "duplicate id 1 in frame 1"),
        ("1,1,10,10,20\n", "line 1: 5 columns"),
        ("0,1,10,10,20,50\n", "line 1: frames count from 1"),
    ],
)
def test_bad_text_is_told_in_a_line(cameras, tmp_path, text, says):
    (tmp_path / "bad.txt").write_text(text)
    done = passerby("run", cameras / "door.mp4", "--tracks", tmp_path / "bad.txt", "-o", tmp_path / "out")
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["associate", "-o", "{tmp}/o"], "nothing to associate"),
        (["associate", "-o", "{tmp}/o", "--tracks", "hall={clips}/hall.txt"], "requires --video NAME=PATH"),
        (["associate", "-o", "{tmp}/o", "--video", "hall={clips}/hall.mp4"], "requires --tracks hall=TRACKS.TXT"),
        (["associate", "-o", "{tmp}/o", "--video", "{clips}/hall.mp4", "--tracks", "a"], "--video {clips}/hall.mp4: expected NAME=PATH"),
        (["run", "{clips}/hall.mp4", "-o", "{tmp}/o", "--tracks", "door={clips}/hall.txt"], "no camera named 'door'; cameras: hall"),
        (
            ["run", "{clips}/hall.mp4", "-o", "{tmp}/o", "--tracks", "{clips}/hall.txt", "--detections", "{clips}/hall.txt"],
            "has both --detections and --tracks",
        ),
    ],
)
def test_mistakes_are_told_in_a_line(cameras, tmp_path, words, says):
    done = passerby(*(word.format(tmp=tmp_path, clips=cameras) for word in words))
    assert done.returncode == 2, done.stderr
    assert says.format(clips=cameras) in done.stderr
    assert "Traceback" not in done.stderr


def test_looks_are_asked_for_sparingly(tmp_path):
    """Everybody once; again after a while who is not covered; rows that are not to be counted never."""
    path = tmp_path / "t.txt"
    path.write_text("".join(f"{f},1,0,0,20,50,1\n{f},2,5,-5,20,50,1\n{f},9,90,0,20,50,0\n" for f in range(1, 21)))
    tracks, asked = GivenTracks(path, TrackerSettings(refresh_interval=0.5)), []
    for frame in range(1, 21):
        rows = tracks.wanted(frame, frame / 10).tolist()
        found = tracks.tracks(frame, frame / 10, rows)
        asked += [(frame, int(found.ids[row])) for row in rows]
    assert asked == [(1, 1), (1, 2), (6, 1), (11, 1), (16, 1)]  # 2 stands behind 1
    assert tracks.held(19).tolist() == [1, 2]
    assert tracks.held(20).tolist() == []


def test_cameras_of_a_training_set_stay_apart_whatever_their_names():
    called = file_names(["g_1", "g-1", "北門", "南門", "g-1", "g 1", "yard/2"])
    assert len(set(called.values())) == len(called) == 6
    assert not any(set("_/ ") & set(name) for name in called.values())
    assert called["北門"] == "北門"


def test_people_who_were_found_become_a_training_set(cameras, tmp_path):
    from reid.datasets.layouts import OWN, read_split, recognise

    out, people = tmp_path / "out", tmp_path / "people"
    text = [
        word
        for name in ("door", "hall")
        for word in ("--tracks", f"{name}={cameras / name}.txt", "--video", f"{name}={cameras / name}.mp4")
    ]
    assert passerby("associate", *text, "-o", out).returncode == 0
    done = passerby("reid", "collect", out, "-o", people, "--min-confidence", "0", "--across", "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["people"] == 2
    assert recognise(people) is OWN
    split = read_split(people, "train")
    assert len(split.paths) == counts["pictures"] >= 20
    assert len(np.unique(split.ids)) == len(np.unique(split.cameras)) == 2
    crop = cv2.imread(str(split.paths[0]))
    assert 120 <= crop.shape[0] <= 128
    assert np.abs(crop[60, crop.shape[1] // 2].astype(int) - LOOKS[7][0]).max() < 60  # a shirt is in its middle
    again = passerby("reid", "collect", out, "-o", people)
    assert again.returncode == 2
    assert "already exists and is not empty" in again.stderr
    nobody = passerby("reid", "collect", tmp_path, "-o", tmp_path / "none")
    assert nobody.returncode == 2
    assert "no identities.parquet;" in nobody.stderr
