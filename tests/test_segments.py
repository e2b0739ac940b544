"""One camera in many files: order, times, gaps, overlaps, damaged files, and what their names say."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import numbered, write_clip
from command import passerby
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import Reading
from pipeline.engine.cameras import specify
from pipeline.errors import SourceError
from pipeline.sources.frame import Frame, Progress, Selection
from pipeline.sources.open import open_source
from pipeline.sources.segments import SegmentedSource
from pipeline.sources.wall import WallRules

UTC_RULES = WallRules.of(Reading(time_zone="UTC"))
NOON = datetime(2026, 11, 25, 12)


@pytest.fixture(scope="session")
def clip(tmp_path_factory) -> Path:
    """Twenty frames, two seconds."""
    return write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", numbered(20), rate=10)


def segment(clip: Path, folder: Path, seconds: float, camera: str = "ch01") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"{camera}_{NOON + timedelta(seconds=seconds):%Y%m%d_%H%M%S}.mp4"
    shutil.copy(clip, path)
    return path


def frames_of(source, **selection) -> list[Frame]:
    return list(source.read(Selection(**selection)))


def test_a_glob_a_folder_and_a_list_are_one_camera(clip, tmp_path):
    files = [segment(clip, tmp_path / "nvr", seconds) for seconds in (0, 2, 4)]
    (tmp_path / "plain.txt").write_text("".join(f"nvr/{file.name}\n" for file in files))
    (tmp_path / "concat.txt").write_text("ffconcat version 1.0\n" + "".join(f"file '{file}'\nduration 2\n" for file in files))
    (tmp_path / "play.m3u8").write_text("#EXTM3U\n" + "".join(f"#EXTINF:2,\nnvr/{file.name}\n" for file in files))
    for place in (tmp_path / "nvr", f"{tmp_path}/nvr/ch01_*.mp4", *(tmp_path / name for name in ("plain.txt", "concat.txt", "play.m3u8"))):
        source = open_source(place, rules=UTC_RULES)
        frames = frames_of(source)
        assert [frame.index for frame in frames] == list(range(60)), place
        np.testing.assert_allclose([frame.time for frame in frames], np.arange(60) / 10, atol=1e-3)
        assert source.began.time == NOON.timestamp() + (NOON.astimezone().utcoffset().total_seconds())
        assert source.segments.gaps == source.segments.overlaps == 0


def test_gaps_and_overlaps_are_counted(clip, tmp_path):
    for seconds in (0, 1, 10, 3600):
        segment(clip, tmp_path / "nvr", seconds)
    source = open_source(tmp_path / "nvr", rules=UTC_RULES)
    frames = frames_of(source)
    times = np.array([frame.time for frame in frames])
    assert np.all(np.diff(times) > 0)
    assert source.segments.overlaps == 1
    assert source.segments.overlap_frames == 10
    assert source.segments.gaps == 2
    assert source.segments.gap_seconds == pytest.approx(7 + 3588, abs=0.3)
    assert times[-1] == pytest.approx(3601.9, abs=0.01)
    progress = source.progress
    assert progress.frames_in == 80 == progress.given + progress.skipped


def test_segments_without_times_follow_each_other_in_natural_order(clip, tmp_path):
    for name in ("part2.mp4", "part10.mp4", "part1.mp4"):
        shutil.copy(clip, tmp_path / name)
    source = open_source(tmp_path)
    assert [path.name for path in source._files] == ["part1.mp4", "part2.mp4", "part10.mp4"]
    np.testing.assert_allclose([frame.time for frame in frames_of(source)], np.arange(60) / 10, atol=1e-3)
    assert source.began is None


def test_a_clock_that_is_set_back_loses_nothing(clip, tmp_path):
    files = [segment(clip, tmp_path / "nvr", seconds) for seconds in (3600, 0, 2)]
    (tmp_path / "list.txt").write_text("".join(f"nvr/{file.name}\n" for file in files))
    source = open_source(tmp_path / "list.txt", rules=UTC_RULES)
    np.testing.assert_allclose([frame.time for frame in frames_of(source)], np.arange(60) / 10, atol=1e-3)
    assert source.segments.set_back == 1
    assert any("clock" in text for text in source.progress.warnings)


def test_the_hour_that_summer_time_repeats(clip, tmp_path):
    names = ["20261025_025958", "20261025_020000"]  # in Berlin the clock goes from 3:00 back to 2:00
    for name in names:
        shutil.copy(clip, tmp_path / f"{name}.mp4")
    (tmp_path / "list.txt").write_text("".join(f"{name}.mp4\n" for name in names))
    source = open_source(tmp_path / "list.txt", rules=WallRules.of(Reading(time_zone="Europe/Berlin")))
    np.testing.assert_allclose([frame.time for frame in frames_of(source)], np.arange(40) / 10, atol=1e-3)
    assert source.segments.set_back == 0


def test_damaged_segments_are_named_and_the_others_read(clip, tmp_path):
    files = [segment(clip, tmp_path / "nvr", seconds) for seconds in range(0, 20, 2)]
    files[0].write_bytes(b"")
    files[3].write_bytes(b"not a video" * 1000)
    half = files[5].read_bytes()
    files[5].write_bytes(half[: len(half) // 2])
    source = open_source(tmp_path / "nvr", rules=UTC_RULES)
    assert source.began.time == pytest.approx(UTC_RULES.named(files[1]))
    frames = frames_of(source)
    assert len(frames) >= 7 * 20
    assert source.segments.unreadable >= 2
    assert "segments could not be read" in source.progress.error
    assert files[0].name in source.progress.error
    assert files[3].name in source.progress.error
    for file in files:
        file.write_bytes(b"")
    with pytest.raises(SourceError, match="none of its 10 segments"):
        open_source(tmp_path / "nvr")


def test_every_start_and_end_count_over_all_segments(clip, tmp_path):
    for seconds in (0, 2, 4):
        segment(clip, tmp_path / "nvr", seconds)
    frames = frames_of(open_source(tmp_path / "nvr", rules=UTC_RULES), every=3, start=1.0, end=4.5)
    assert [frame.index for frame in frames] == list(range(12, 45, 3))
    assert frames[-1].skipped == 42 + 1 - len(frames)


class Memory:
    """A segment of ``count`` frames in memory at 10 frames per second; counts how many are open at once."""

    open = most = 0

    def __init__(self, count: int) -> None:
        self.path, self.width, self.height, self.rate, self.frames, self.began, self.segments = Path("x"), 8, 8, 10.0, count, None, None
        self.progress = Progress()
        Memory.open += 1
        Memory.most = max(Memory.most, Memory.open)

    def __del__(self) -> None:
        Memory.open -= 1

    def read(self, selection):
        for index in range(self.frames):
            self.progress.time = index / 10
            if selection.past(index / 10):
                return
            if not selection.wants(index, index / 10):
                self.progress.skipped += 1
                continue
            self.progress.given += 1
            yield Frame(index, index / 10, np.zeros((8, 8, 3), np.uint8), self.progress.skipped)


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(-4, 400)), min_size=1, max_size=12), st.integers(1, 4),
    st.none() | st.floats(0, 30), st.none() | st.floats(31, 500),
)  # fmt: skip
def test_times_rise_and_every_frame_is_counted(parts, every, start, end):
    """Segments of any length with any gaps and overlaps: (frames, seconds from the end of the one before)."""
    at, files, lengths = 0.0, [], {}
    for number, (count, gap) in enumerate(parts):
        path = Path(f"{NOON + timedelta(seconds=int(at)):%Y%m%d_%H%M%S}_{number}.mp4")
        files.append(path)
        lengths[path] = count
        at = max(0.0, at + count / 10 + gap)
    source = SegmentedSource(Path("nvr"), files, UTC_RULES, lambda path: Memory(lengths[path]))
    frames = frames_of(source, every=every, start=start, end=end)
    assert np.all(np.diff([frame.time for frame in frames]) > 0)
    assert np.all(np.diff([frame.index for frame in frames]) > 0)
    assert all(frame.index % every == 0 for frame in frames)
    assert source.progress.given == len(frames)
    if end is None:
        assert source.progress.frames_in == sum(lengths.values())


def test_thousands_of_segments_are_open_one_at_a_time():
    Memory.open = Memory.most = 0
    files = [Path(f"{NOON + timedelta(seconds=at):%Y%m%d_%H%M%S}.mp4") for at in range(2000)]
    source = SegmentedSource(Path("nvr"), files, UTC_RULES, lambda _: Memory(10))
    count = sum(1 for _ in source.read(Selection()))
    assert count == 20_000
    assert Memory.most <= 3
    assert source.segments.gaps == 0


def test_names_say_which_segments_are_of_one_camera(clip, tmp_path):
    one = [segment(clip, tmp_path / "nvr", seconds, "ch01") for seconds in (0, 2)]
    two = [segment(clip, tmp_path / "nvr", seconds, "ch02") for seconds in (0, 2)]
    expected = {"ch01": tuple(one), "ch02": tuple(two)}
    assert {spec.name: spec.files for spec in specify([str(tmp_path / "nvr")])} == expected
    assert {spec.name: spec.files for spec in specify([f"{tmp_path}/nvr/*.mp4"])} == expected
    assert {spec.name: spec.files for spec in specify([str(file) for file in (*one, *two)])} == expected  # a shell's glob
    assert [spec.name for spec in specify([f"{tmp_path}/nvr/ch01_*.mp4", f"{tmp_path}/nvr/ch02_*.mp4"])] == ["ch01", "ch02"]
    (alone,) = specify([str(one[0])])
    assert alone.files == ()
    assert [spec.name for spec in specify(["gate.mp4", "yard.mp4"])] == ["gate", "yard"]
    tree = tmp_path / "tree"
    for minute in (10, 11):
        for camera in ("gate", "yard"):
            place = tree / "2026-11-25" / "10" / camera / f"{minute}.00.mp4"
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(clip, place)
    assert {spec.name: len(spec.files) for spec in specify([str(tree)])} == {"gate": 2, "yard": 2}


def test_videos_with_thumbnails_and_videos_among_pictures(clip, tmp_path):
    path = segment(clip, tmp_path / "nvr", 0)
    path.with_suffix(".jpg").write_bytes(b"thumbnail")
    source = open_source(tmp_path / "nvr")
    assert len(frames_of(source)) == 20
    assert any("thumbnails" in text for text in source.progress.warnings)
    (tmp_path / "nvr" / "other.jpg").write_bytes(b"picture")
    with pytest.raises(SourceError, match=r"1 videos and 1 images"):
        open_source(tmp_path / "nvr")


def boxes_of_a_walker(path: Path, frames: int) -> Path:
    path.write_text("".join(f"{at},-1,{20 + at},20,20,50,0.9\n" for at in range(1, frames + 1)))
    return path


def test_tracks_continue_over_a_boundary_and_end_at_a_gap(clip, tmp_path):
    for seconds in (0, 2, 60):
        segment(clip, tmp_path / "nvr", seconds)
    boxes = boxes_of_a_walker(tmp_path / "det.txt", 60)
    options = ("--detections", boxes, "--reid", "none", "--no-video", "--set", "reading.time_zone=Europe/Berlin")
    done = passerby("run", "--camera", f"gate={tmp_path}/nvr/ch01_*.mp4", *options, "-o", tmp_path / "o")
    assert done.returncode == 0, done.stderr
    assert "2026-11-25T12:00:00.000+01:00" in done.stdout
    assert "1 gaps of 56 s" in done.stdout
    rows = pq.read_table(tmp_path / "o/tracklets.parquet").to_pylist()
    assert [(row["start_frame"], row["end_frame"]) for row in rows] == [(1, 40), (41, 60)]
    assert rows[1]["start_wall"].isoformat() == "2026-11-25T11:01:00+00:00"
    page = (tmp_path / "o/index.html").read_text()
    assert "12:01:00" in page
    resumed = passerby("run", "--camera", f"gate={tmp_path}/nvr/ch01_*.mp4", *options, "-o", tmp_path / "o", "--resume")
    assert resumed.returncode == 0, resumed.stderr
    assert pq.read_table(tmp_path / "o/tracklets.parquet").to_pylist() == rows
