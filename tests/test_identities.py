"""Runs to identities: reading, writing, scoring, and what a user's mistake says. The runs are written by the product's own parts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from command import passerby

from pipeline.evaluation.identities import pair_scores
from pipeline.formats.mot import write_rows
from pipeline.formats.tracklet import Tracklet
from pipeline.sinks.tracklets import TrackletFiles

FACTS = {"reid": "0" * 64, "slope": "25", "offset": "-8.5"}
PEOPLE = {1: [1.0, 0, 0], 2: [0, 1.0, 0], 3: [0, 0, 1.0]}


def box(who: int, frame: int) -> np.ndarray:
    return np.array([100 * who + frame, 50, 100 * who + frame + 40, 150], np.float32)


def recorded(folder: Path, visits: list[tuple[str, int, int, int]], facts: dict[str, str] = FACTS) -> Path:
    """A run folder of ``visits``: camera, person, first and last frame at 10 per second; and each camera's ground truth."""
    files = TrackletFiles(folder_made(folder), facts)
    crop = cv2.imencode(".jpg", np.full((128, 60, 3), 90, np.uint8))[1].tobytes()
    lines: dict[str, list] = {}
    for track, (camera, who, first, last) in enumerate(visits, 1):
        frames = np.arange(first, last + 1)
        boxes = np.stack([box(who, frame) for frame in frames.tolist()])
        look = np.array(PEOPLE[who], np.float32)
        one = Tracklet(
            camera, track, frames, (frames - 1) / 10, boxes, np.full(len(frames), 0.9, np.float32), look, 5, 0.9,
            (crop,), (0.0,), 0, (frames[::10] - 1) / 10, np.repeat(look[None], len(frames[::10]), 0),
        )  # fmt: skip
        files.finish(one)
        lines.setdefault(camera, []).extend((frame, track, who, box(who, frame)) for frame in frames.tolist())
    files.close()
    for camera, rows in lines.items():
        (folder / camera).mkdir()
        for name, column in (("tracks.txt", 1), ("gt.txt", 2)):
            with (folder / camera / name).open("w") as file:
                for row in sorted(rows, key=lambda row: row[0]):
                    write_rows(file, np.array([row[0]]), np.array([row[column]]), row[3][None], np.array([0.9]))
    return folder


def folder_made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def run(tmp_path) -> Path:
    return recorded(tmp_path / "run", [("door", 1, 1, 50), ("door", 2, 10, 60), ("hall", 1, 80, 120), ("hall", 3, 90, 130)])


def test_associate_writes_identities_sheets_tracks_and_a_page(run, tmp_path):
    out = tmp_path / "out"
    done = passerby("associate", run, "-o", out)
    assert done.returncode == 0, done.stderr
    assert "people: 3 in 4 tracks, 1 of them in several cameras" in done.stdout
    table = pq.read_table(out / "identities.parquet").to_pylist()
    assert {(row["camera"], row["track"]): row["identity"] for row in table} == {
        ("door", 1): 1,
        ("door", 2): 2,
        ("hall", 3): 1,
        ("hall", 4): 3,
    }
    with (out / "identities.csv").open() as file:
        assert [row["identity"] for row in csv.DictReader(file)] == ["1", "1", "2", "3"]
    ids = {line.split(",")[1] for line in (out / "hall/tracks.global.txt").read_text().splitlines()}
    assert ids == {"1", "3"}
    assert len((out / "hall/tracks.global.txt").read_text().splitlines()) == len((run / "hall/tracks.txt").read_text().splitlines())
    sheet = cv2.imread(str(out / "people/00001.jpg"))
    assert sheet.shape[0] > cv2.imread(str(out / "people/00002.jpg")).shape[0]
    page = (out / "index.html").read_text()
    assert page.count('class="row"') == 3
    assert "data:image/jpeg" in page


def test_two_runs_and_a_camera_name_that_both_have(run, tmp_path):
    other = recorded(tmp_path / "night", [("door", 3, 300, 350), ("door", 2, 310, 340)])
    done = passerby("associate", run, other, "-o", tmp_path / "out", "--json")
    assert json.loads(done.stdout) == {"tracklets": 6, "identities": 3, "in_several_cameras": 3, "uncertain_pairs": 0}
    assert (tmp_path / "out/night/door/tracks.global.txt").is_file()


