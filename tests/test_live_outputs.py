"""What live cameras write when the disk is full, the folder is removed, the site changes, or somebody corrects an identity."""

from __future__ import annotations

import ctypes
import ctypes.util
import json
import os
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import cv2
import numpy as np
import pytest
from command import passerby
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import Config
from pipeline.config import Live
from pipeline.formats.crop_table import read_crops
from pipeline.formats.tracklet import Growth, Tracklet
from pipeline.formats.tracklet_table import read_tracklets
from pipeline.identities.corrections import LOG, Correction, append
from pipeline.identities.erasure import Erasure, Trace, erase_run
from pipeline.identities.live_folder import read_identities
from pipeline.live import segments as live_segments
from pipeline.live.blind import BlindTimes, Interval
from pipeline.live.corrections import CorrectionsByHand
from pipeline.live.events import EventLog
from pipeline.live.ids import BLOCK, TrackIds
from pipeline.live.retention import Retention, expired
from pipeline.live.segments import Segments
from pipeline.sources.frame import Frame
from tracker import Linker, Site, TrackletUpdate, Tracks

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
CONFIG = Config.model_validate({"output": {"max_fill_gap": 0.0}, "live": {"segment": 60.0}})


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 300 kB."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("mounting a small file system takes root")
    place, library = tmp_path / "disk", ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
    place.mkdir()
    if library.mount(b"tmpfs", str(place).encode(), b"tmpfs", 0, b"size=300k") != 0:
        pytest.skip(f"no small file system can be mounted here ({os.strerror(ctypes.get_errno())})")
    yield place
    library.umount2(str(place).encode(), 2)


def fill(place: Path) -> Path:
    """Leave no room."""
    big = place / "big"
    with big.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
    return big


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(folder.glob("events-*.jsonl")) for line in path.read_text().splitlines()]


def tracklet(track: int, end: float, camera: str = "gate", look: np.ndarray | None = None) -> Tracklet:
    times = end + np.arange(-4, 1) / 10
    unit = np.eye(8, dtype=np.float32)[track % 8] if look is None else look
    jpeg = cv2.imencode(".jpg", np.random.default_rng(track).integers(0, 255, (128, 64, 3)).astype(np.uint8))[1].tobytes()
    return Tracklet(
        camera, track, np.arange(1, 6), times, np.tile(np.float32([10, 10, 50, 90]), (5, 1)), np.ones(5, np.float32), unit, 4, 0.9,
        (jpeg,), (end,), 0, times[:1], unit[None], Growth([times[0]], [3.6], [unit.astype(np.float16)]),
    )  # fmt: skip


def tracks(*ids: int) -> Tracks:
    count = len(ids)
    boxes = np.tile(np.float32([10, 10, 50, 90]), (count, 1))
    return Tracks(np.array(ids, np.int64), boxes, np.ones(count, np.float32), np.arange(count), np.ones(count, np.float32))


def frame(number: int) -> Frame:
    return Frame(number, NOON + number / 10, np.zeros((8, 8, 3), np.uint8))


# a disk that is full, a folder that is gone


def test_events_wait_for_a_full_disk_and_no_line_is_torn(small_disk, caplog):
    log = EventLog(small_disk)
    log.write("first", NOON)
    big = fill(small_disk)
    for number in range(300):
        log.write("later", NOON + number, number=number, text="x" * 50)
    assert log.guard.failed and log.guard.problem
    big.unlink()
    log.flush()
    log.close()
    assert [one["kind"] for one in lines(small_disk)] == ["first"] + ["later"] * 300
    assert [one["number"] for one in lines(small_disk)[1:]] == list(range(300))
    assert log.guard.problem is None and log.guard.lost == 0
    assert sum("cannot be written" in one.message for one in caplog.records) == 1  # said once, however often it is tried


def test_too_many_waiting_events_are_counted_as_lost(small_disk, monkeypatch):
    monkeypatch.setattr("pipeline.live.events.MOST_WAITING", 10)
    log = EventLog(small_disk / "out")  # not there, and there is no room for it
    fill(small_disk)
    for number in range(25):
        log.write("one", NOON, number=number, text="x" * 5000)
    log.close()
    assert log.guard.lost + log.written == 25 and log.guard.lost >= 15


def test_a_removed_folder_is_made_anew(tmp_path):
    log, ids = EventLog(tmp_path / "out"), TrackIds(tmp_path / "ids/ids.json")
    log.write("first", NOON)
    shutil.rmtree(tmp_path / "out")
    log.write("second", NOON)
    assert [one["kind"] for one in lines(tmp_path / "out")] == ["second"]
    (tmp_path / "ids").mkdir()
    assert ids.reserve(["gate"]) == {"gate": 1}
    shutil.rmtree(tmp_path / "ids")
    ids.keep()
    assert TrackIds(tmp_path / "ids/ids.json").reserve(["gate"]) == {"gate": 1 + BLOCK}


