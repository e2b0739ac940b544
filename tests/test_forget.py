"""Erasure: after it, no file holds a byte of the person; everybody else stays."""

from __future__ import annotations

import json
import shutil
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from clips import write_clip
from command import passerby

from detectors import Detections
from pipeline.engine.journal import Journal
from pipeline.engine.step import Step
from pipeline.formats.mot import write_rows
from pipeline.formats.shred import rewritten, shred
from pipeline.formats.tracklet import Tracklet
from pipeline.identities.erasure import Trace, covered
from pipeline.sinks.tracklets import TrackletFiles
from pipeline.sources.frame import Selection
from pipeline.sources.open import open_source
from pipeline.store import open_store

FACTS = {"reid": "0" * 64, "slope": "25", "offset": "-8.5"}
D = 32
VISITS = (("door", 1, 1, 60), ("door", 2, 40, 100), ("hall", 1, 101, 160), ("hall", 3, 110, 150))  # camera, person, first and last frame


def look(who: int, track: int) -> np.ndarray:
    row = np.random.default_rng(who).normal(size=D) + 0.1 * np.random.default_rng([who, track]).normal(size=D)
    return (row / np.linalg.norm(row)).astype(np.float32)


def crop(track: int, number: int) -> bytes:
    noise = np.random.default_rng([track, number]).integers(0, 255, (64, 32, 3), np.uint8)
    return cv2.imencode(".jpg", noise)[1].tobytes()


def box(who: int, frame: int) -> np.ndarray:
    return np.array([20 + frame, 30 * who, 40 + frame, 30 * who + 25], np.float32)


def made(folder: Path, video: bool = True) -> Path:
    """A run folder as a run makes it, with people as white boxes in its videos."""
    folder.mkdir(parents=True)
    files = TrackletFiles(folder, FACTS)
    for track, (camera, who, first, last) in enumerate(VISITS, 1):
        frames = np.arange(first, last + 1)
        boxes = np.stack([box(who, frame) for frame in frames.tolist()])
        row = look(who, track)
        files.finish(
            Tracklet(
                camera,
                track,
                frames,
                (frames - 1) / 10,
                boxes,
                np.full(len(frames), 0.9, np.float32),
                row,
                5,
                0.9,
                tuple(crop(track, at) for at in range(3)),
                ((first - 1) / 10, first / 10, last / 10),
                1,
                (frames[::20] - 1) / 10,
                np.repeat(row[None], len(frames[::20]), 0),
            )
        )
    files.close()
    for camera in ("door", "hall"):
        (folder / camera).mkdir()
        with (folder / camera / "tracks.txt").open("w") as file:
            for frame in range(1, 161):
                for track, (name, who, first, last) in enumerate(VISITS, 1):
                    if name == camera and first <= frame <= last:
                        write_rows(file, np.array([frame]), np.array([track]), box(who, frame)[None], np.array([0.9]))
        if video:
            write_clip(folder / camera / "video.mp4", pictures(camera), rate=10)
    return folder


def pictures(camera: str):
    for frame in range(1, 161):
        image = np.full((128, 208, 3), 40, np.uint8)
        for name, who, first, last in VISITS:
            if name == camera and first <= frame <= last:
                x1, y1, x2, y2 = box(who, frame).astype(int)
                image[y1:y2, x1:x2] = 255
        yield image


def whiteness(video: Path, who: int, frame: int) -> float:
    """Mean brightness where a person is in a frame, from 1."""
    for picture in open_source(str(video)).read(Selection(1, None, None)):
        if picture.index + 1 == frame:
            x1, y1, x2, y2 = box(who, frame).astype(int)
            return float(picture.image[y1:y2, x1:x2].mean())
    raise AssertionError(f"no frame {frame}")


def needles(track: int) -> dict[str, bytes]:
    """What is a person's alone, as bytes."""
    who = VISITS[track - 1][1]
    row = look(who, track)
    return {"float32": row.tobytes(), "float16": row.astype("<f2").tobytes(), **{f"crop {at}": crop(track, at)[20:] for at in range(3)}}


def plain(path: Path) -> bytes:
    """The bytes of a file; of Parquet, those of its values too."""
    content = path.read_bytes()
    if content[:4] == b"PAR1":
        table = pq.read_table(path)
        for column in table.itercolumns():
            kind = column.type
            while pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind):
                column = pa.chunked_array([chunk.flatten() for chunk in column.chunks], kind.value_type)
                kind = kind.value_type
            if pa.types.is_binary(kind) or pa.types.is_string(kind):
                content += b"".join(one if isinstance(one, bytes) else one.encode() for one in column.to_pylist() if one is not None)
            elif pa.types.is_floating(kind):
                content += column.to_numpy().tobytes()
    return content


