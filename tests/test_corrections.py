"""Corrections by hand: what they do to results, that later runs respect them, and that forgetting leaves nothing behind."""

from __future__ import annotations

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
from command import passerby
from hypothesis import given
from hypothesis import strategies as st
from test_identities import recorded

from pipeline.formats.crop_table import read_crops
from pipeline.identities.corrections import Correction, corrected
from pipeline.report.run_record import CameraRecord, ModelRecords, RunRecord, Timing


@pytest.fixture
def associated(tmp_path):
    """1: door 1 and hall 3; 2: door 2; 3: hall 4."""
    run = recorded(tmp_path / "run", [("door", 1, 1, 50), ("door", 2, 10, 60), ("hall", 1, 80, 120), ("hall", 3, 90, 130)])
    passerby("associate", run, "-o", tmp_path / "out")
    return run, tmp_path / "out"


def identities(out) -> dict[str, int]:
    return {f"{row['camera']}:{row['track']}": row["identity"] for row in pq.read_table(out / "identities.parquet").to_pylist()}


def test_merge_and_split_are_written_everywhere_and_respected_by_the_next_run(associated):
    run, out = associated
    done = passerby("identities", "merge", out, "3", "2")
    assert done.returncode == 0, done.stderr
    assert "people: 2 in 4 tracks, 2 of them in several cameras" in done.stdout
    wanted = {"door:1": 1, "door:2": 2, "hall:3": 1, "hall:4": 2}
    assert identities(out) == wanted
    assert passerby("identities", "split", out, "1", "hall:3").returncode == 0
    wanted["hall:3"] = 3
    assert identities(out) == wanted
    assert {line.split(",")[1] for line in (out / "hall/tracks.global.txt").read_text().splitlines()} == {"2", "3"}
    assert sorted(path.name for path in (out / "people").glob("*.jpg")) == ["00001.jpg", "00002.jpg", "00003.jpg"]
    assert (out / "index.html").read_text().count('class="row"') == 3
    for words in ([], ["--online"]):
        assert passerby("associate", run, "-o", out, *words).returncode == 0
        again = identities(out)
        assert again["door:2"] == again["hall:4"]
        assert len({again["door:1"], again["hall:3"], again["door:2"]}) == 3


def test_forget_leaves_the_others(associated):
    run, out = associated
    before = pq.read_table(run / "tracklets.parquet")
    done = passerby("identities", "forget", out, "1")
    assert done.returncode == 0, done.stderr
    assert set(identities(out)) == {"door:2", "hall:4"}
    table = pq.read_table(run / "tracklets.parquet")
    assert table.schema.equals(before.schema, check_metadata=True)
    assert {(row["camera"], row["track"]) for row in table.to_pylist()} == {("door", 2), ("hall", 4)}
    assert {key for key, _, _ in read_crops(run / "crops.parquet")} == {("door", 2), ("hall", 4)}
    assert sorted(path.name for path in (out / "people").glob("*.jpg")) == ["00002.jpg", "00003.jpg"]
    assert passerby("associate", run, "-o", out).returncode == 0
    assert set(identities(out)) == {"door:2", "hall:4"}


def test_a_forgetting_that_an_earlier_version_logged_is_done_whole(associated):
    run, out = associated
    old = Correction(kind="forget", at="2026-01-01T00:00:00Z", tracklets=[("door", 1), ("hall", 3)])
    (out / "corrections.jsonl").write_text(old.model_dump_json() + "\n")
    assert passerby("associate", run, "-o", out).returncode == 0
    assert set(identities(out)) == {"door:2", "hall:4"}
    assert {key for key, _, _ in read_crops(run / "crops.parquet")} == {("door", 2), ("hall", 4)}


def test_a_run_keeps_its_page(associated):
    """Corrections in a run's own folder write the run's page anew, cameras and all."""
    run, _ = associated
    passerby("associate", run, "-o", run)
    camera = CameraRecord(
        path="clip.mp4", duration=13.0, rate=10.0, width=64, height=48, frames_in=130, processed=130, failed=0, skipped=0, tracks=2,
        frames_detected=0, detections_confident=130, detections_embedded=9, error=None, warnings=[],
    )  # fmt: skip
    timing = Timing(wall_seconds=1, frames_per_second=130, stages_seconds={}, inference_seconds={}, outside_inference_share=1)
    record = RunRecord(
        passerby="0", commit=None, began="", exit_code=0, models=ModelRecords(detector=None, reid=None), not_opened={}, timing=timing,
        cameras={"door": camera, "hall": camera}, config={"output": {"video": False}},
    )  # fmt: skip
    record.write(run / "run.json")
    assert passerby("identities", "merge", run, "1", "2").returncode == 0
    page = (run / "index.html").read_text()
    assert "door" in page
    assert page.count('class="person"') == 4
    assert json.loads((run / "run.json").read_text())["people"]["identities"] == 2


@given(st.lists(st.integers(1, 4), min_size=2, max_size=8), st.data())
def test_the_last_word_holds(ids, data):
    keys = [("a", track) for track in range(len(ids))]
    subset = st.lists(st.sampled_from(keys), min_size=1, unique=True)
    log = []
    for _ in range(data.draw(st.integers(1, 4))):
        kind = data.draw(st.sampled_from(["merge", "split"]))
        mine = data.draw(subset)
        others = [key for key in keys if key not in mine] if kind == "split" else []
        log.append(Correction(kind=kind, at="2026-01-01T00:00:00Z", tracklets=mine, others=others))
    found, kept = corrected(np.array(ids), keys, log)
    assert kept.all()
    last = log[-1]
    said = {int(found[key[1]]) for key in last.tracklets}
    if last.kind == "merge":
        assert len(said) == 1
    else:
        assert not said & {int(found[key[1]]) for key in last.others}
    again, _ = corrected(found, keys, log[-1:])
    assert [[a == b for a in again] for b in again] == [[a == b for a in found] for b in found]  # saying it twice is no harm


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["merge", "{out}", "1", "9"], "no identity 9; see the 3 identities in identities.csv"),
        (["merge", "{out}", "1"], "at least two identities"),
        (["split", "{out}", "1", "door:2"], "door:2 is not a track of identity 1; its tracks: door:1, hall:3"),
        (["split", "{out}", "2", "door:2"], "has no other tracks"),
        (["split", "{out}", "1", "hall"], "expected CAMERA:TRACK"),
        (["forget", "{tmp}", "1"], "no tracklets.parquet;"),
    ],
)
def test_mistakes_change_nothing(associated, tmp_path, words, says):
    _, out = associated
    done = passerby("identities", *(word.format(out=out, tmp=tmp_path) for word in words))
    assert done.returncode == 2
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert not (out / "corrections.jsonl").exists() and not list(tmp_path.glob("store.db*"))


def test_a_broken_log_is_named(associated):
    run, out = associated
    (out / "corrections.jsonl").write_text('{"kind": "merge"}\n')
    done = passerby("associate", run, "-o", out)
    assert (done.returncode, "Traceback" in done.stderr) == (2, False)
    assert "corrections.jsonl:1: at: Field required" in done.stderr