@pytest.mark.parametrize("how", ["full", "removed"])
def test_segments_go_on_after_trouble_and_count_what_is_lost(small_disk, monkeypatch, how):
    monkeypatch.setattr(live_segments, "RETRY", 0.05)
    monkeypatch.setattr(live_segments, "FLUSH", 0.0)
    segments = Segments(small_disk / "segments", ["gate", "yard"], CONFIG, {})
    sinks = {name: segments.sink(name) for name in ("gate", "yard")}

    def some(first: int, count: int) -> None:
        for number in range(first, first + count):
            for sink in sinks.values():
                sink.take(frame(number), tracks(1, 2))
            segments.roll(NOON + number / 10)

    some(0, 20)
    sinks["gate"].finish(tracklet(1, NOON + 2))
    big = None
    if how == "full":
        big = fill(small_disk)
    else:
        shutil.rmtree(small_disk / "segments")
    some(20, 400)
    for number in range(3):
        sinks["gate"].finish(tracklet(10 + number, NOON + 40 + number))
    assert segments.guard.failed
    if big is not None:
        assert segments.guard.problem and segments.guard.lost > 20
        big.unlink()
    time.sleep(0.1)
    some(420, 20)
    sinks["gate"].finish(tracklet(99, NOON + 44))
    segments.end()
    assert segments.guard.problem is None and segments.guard.lost >= 1
    whole = [one for one in (small_disk / "segments").iterdir() if not one.suffix]
    assert whole and not list((small_disk / "segments").glob("*.open"))
    found = {row["track"] for one in whole for row in read_tracklets(one / "tracklets.parquet").to_pylist()}
    assert {10, 11, 12, 99} <= found  # what ended meanwhile has waited
    assert any((one / "gate/tracks.txt").read_text().splitlines()[-1].startswith("440,") for one in whole)


def test_cameras_may_come_and_go_between_segments(tmp_path, monkeypatch):
    monkeypatch.setattr(live_segments, "FLUSH", 0.0)
    segments = Segments(tmp_path / "segments", ["gate", "yard"], CONFIG, {})
    for cameras in (["gate", "yard"], ["gate", "door"]):
        segments.cameras = cameras
        for name in cameras:
            segments.take(name, frame(0), tracks(1))
            segments.roll(NOON)
        segments.close()
    assert not segments.guard.failed
    assert {path.parent.name for path in tmp_path.glob("segments/*/*/tracks.txt")} == {"gate", "yard", "door"}


# retention


def test_what_is_kept_long_enough_is_removed_by_kind(tmp_path):
    for day in ("20260101", "20260215", "20260227"):
        for place in ("segments/{}T100000", "segments/{}T110000.interrupted"):
            folder = tmp_path / place.format(day)
            (folder / "people").mkdir(parents=True)
            for name in ("crops.parquet", "tracklets.parquet", "people/gate-00001.jpg"):
                (folder / name).touch()
        (tmp_path / f"events-{day}.jsonl").touch()
    (tmp_path / "segments/20250101T000000.open").mkdir()
    (tmp_path / "segments/notes").mkdir()
    kept = Live(keep_tracks=50, keep_images=10, keep_events=None)
    assert Retention(tmp_path, kept).remove(NOON) == 2 + 4
    assert not list((tmp_path / "segments").glob("20260101*"))
    assert {one.name for one in (tmp_path / "segments/20260215T100000").iterdir()} == {"tracklets.parquet"}
    assert (tmp_path / "segments/20260227T110000.interrupted/people/gate-00001.jpg").exists()
    assert (tmp_path / "segments/20250101T000000.open").exists() and (tmp_path / "segments/notes").exists()
    assert len(list(tmp_path.glob("events-*"))) == 3
    assert expired(tmp_path, kept, NOON) == []


# blind times


@settings(max_examples=50)
@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=30), st.booleans())
def test_every_long_gap_is_a_blind_time_and_no_other(gaps, asked):
    blind, now, found = BlindTimes({"gate": 2.0}), 100.0, []
    assert blind.frame("gate", now) is None
    for gap in gaps:
        if asked:
            found += blind.quiet(now + gap / 2)
        now += gap
        if (one := blind.frame("gate", now)) is not None:
            found.append(one)
    closed = [one for one in found if one.end is not None]
    assert len(closed) == sum(gap >= 2.0 for gap in np.diff(np.cumsum([100.0, *gaps])))
    opened = [one for one in found if one.end is None]
    assert {one.start for one in opened} <= {one.start for one in closed}


