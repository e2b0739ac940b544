"""Runs into a store: by the commands that make them, and by import."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from command import passerby
from test_identities import recorded

from pipeline.store import Where, open_store
from pipeline.store.store import Store


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return recorded(tmp_path / "run", [("door", 1, 1, 50), ("door", 2, 10, 60), ("hall", 1, 80, 120), ("hall", 3, 90, 130)])


def people_of(store: Store) -> set[frozenset[str]]:
    return {frozenset(one.name for one in store.sightings.query(Where(identities=(person.id,)))) for person in store.people.query()}


def test_associate_feeds_the_store_beside_its_results(run: Path, tmp_path: Path) -> None:
    assert passerby("associate", run, "-o", tmp_path / "out").returncode == 0
    with open_store(tmp_path / "out") as store:
        table = pq.read_table(tmp_path / "out/identities.parquet").to_pylist()
        wanted: dict[int, set[str]] = {}
        for row in table:
            wanted.setdefault(row["identity"], set()).add(f"{row['camera']}:{row['track']}")
        assert people_of(store) == {frozenset(one) for one in wanted.values()}
        sighting = store.sightings.find("door", 1)[0]
        assert sighting.clock == "assumed" and sighting.end - sighting.start == pytest.approx(4.9)
        assert sighting.confidence == pytest.approx(next(row["confidence"] for row in table if row["track"] == 1))
        assert store.sightings.best_crop(sighting.id) and store.facts["reid"] == "0" * 64
        before = [(one.id, one.name) for one in store.people.query(order="id")]
        store.people.rename(sighting.identity or 0, "Ida", "ann")
    assert passerby("associate", run, "-o", tmp_path / "out").returncode == 0
    with open_store(tmp_path / "out") as store:
        assert [one.id for one in store.people.query(order="id")] == [one for one, _ in before]
        assert store.people.get(sighting.identity or 0).name == "Ida" and store.sightings.count() == 4
    again = passerby("store", "info", tmp_path / "out", "--json")
    assert json.loads(again.stdout)["sightings"] == 4 and json.loads(again.stdout)["people"] == 3


def test_import_of_several_runs_is_the_same_twice(run: Path, tmp_path: Path) -> None:
    other = recorded(tmp_path / "tuesday", [("door", 2, 1, 30)])
    path = tmp_path / "all.db"
    for _ in range(2):
        done = passerby("store", "import", run, other, "--store", path, "--began", "door=2026-11-25T08:00:00+00:00")
        assert done.returncode == 2 and "2 of these runs have a camera" in done.stderr
        done = passerby("store", "import", run, other, "--store", path, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["without_clock"] == ["door", "hall"]
        with open_store(path) as store:
            assert store.sightings.count() == 5 and len(store.sightings.find("door", 1)) == 2
            assert [camera.name for camera in store.sightings.cameras()] == ["door", "hall"]


def test_wall_time_is_given_or_said_to_be_assumed(run: Path, tmp_path: Path) -> None:
    done = passerby("store", "import", run, "--store", tmp_path / "s.db", "--began", "door=2026-11-25T08:00:00+00:00")
    assert done.returncode == 0 and "without clock time: hall" in done.stdout
    with open_store(tmp_path / "s.db") as store:
        first = store.sightings.find("door", 1)[0]
        assert (first.start, first.clock) == (datetime(2026, 11, 25, 8, tzinfo=UTC).timestamp(), "wall") and store.sightings.find(
            "hall", 3
        )[0].clock == "assumed"
    assert "expected a date" in passerby("store", "import", run, "--store", tmp_path / "s.db", "--began", "door=noon").stderr


def test_a_run_made_anew_takes_the_place_of_the_one_before(run: Path, tmp_path: Path) -> None:
    passerby("store", "import", run, "--store", tmp_path / "s.db")
    for name in ("door", "hall"):
        for path in (run / name).iterdir():
            path.unlink()
        (run / name).rmdir()
    recorded(run, [("door", 1, 1, 50)])
    passerby("store", "import", run, "--store", tmp_path / "s.db")
    with open_store(tmp_path / "s.db") as store:
        assert [one.name for one in store.sightings.query()] == ["door:1"]


def test_a_store_of_another_model_and_a_folder_without_runs_are_refused(run: Path, tmp_path: Path) -> None:
    passerby("store", "import", run, "--store", tmp_path / "s.db")
    other = recorded(tmp_path / "other", [("door", 1, 1, 50)], {"reid": "1" * 64, "slope": "25", "offset": "-8.5"})
    done = passerby("store", "import", other, "--store", tmp_path / "s.db")
    assert done.returncode == 2 and "another re-ID model" in done.stderr
    done = passerby("store", "import", tmp_path, "--store", tmp_path / "s.db")
    assert done.returncode == 2 and "no tracklets.parquet" in done.stderr


def test_what_is_said_in_the_store_holds_when_identities_are_found_anew(run: Path, tmp_path: Path) -> None:
    assert passerby("associate", run, "-o", tmp_path / "out").returncode == 0

    def identity(name: str) -> int:
        rows = pq.read_table(tmp_path / "out/identities.parquet").to_pylist()
        return next(row["identity"] for row in rows if f"{row['camera']}:{row['track']}" == name)

    with open_store(tmp_path / "out") as store:
        ids = {one.name: one.id for one in store.sightings.query()}
        assert identity("door:1") == identity("hall:3")
        store.corrections.answer(ids["door:1"], ids["hall:3"], "different", "ann")
        same = store.corrections.answer(ids["door:2"], ids["hall:4"], "same", "ann")
    assert passerby("associate", run, "-o", tmp_path / "out").returncode == 0
    assert identity("door:1") != identity("hall:3") and identity("door:2") == identity("hall:4")
    with open_store(tmp_path / "out") as store:
        assert people_of(store) == {frozenset({"door:1"}), frozenset({"hall:3"}), frozenset({"door:2", "hall:4"})}
        store.corrections.undo(same.id, "ann")
    assert passerby("associate", run, "-o", tmp_path / "out").returncode == 0
    assert identity("door:1") != identity("hall:3") and identity("door:2") != identity("hall:4")
