"""``passerby run`` end to end: as a user runs it, in a process of its own, on clips made here, with the shipped models."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import numbered, write_clip

COMMAND = [sys.executable, "-m", "pipeline.cli.app"]


def passerby(*arguments, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=300, **options)


@pytest.fixture(scope="session")
def walkers(tmp_path_factory):
    """A clip of noise and its boxes: two people walk past each other for 60 frames, with a file of the user's own boxes."""
    folder = tmp_path_factory.mktemp("walkers")
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(60, 200, (12, 16, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    pictures, rows = [], []
    for t in range(60):
        picture = scene.copy()
        for x, ground, colour in ((20 + 4 * t, 200, (40, 40, 200)), (280 - 4 * t, 220, (200, 60, 40))):
            cv2.rectangle(picture, (x - 15, ground - 80), (x + 15, ground), colour, -1)
            rows.append(f"{t + 1},-1,{x - 15},{ground - 80},30,80,0.9")
        pictures.append(picture)
    (folder / "det.txt").write_text("\n".join(rows) + "\n")
    return write_clip(folder / "walk.mp4", pictures, rate=10), folder / "det.txt"


@pytest.fixture(scope="session")
def finished(walkers, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "run"
    clip, boxes = walkers
    done = passerby("run", clip, "-o", out, "--detections", boxes, "--json")
    assert done.returncode == 0, done.stderr
    return out, json.loads(done.stdout)


def rows_of(path: Path) -> np.ndarray:
    return np.loadtxt(path, delimiter=",", ndmin=2)


def test_everything_promised_is_there(finished):
    out, record = finished
    assert record == json.loads((out / "run.json").read_text())
    camera = record["cameras"]["walk"]
    assert camera["frames_in"] == camera["processed"] == 60
    assert camera["skipped"] == camera["failed"] == 0
    assert record["models"]["reid"]["sha256"]
    assert record["timing"]["stages_seconds"]["track"] > 0
    assert record["config"]["tracker"]["max_lost"] > 0
    rows = rows_of(out / "walk/tracks.txt")
    assert rows.shape[1] == 10
    assert set(rows[:, 1]) == {1, 2}
    assert rows[:, 0].min() == 1
    assert rows[:, 0].max() == 60
    assert len(rows) == 120
    assert not (out / "journal.bin").exists()


def test_the_video_is_h264_and_as_long_as_the_source(finished):
    with av.open(str(finished[0] / "walk/video.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert sum(1 for _ in container.decode(stream)) == 60


def test_the_table_has_a_row_per_tracklet(finished):
    table = pq.read_table(finished[0] / "tracklets.parquet")
    assert table.schema.metadata[b"passerby.tracklets"] == b"6"
    rows = table.to_pylist()
    assert [row["track"] for row in rows] == [1, 2]
    for row in rows:
        assert row["boxes_count"] == len(row["boxes"]) == len(row["times"]) == 60
        assert row["start_time"] == 0
        assert row["end_time"] == pytest.approx(5.9, abs=0.01)
        assert np.linalg.norm(row["embedding"]) == pytest.approx(1, abs=1e-5)
        assert 0 < row["quality"] <= 1
        assert 1 <= len(row["embedding_times"]) == len(row["embeddings"]) <= 16
        assert row["embedding_times"] == sorted(row["embedding_times"])


def test_the_page_and_the_sheets_stand_alone(finished):
    out, _ = finished
    page = (out / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 4  # two tracks, and the two people that they are
    assert "http" not in page.replace("http-equiv", "")
    assert sorted(path.name for path in (out / "people").glob("*.jpg")) == ["00001.jpg", "00002.jpg", "walk-00001.jpg", "walk-00002.jpg"]
    assert (out / "walk/tracks.global.txt").exists()
    assert 'src="walk/video.mp4"' in page


def test_several_cameras_and_one_that_fails(walkers, tmp_path):
    clip, boxes = walkers
    done = passerby(
        "run", "--camera", f"one={clip}", "--camera", f"two={clip}", "--camera", f"gone={tmp_path / 'no.mp4'}",
        "--detections", f"one={boxes}", "--detections", f"two={boxes}", "--reid", "none", "--no-video", "-o", tmp_path / "out",
    )  # fmt: skip
    assert done.returncode == 1
    assert "gone" in done.stderr
    assert "no.mp4: no such file" in done.stderr
    np.testing.assert_array_equal(rows_of(tmp_path / "out/one/tracks.txt"), rows_of(tmp_path / "out/two/tracks.txt"))
    assert not (tmp_path / "out/one/video.mp4").exists()
    assert pq.read_table(tmp_path / "out/tracklets.parquet")["camera"].to_pylist().count("two") == 2


def test_a_source_that_breaks_in_the_middle_costs_itself_alone(walkers, tmp_path):
    clip, boxes = walkers
    whole = write_clip(tmp_path / "whole.mp4", numbered(100), container_options={"movflags": "+faststart"})
    half = tmp_path / "half.mp4"
    half.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    (tmp_path / "none.txt").write_text("")
    done = passerby(
        "run",
        clip,
        half,
        "--detections",
        f"walk={boxes}",
        "--detections",
        f"half={tmp_path / 'none.txt'}",
        "--reid",
        "none",
        "-o",
        tmp_path / "out",
    )
    assert done.returncode == 1
    record = json.loads((tmp_path / "out/run.json").read_text())
    assert record["cameras"]["half"]["error"]
    assert record["cameras"]["half"]["processed"] > 10
    assert len(rows_of(tmp_path / "out/walk/tracks.txt")) == 120


def start(arguments, out: Path) -> subprocess.Popen[str]:
    """A run that has written some steps of its journal."""
    process = subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    journal = out / "journal.bin"
    limit = time.monotonic() + 120
    while not journal.exists() or journal.stat().st_size < 6000:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < limit
        time.sleep(0.01)
    return process


@pytest.fixture
def long_run(walkers, tmp_path):
    """Arguments of a run long enough to be stopped: the walkers there and back, many times."""
    frames = [frame.to_ndarray(format="bgr24") for frame in av.open(str(walkers[0])).decode(video=0)]
    boxes = np.loadtxt(walkers[1], delimiter=",")
    pictures, rows = [], []
    for leg in range(12):
        order = range(60) if leg % 2 == 0 else range(59, -1, -1)
        for t in order:
            pictures.append(frames[t])
            rows += [[len(pictures), *row[1:]] for row in boxes[boxes[:, 0] == t + 1]]
    clip = write_clip(tmp_path / "long.mp4", pictures, rate=10)
    np.savetxt(tmp_path / "long.txt", rows, "%g", ",")
    return ["run", clip, "--detections", tmp_path / "long.txt", "--no-video"]


def test_kill_and_resume_give_the_same_as_an_uninterrupted_run(long_run, tmp_path):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert passerby(*long_run, "-o", whole).returncode == 0
    process = start([*long_run, "-o", broken], broken)
    process.kill()
    process.wait()
    assert (broken / "journal.bin").exists()
    done = passerby(*long_run, "-o", broken, "--resume")
    assert done.returncode == 0, done.stderr
    assert (broken / "long/tracks.txt").read_bytes() == (whole / "long/tracks.txt").read_bytes()
    assert pq.read_table(broken / "tracklets.parquet").equals(pq.read_table(whole / "tracklets.parquet"))


def test_people_outside_of_the_area_do_not_count(walkers, tmp_path):
    clip, boxes = walkers
    site = tmp_path / "site.yaml"
    site.write_text(
        "cameras: {walk: {only: [[[0, 190], [319, 190], [319, 239], [0, 239]]], ignore: [[[0, 210], [319, 210], [319, 239], [0, 239]]]}}\n"
    )
    done = passerby("run", clip, "-o", tmp_path / "out", "--detections", boxes, "--site", site, "--no-video", "--reid", "none")
    assert done.returncode == 0, done.stderr
    rows = rows_of(tmp_path / "out/walk/tracks.txt")
    assert set(rows[:, 1]) == {1}
    assert np.abs(rows[:, 3] + rows[:, 5] - 200).max() < 6  # the one who walks at 200; he at 220 is in the ignored strip


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_valid_outputs(long_run, tmp_path, number, code):
    out = tmp_path / "out"
    process = start([*long_run, "-o", out], out)
    os.kill(process.pid, number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == code, errors
    record = json.loads((out / "run.json").read_text())
    camera = record["cameras"]["long"]
    assert 0 < camera["processed"] < 720
    assert camera["processed"] == camera["frames_in"] == np.unique(rows_of(out / "long/tracks.txt")[:, 0]).size
    assert pq.read_table(out / "tracklets.parquet").num_rows >= 1
    assert "</html>" in (out / "index.html").read_text()
    assert "--resume" in errors


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["run", "{dir}/none.mp4", "-o", "{dir}/o"], 3, "none.mp4: no such file"),
        (["run", "{dir}/empty.mp4", "-o", "{dir}/o"], 3, "empty.mp4: the file is empty"),
        (["run", "{dir}/text.mp4", "-o", "{dir}/o"], 3, "text.mp4: cannot be opened as a video"),
        (["run", "{dir}/full", "-o", "{dir}/o"], 3, "no images .* and no videos .* in this folder"),
        (["run", "-o", "{dir}/o"], 2, "no video given"),
        (["run", "{clip}"], 2, "no output folder"),
        (["run", "{clip}", "{clip}", "-o", "{dir}/o"], 2, "two cameras named 'walk'"),
        (["run", "{clip}", "-o", "{dir}/o", "--set", "tracker.max_lots=1"], 2, "did you mean tracker.max_lost?"),
        (["run", "{clip}", "-o", "{dir}/o", "--config", "{dir}/none.yaml"], 2, "no such configuration file"),
        (["run", "{clip}", "-o", "{dir}/o", "--start", "soon"], 2, "not a time"),
        (["run", "{clip}", "-o", "{dir}/o", "--detections", "{dir}/none.txt"], 2, "none.txt: no such file"),
        (["run", "{clip}", "-o", "{dir}/o", "--detections", "{dir}/text.mp4"], 2, "line 1: .* not a row of numbers"),
        (["run", "{clip}", "-o", "{dir}/o", "--detector", "{dir}/text.onnx"], 4, "text.onnx: onnxruntime cannot load it"),
        (["run", "{clip}", "-o", "{dir}/o", "--detector", "persn-s"], 4, "shipped are"),
        (["run", "{clip}", "-o", "{dir}/o", "--reid", "{detector}"], 4, "not a re-ID bundle"),
        (["run", "{clip}", "-o", "{dir}/text.mp4"], 5, "text.mp4: cannot be written"),
        (["run", "{clip}", "-o", "{dir}/full", "--detections", "{boxes}"], 5, "tracks.txt|No space left"),
        (["eval", "--gt", "{dir}/none.txt", "--tracks", "{boxes}"], 2, "none.txt: no such file"),
        (["eval", "--gt", "{dir}/text.mp4", "--tracks", "{boxes}"], 2, "line 1"),
    ],
)
def test_a_mistake_gets_one_message_and_its_exit_code(walkers, tmp_path, arguments, code, words):
    clip, boxes = walkers
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("a letter, not a video\n")
    (tmp_path / "text.onnx").write_text("a letter, not a model\n")
    (tmp_path / "full/walk").mkdir(parents=True)
    (tmp_path / "full/walk/tracks.txt").symlink_to("/dev/full")
    shipped = Path(__file__).parent.parent / "detectors/weights/person-s.onnx"
    places = {"dir": tmp_path, "clip": clip, "boxes": boxes, "detector": shipped}
    done = passerby(*(argument.format(**places) for argument in arguments))
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    import re

    assert re.search(words, " ".join(done.stderr.split())), done.stderr


def test_a_run_does_not_write_over_what_it_reads(walkers, tmp_path):
    folder = tmp_path / "out/gate"
    folder.mkdir(parents=True)
    clip = folder / "video.mp4"
    clip.write_bytes(walkers[0].read_bytes())
    done = passerby("run", "--camera", f"gate={clip}", "-o", tmp_path / "out", "--detections", walkers[1])
    assert done.returncode == 2
    assert "choose another output folder" in done.stderr
    assert clip.read_bytes() == walkers[0].read_bytes()


def test_a_video_that_cannot_be_finished_is_named(walkers, tmp_path):
    limit = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (40000, 40000)); "
    arguments = ["passerby", "run", str(walkers[0]), "--detections", str(walkers[1]), "-o", str(tmp_path / "out")]
    code = f"{limit}import sys; sys.argv = {arguments!r}; from pipeline.cli.app import main; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 5, done.stderr
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_opens_everything_and_writes_nothing(walkers, tmp_path):
    done = passerby("run", walkers[0], "-o", tmp_path / "out", "--dry-run", "--set", "tracker.max_lost=8")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["cameras"]["walk"]["frames"] == 60
    assert told["config"]["tracker"]["max_lost"] == 8
    assert told["models"]["detector"]["sha256"]
    assert not (tmp_path / "out").exists()


def test_another_runs_folder_is_not_resumed(long_run, tmp_path):
    out = tmp_path / "out"
    process = start([*long_run, "-o", out], out)
    process.kill()
    process.wait()
    done = passerby(*long_run, "-o", out, "--resume", "--set", "tracker.max_lost=1")
    assert done.returncode == 2
    assert "other sources, models or settings" in done.stderr


def test_eval_scores_its_own_ground_truth_as_perfect(finished):
    truth = finished[0] / "walk/tracks.txt"
    done = passerby("eval", "--gt", truth, "--tracks", truth, "--json")
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert (scores["hota"], scores["idf1"], scores["mota"], scores["switches"]) == (100, 100, 100, 0)


def test_doctor_finds_the_shipped_models_working():
    done = passerby("doctor")
    assert done.returncode == 0, done.stdout
    assert "detector person-s: loads and runs" in done.stdout
    assert "re-ID mpn" in done.stdout


def test_the_run_time_needs_no_torch():
    code = "import sys; sys.modules['torch'] = None; import pipeline.cli.app, pipeline.jobs.run, detectors, reid, tracker; print('fine')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "fine", done.stderr


def test_a_still_scene_skips_the_detector(tmp_path):
    """Ten still frames, somebody steps in, ten more: four looks; the record tells."""
    rng = np.random.default_rng(0)
    scene = cv2.resize(rng.integers(60, 200, (6, 8, 3), np.uint8), (320, 240), interpolation=cv2.INTER_CUBIC)
    changed = scene.copy()
    cv2.rectangle(changed, (100, 60), (140, 200), (30, 30, 160), -1)
    clip = write_clip(tmp_path / "still.mp4", [scene] * 10 + [changed] * 10, rate=10)
    out = tmp_path / "out"
    words = ["--detector", "person-n", "--set", "detector.size=320", "--set", "motion_gate.max_skipped=6"]
    done = passerby("run", clip, "-o", out, "--no-video", "--json", *words)
    assert done.returncode == 0, done.stderr
    camera = json.loads(done.stdout)["cameras"]["still"]
    assert camera["processed"] == 20
    assert camera["frames_detected"] == 4


def test_requests_that_cannot_mean_anything_are_refused(walkers, tmp_path):
    clip, boxes = walkers
    words = ["--detections", boxes, "--reid", "none", "--no-video", "-o", tmp_path / "out"]
    done = passerby("run", clip, *words, "--start", "1", "--end", "0.5")
    assert done.returncode == 2 and "end (0.5 s) must be after start (1 s)" in done.stderr
    done = passerby("run", "--camera", f"people={clip}", "-o", tmp_path / "out")
    assert done.returncode == 2 and "is the name of an output" in done.stderr
    done = passerby("run", clip, *words, "--start", "99")
    assert done.returncode == 0 and "no frame was processed of 60" in done.stderr


def test_files_of_an_earlier_run_are_said(walkers, tmp_path):
    clip, _ = walkers
    words = ["--reid", "none", "--no-video", "--set", "detector.model=person-n", "--end", "0.2", "-o", tmp_path / "out"]
    assert passerby("run", "--camera", f"one={clip}", "--camera", f"two={clip}", *words).returncode == 0
    done = passerby("run", "--camera", f"one={clip}", *words)
    assert done.returncode == 0 and "earlier run's cameras (two)" in done.stderr
