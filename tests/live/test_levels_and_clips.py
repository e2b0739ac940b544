"""Reading less where the machine does not keep up, and clips without a new encoding."""

from __future__ import annotations

import itertools
import time

import av
import pytest

from live.footage import encode, numbered, read_number
from live.rtsp_camera import RtspCamera
from live.test_streams import OPTIONS, Taken, running, wait
from pipeline.address import Address
from pipeline.live.load import Load
from pipeline.sources.mailbox import FrameCounts
from pipeline.sources.stream import StreamOptions, StreamStatus
from pipeline.sources.stream_clock import StreamClock
from pipeline.sources.stream_state import Connection

FPS = 20


@pytest.fixture
def taken():
    """Frames of a camera with a sub-stream of half the size."""
    streams = {"main": encode(numbered(200), fps=FPS, gop=10), "sub": encode(numbered(200, 240, 136), fps=FPS, gop=10)}
    with RtspCamera(streams) as camera:
        options = StreamOptions(open_timeout=3.0, stall=2.0, clip_before=2.0, backoff=OPTIONS.backoff)
        one = Taken(Address(camera.url), options)
        one.reader.substream = Address(camera.address("sub"))
        one.start()
        yield one
        one.stop()


def test_key_frames_only_and_back_at_a_key_frame(taken):
    running(taken, 12)
    session, before = taken.sessions[-1], len(taken.numbers)
    taken.reader.set_level("key frames")
    time.sleep(3.0)
    some = taken.numbers[before + 10 :]
    assert len(some) >= 2 and all(number % 10 == 0 for number in some)
    counts = taken.reader.mailbox.counts
    assert counts.dropped >= 9 * (len(some) - 1)  # what is not decoded is accounted for
    taken.reader.set_level("all")
    running(taken, 30)
    assert all(number is not None for number in taken.numbers)  # none is damaged
    last = taken.numbers[-15:]
    assert max(b - a for a, b in itertools.pairwise(last) if b > a) < 10
    assert taken.sessions[-1] == session and taken.reader.status.connection.connects == 1


def test_the_substream_has_the_main_streams_coordinates(taken):
    running(taken, 5)
    taken.reader.set_level("substream")
    wait(lambda: taken.reader.status.size == (240, 136))
    have = len(taken.numbers)
    running(taken, 5)
    assert taken.reader.status.level == "substream" and taken.reader.status.connection.failures == 0
    assert len(taken.numbers) > have
    frames = taken.intake.next(2.0)  # in competition with the thread that takes: one of both gets it
    assert all(frame.image.shape == (184, 320, 3) for frame in frames.values())
    taken.intake.done(frames)
    taken.numbers.extend([None] * len(frames))
    taken.reader.set_level("all")
    wait(lambda: taken.reader.status.size == (320, 184))


def test_a_clip_shows_what_was_before_and_after(taken, tmp_path):
    running(taken, 2 * FPS)
    path = tmp_path / "clips/one.mp4"
    assert taken.reader.clip(path, 1.0)
    wait(path.exists)
    with av.open(str(path)) as clip:
        stream = clip.streams.video[0]
        assert stream.codec_context.name == "h264"
        frames = [(frame.time, read_number(frame.to_ndarray(format="bgr24"))) for frame in clip.decode(stream)]
    numbers = [number for _, number in frames]
    assert None not in numbers and numbers[0] % 10 == 0  # from a key frame on
    assert [(b - a) % 200 for a, b in itertools.pairwise(numbers)] == [1] * (len(numbers) - 1)
    assert 2.0 <= frames[-1][0] - frames[0][0] <= 6.0
    assert not list(path.parent.glob("*.part"))


def status(behind: float | None, level: str = "all", state: str = "running") -> StreamStatus:
    return StreamStatus(Connection(state=state), FrameCounts(), (1, 1), "h264", 0.0, 0.0, None, None, behind, level)


def test_cameras_give_way_one_by_one_and_get_back():
    load, levels = Load(1.0), {"a": "all", "b": "all", "c": "all"}
    behind = {"a": 1.5, "b": 1.8, "c": 0.0}
    said = []
    for now in range(40):
        change = load.decide(float(now), {n: status(behind[n], levels[n]) for n in levels}, {"a": True})
        if change:
            levels[change[0]] = change[1]
            said.append(change)
    assert said == [("b", "key frames"), ("a", "substream"), ("a", "key frames")]  # b has no sub-stream
    behind = dict.fromkeys(behind, 0.0)
    for now in range(40, 400):
        change = load.decide(float(now), {n: status(behind[n], levels[n]) for n in levels}, {"a": True})
        if change:
            levels[change[0]] = change[1]
            said.append((now, *change))
    assert levels == dict.fromkeys(levels, "all")
    times = [one[0] for one in said[3:]]
    assert min(b - a for a, b in itertools.pairwise([40, *times])) >= 60  # no to and fro
    assert load.decide(1000.0, {"a": status(5.0, state="stalled"), "b": status(None)}, {}) is None


def test_how_far_reading_is_behind_comes_from_the_timestamps():
    clock, seen = StreamClock(), []
    for number in range(100):
        late = 0.0 if number < 50 else 0.02 * (number - 50)
        clock.stamp(number / 10, 1000 + number / 10 + late + 0.3 * (number == 0), 1.7e9 + number / 10 + late)
        seen.append(clock.behind)
    assert max(seen[1:50]) == pytest.approx(0.0, abs=0.05)  # the first one came late: it does not count
    assert seen[-1] == pytest.approx(0.98, abs=0.05)