def test_the_time_before_the_start_is_blind_where_an_earlier_process_saw():
    assert BlindTimes({"a": 2.0}).quiet(50.0) == []
    blind = BlindTimes({"a": 2.0, "b": 2.0}, since=100.0)
    assert blind.quiet(160.0) == [Interval("a", 100.0, None), Interval("b", 100.0, None)]
    assert blind.frame("a", 161.0) == Interval("a", 100.0, 161.0)
    blind.watch({"a": 2.0})
    assert blind.quiet(170.0) == [Interval("a", 161.0, None)]


# corrections by hand


@pytest.fixture
def running(tmp_path):
    """A folder of live cameras: a linker that decides, its events, and a closed segment."""
    linker, log = Linker(Site()), EventLog(tmp_path)
    segments = Segments(tmp_path / "segments", ["gate"], CONFIG, {})
    for track in range(1, 5):
        one = tracklet(track, NOON + 20 * track)
        segments.finish(one)
        linker.add([TrackletUpdate("gate", track, one.times[0], one.times[-1], one.embedding, 3.6)])
    segments.close()
    for event in linker.advance(NOON + 90):
        log.decided(event)
    assert len(linker) == 4
    return tmp_path, linker, log, segments


def test_the_commands_reach_the_running_process(running):
    folder, linker, log, _ = running
    by_hand = CorrectionsByHand(folder, linker, log)
    assert "people: 3 in 4 tracks" in passerby("identities", "merge", folder, 1, 2).stdout
    by_hand.take(NOON + 100)
    assert linker.identities["gate", 1] == linker.identities["gate", 2] == 1
    assert passerby("identities", "split", folder, 1, "gate:2").returncode == 0
    by_hand.take(NOON + 101)
    assert linker.identities["gate", 2] == 5
    assert [(one["kind"], one["identity"]) for one in lines(folder)[-2:]] == [("merged", 1), ("split", 5)]
    assert [one["reasons"] for one in lines(folder)[-2:]] == [{"by": "hand"}] * 2
    keys, ids = read_identities(folder)
    assert dict(zip(keys, ids.tolist(), strict=True)) == linker.identities
    done = passerby("identities", "merge", folder, 1, 77)
    assert done.returncode == 2 and "no identity 77" in done.stderr
    again = CorrectionsByHand(folder, linker, log)  # of the next process: nothing is taken twice
    again.take(NOON + 102)
    assert linker.corrections == 2 and len(lines(folder)) == len(lines(folder))


def test_to_forget_somebody_erases_what_is_written_and_what_will_be(running):
    folder, linker, log, segments = running
    by_hand = CorrectionsByHand(folder, linker, log)
    segments.closed = lambda place: _erase(place, by_hand, linker)
    segments.finish(tracklet(2, NOON + 200))  # goes on in the segment that is open
    (closed,) = [one for one in (folder / "segments").iterdir() if not one.suffix]
    assert (closed / "people/gate-00002.jpg").exists()
    assert passerby("identities", "forget", folder, 2).returncode == 0
    segments.close()
    assert ("gate", 2) not in linker.identities
    for place in (folder / "segments").iterdir():
        assert ("gate", 2) not in {key for key, _, _ in read_crops(place / "crops.parquet")}
        assert not (place / "people/gate-00002.jpg").exists()
        assert 2 not in {row["track"] for row in read_tracklets(place / "tracklets.parquet").to_pylist()}
    assert len({key for key, _, _ in read_crops(closed / "crops.parquet")}) == 3
    assert ("gate", 2) not in read_identities(folder)[0]


def _erase(place: Path, by_hand: CorrectionsByHand, linker: Linker) -> None:
    by_hand.take(NOON + 300)
    erase_run(place, Erasure(dict.fromkeys(linker.forgotten, Trace.nowhere())), CONFIG.output)


def test_half_a_line_waits_and_a_wrong_one_is_passed_over(running, caplog):
    folder, linker, log, _ = running
    by_hand = CorrectionsByHand(folder, linker, log)
    append(folder, Correction(kind="merge", at=datetime.now(UTC), tracklets=(("gate", 3), ("gate", 4))))
    whole = (folder / LOG).read_text()
    (folder / LOG).write_text('{"kind": "merge"}\n' + whole[:30])
    by_hand.take(NOON + 100)
    assert linker.corrections == 1 and "passed over" in caplog.text and len(linker) == 4
    (folder / LOG).write_text('{"kind": "merge"}\n' + whole)
    by_hand.take(NOON + 101)
    assert len(linker) == 3