def test_scores_over_cameras(run, tmp_path):
    passerby("associate", run, "-o", tmp_path / "out")
    truth = [word for camera in ("door", "hall") for word in ("--gt", f"{camera}={run / camera / 'gt.txt'}")]
    plot = tmp_path / "pr.png"
    done = passerby("eval-identities", run, *truth, "--identities", tmp_path / "out", "--json", "--plot", plot)
    assert done.returncode == 0, done.stderr
    scores = json.loads(done.stdout)
    assert scores["boxes"]["idf1"] == pytest.approx(100)
    assert scores["pairs"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    assert plot.stat().st_size > 5000
    # identities that stop at the camera's edge: half of person 1 is lost
    table = pq.read_table(tmp_path / "out/identities.parquet")
    rows = table.to_pylist()
    for row in rows:
        row["identity"] = row["track"]
    pq.write_table(type(table).from_pylist(rows, table.schema), tmp_path / "out/identities.parquet")
    for camera in ("door", "hall"):
        (tmp_path / "out" / camera / "tracks.global.txt").write_text((run / camera / "tracks.txt").read_text())
    scores = json.loads(passerby("eval-identities", run, *truth, "--identities", tmp_path / "out", "--json").stdout)
    assert scores["boxes"]["idf1"] < 90
    assert scores["pairs"]["recall"] == 0


def test_pair_scores_by_hand():
    scores = pair_scores(np.array([1, 1, 1, 2]), np.array([7, 7, 8, 8]))
    assert (scores.precision, scores.recall) == (pytest.approx(1 / 3), 0.5)
    assert pair_scores(np.array([1, 2]), np.array([-1, -2])).f1 == 0
    assert pair_scores(np.zeros(0, int), np.zeros(0, int)).precision == 1


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["associate", "{tmp}/nowhere", "-o", "{tmp}/o"], 2, "no tracklets.parquet; expected the output folder of passerby run"),
        (["associate", "{run}", "{other}", "-o", "{tmp}/o"], 2, "another re-ID model"),
        (["associate", "{run}", "-o", "{tmp}/o", "--site", "{tmp}/no.yaml"], 2, "no such site file"),
        (
            ["associate", "{run}", "-o", "{tmp}/o", "--site", "{tmp}/bad.yaml"],
            2,
            "bad.yaml, line 2: links.0.typical_time: must be a valid number",
        ),
        (
            ["associate", "{run}", "-o", "{tmp}/o", "--site", "{tmp}/typo.yaml"],
            2,
            "typo.yaml, line 1: camera: unknown key; did you mean cameras?",
        ),
        (["associate", "{run}", "-o", "{tmp}/o", "--set", "association.expected_match=3"], 2, "did you mean association.expected_matches?"),
        (["associate", "{run}", "-o", "{run}/door/tracks.txt"], 5, "cannot be written"),
        (["eval-identities", "{run}", "--gt", "dor={run}/door/gt.txt"], 2, "cameras: door, hall"),
        (["eval-identities", "{run}", "--gt", "door={run}/door/gt.txt"], 2, "no identities.parquet"),
    ],
)
def test_mistakes_are_told_in_a_line(run, tmp_path, words, code, says):
    recorded(tmp_path / "other", [("yard", 1, 1, 20)], FACTS | {"reid": "1" * 64})
    (tmp_path / "bad.yaml").write_text("links:\n  - {start: door, end: hall, typical_time: soon, max_time: 3}\n")
    (tmp_path / "typo.yaml").write_text("camera: {}\n")
    done = passerby(*(word.format(tmp=tmp_path, run=run, other=tmp_path / "other") for word in words))
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_the_models_evidence_weights_travel_with_a_run_and_give_way_to_settings():
    from pipeline.identities.recorded import calibrated
    from reid.bundle import EvidenceWeights as InBundle
    from tracker import AssociationSettings
    from tracker.linking.evidence import EvidenceWeights

    usual = EvidenceWeights()
    assert set(InBundle.model_fields) == set(EvidenceWeights.model_fields)
    facts = {"reid": "0" * 64, "evidence": InBundle(**(usual.model_dump() | {"rival": -3.5})).model_dump_json()}
    assert calibrated(AssociationSettings(), facts).weighing == usual.changed(rival=-3.5)
    assert calibrated(AssociationSettings(evidence=usual), facts).weighing == usual
    assert calibrated(AssociationSettings(), FACTS).weighing == usual  # a bundle of before has none