def found(folder: Path, tracks: tuple[int, ...]) -> list[str]:
    """Where tracks are still found below a folder."""
    contents = {path: plain(path) for path in folder.rglob("*") if path.is_file()}
    return [
        f"{path.relative_to(folder)}: {name} of track {track}"
        for track in tracks for name, needle in needles(track).items() for path, content in contents.items() if needle in content
    ]  # fmt: skip


def names(out: Path) -> dict[str, int]:
    return {f"{row['camera']}:{row['track']}": row["identity"] for row in pq.read_table(out / "identities.parquet").to_pylist()}


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and an association of it, with a store."""
    place = tmp_path_factory.mktemp("made")
    made(place / "run")
    done = passerby("associate", place / "run", "-o", place / "out", "--online")
    assert done.returncode == 0, done.stderr
    done = passerby("associate", place / "run", "-o", place / "out")
    assert done.returncode == 0, done.stderr
    assert names(place / "out")["door:1"] == names(place / "out")["hall:3"]
    return place


@pytest.fixture
def place(template: Path, tmp_path: Path) -> Path:
    """A copy: its run is imported anew, as stores hold absolute paths."""
    shutil.copytree(template / "run", tmp_path / "run")
    shutil.copytree(template / "out", tmp_path / "out")
    (tmp_path / "out/store.db").unlink()
    done = passerby("store", "import", tmp_path / "out", "--store", tmp_path / "out/store.db")
    assert done.returncode == 0, done.stderr
    return tmp_path


def test_the_scan_finds_what_is_there(place: Path) -> None:
    where = found(place, (1, 2, 3, 4))
    for needle in ("run/tracklets.parquet: float32 of track 1", "run/crops.parquet: crop 0 of track 3", "out/store.db: float16 of track 2"):
        assert needle in where
    assert whiteness(place / "run/door/video.mp4", 1, 30) > 200


def test_forgetting_a_person_leaves_no_byte(place: Path) -> None:
    who = names(place / "out")["door:1"]
    done = passerby("identities", "forget", place / "out", who)
    assert done.returncode == 0, done.stderr
    assert "erased: 2 sightings, 1 people" in done.stdout
    assert found(place, (1, 3)) == []
    assert len(found(place, (2, 4))) >= 8
    assert set(names(place / "out")) == {"door:2", "hall:4"}
    for camera, track in (("door", 1), ("hall", 3)):
        assert f",{track}," not in (place / f"run/{camera}/tracks.txt").read_text()
        assert not (place / f"run/people/{camera}-{track:05d}.jpg").exists()
        keys = [(event["camera"], event["track"]) for event in map(json.loads, (place / "out/events.jsonl").read_text().splitlines())]
        assert (camera, track) not in keys and keys
    assert (place / "run/door/tracks.txt").read_text().count("\n") == 61 and (place / "out/index.html").read_text().count(
        'class="row"'
    ) == 2
    assert f"people/{who:05d}.jpg" not in (place / "out/index.html").read_text()
    for frame in (1, 30, 60):
        assert whiteness(place / "run/door/video.mp4", 1, frame) < 140
    assert whiteness(place / "run/door/video.mp4", 2, 85) > 200 and whiteness(place / "run/hall/video.mp4", 3, 130) > 200
    with open_store(place / "out") as store:
        assert sorted(one.name for one in store.sightings.query()) == ["door:2", "hall:4"]
        (entry,) = store.audit.query(action="erased")
        assert entry.subject is None and entry.data == {"sightings": 2, "people": 1, "chosen_by": ["person"]}
    again = passerby("associate", place / "run", "-o", place / "out")
    assert again.returncode == 0 and set(names(place / "out")) == {"door:2", "hall:4"}


def test_a_stopped_run_loses_its_journal(place: Path) -> None:
    journal = Journal(place / "run/journal.bin", "key", resume=False)
    journal.write(Step({"door": 0}, {"door": Detections(box(1, 1)[None], np.array([0.9], np.float32))}, {"door": {0: look(1, 1)}}))
    journal.close(remove=False)
    assert "run/journal.bin: float32 of track 1" in found(place, (1,))
    done = passerby("forget", place / "out", "--track", "door:1", "--track", "hall:3")
    assert done.returncode == 0 and "--resume no longer continues it" in done.stderr
    assert found(place, (1, 3)) == [] and found(place, (2, 4))


def test_all_stores_of_a_run_and_every_export_are_reached(place: Path) -> None:
    assert passerby("store", "import", place / "out", "--store", place / "all.db").returncode == 0
    assert passerby("store", "export", place / "all.db", "-o", place / "export").returncode == 0
    rows = (place / "export/sightings.csv").read_text().splitlines()
    assert len(rows) == 5 and "identity" not in rows[0]
    done = passerby("forget", place / "out", "--person", names(place / "out")["door:1"])
    assert done.returncode == 0, done.stderr
    assert found(place, (1, 3)) == []
    assert len((place / "export/sightings.csv").read_text().splitlines()) == 3
    with open_store(place / "all.db") as store:
        assert store.sightings.count() == 2


def test_a_camera_a_time_and_a_zone(place: Path) -> None:
    with open_store(place / "out") as store:
        door = store.sightings.find("door", 2)[0]
        store.sightings.visit(store.sightings.find("hall", 4)[0].id, "till", door.epoch + 11, door.epoch + 12)
        begin = datetime.fromtimestamp(door.epoch + 7, UTC)
    assert "no camera 'gate'" in passerby("forget", place / "out", "--camera", "gate").stderr
    assert "nothing chosen" in passerby("forget", place / "out").stderr
    done = passerby("forget", place / "out", "--zone", "till")
    assert done.returncode == 0 and found(place, (4,)) == [] and found(place, (3,))
    done = passerby("forget", place / "out", "--camera", "door", "--from", begin.isoformat())
    assert done.returncode == 0 and found(place, (2,)) == [] and found(place, (1,))
    assert whiteness(place / "run/door/video.mp4", 1, 20) > 200  # before that time
    dark = [frame.image.std() for frame in open_source(str(place / "run/door/video.mp4")).read(Selection(1, None, None))][75:]
    assert max(dark) < 3  # not everybody in a picture was tracked: nothing of it is left
    done = passerby("forget", place / "out", "--camera", "door", "--camera", "hall")
    assert done.returncode == 0 and found(place, (1, 2, 3, 4)) == []
    assert names(place / "out") == {}


def test_results_without_a_store_are_erased_too(place: Path) -> None:
    (place / "out/store.db").unlink()
    done = passerby("identities", "forget", place / "out", names(place / "out")["door:1"])
    assert done.returncode == 0, done.stderr
    assert found(place, (1, 3)) == [] and not list((place / "out").glob("store.db*"))


def test_a_reader_that_holds_old_pages_is_said(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.store.database.Database.scrub.__defaults__", (0.2,))
    reader = sqlite3.connect(place / "out/store.db", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM sightings").fetchall()
    who = names(place / "out")["door:1"]
    done = passerby("identities", "forget", place / "out", who)
    assert done.returncode == 5 and "keeps its old pages" in done.stderr
    reader.close()
    done = passerby("forget", place / "out", "--track", "door:2")
    assert done.returncode == 0 and found(place, (1, 2, 3)) == []


def test_rewriting_and_shredding_overwrite_the_old_bytes(tmp_path: Path) -> None:
    path, link = tmp_path / "a", tmp_path / "b"
    path.write_bytes(b"secret" * 100)
    with path.open("rb") as held:
        with rewritten(path) as scratch:
            scratch.write_bytes(b"new")
        assert path.read_bytes() == b"new" and held.read() == bytes(600)
    with path.open("rb") as held:
        assert shred(path) and not shred(path)
        assert held.read() == bytes(3)
    path.write_bytes(b"kept elsewhere")
    link.hardlink_to(path)
    shred(path)
    assert link.read_bytes() == b"kept elsewhere"
    with pytest.raises(ZeroDivisionError), rewritten(link) as scratch:
        scratch.write_bytes(b"half")
        1 / 0  # noqa: B018
    assert link.read_bytes() == b"kept elsewhere" and sorted(one.name for one in tmp_path.iterdir()) == ["b"]


def test_a_person_is_covered_before_between_and_after_sights() -> None:
    trace = Trace(np.array([10.0, 10.1, 12.0]), np.array([[0, 0, 10, 20], [2, 0, 12, 20], [50, 0, 60, 20]], float))
    assert covered(trace, 8.9, 0.5) == [] == covered(trace, 13.2, 0.5)
    first, between = covered(trace, 9.5, 0.5)[0], covered(trace, 11.0, 0.5)[0]
    assert first[0] <= 0 and first[2] >= 10 and first[1] < 0
    assert between[0] <= 2 and between[2] >= 60  # anywhere between both sights
