"""The test camera itself: what it sends is received, and each fault does what it says."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from itertools import islice, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from clips import write_clip

from live.footage import Clip, OnTheFly, draw_number, encode, from_file, numbered, numbered_picture, read_number
from live.raw_client import Packet, RawClient
from live.rtp import CLOCK
from live.rtsp_camera import Answer, RtspCamera, Video

OPTIONS = {"rtsp_transport": "tcp", "timeout": "2000000", "probesize": "32", "fpsprobesize": "0"}
FPS = 50


@pytest.fixture(scope="module")
def clips() -> dict[str, Clip]:
    return {codec: encode(numbered(100), FPS, codec, gop=5) for codec in ("h264", "h265")}


@pytest.fixture
def camera(clips) -> Iterator[RtspCamera]:
    with RtspCamera(clips["h264"]) as made:
        yield made


def opened(url: str, transport: str = "tcp", patience: float = 2.0, **options: str) -> av.container.InputContainer:
    return av.open(url, options=OPTIONS | {"rtsp_transport": transport} | options, timeout=(3, patience))


def frames(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    """Frames as they are decoded; packets that cannot be decoded are passed over."""
    for packet in container.demux(video=0):
        with contextlib.suppress(av.InvalidDataError):
            yield from packet.decode()


def timed(container: av.container.InputContainer) -> Iterator[av.VideoFrame]:
    """Frames that have a time; the first one may have none."""
    return (frame for frame in frames(container) if frame.time is not None)


def numbers(container: av.container.InputContainer, count: int) -> list[int | None]:
    return [read_number(frame.to_ndarray(format="bgr24")) for frame in islice(frames(container), count)]


def follow(found: list[int | None], length: int = 100) -> bool:
    """Whether each number is the next one after the one before."""
    return all(a is not None and b == (a + 1) % length for a, b in pairwise(found))


def recovers(container: av.container.InputContainer, within: int = 100) -> bool:
    """Whether five pictures in order come within so many."""
    found: list[int | None] = []
    for frame in islice(frames(container), within):
        found.append(read_number(frame.to_ndarray(format="bgr24")))
        if len(found) >= 5 and follow(found[-5:]):
            return True
    return False


def wait_for(what, seconds: float = 3.0) -> bool:
    end = time.monotonic() + seconds
    while not what() and time.monotonic() < end:
        time.sleep(0.01)
    return bool(what())


# --- pictures


@pytest.mark.parametrize("number", [0, 1, 999, 65_535])
def test_a_number_is_read_back_and_damage_is_seen(number):
    picture = draw_number(np.full((96, 160, 3), 90, np.uint8), number)
    assert read_number(picture) == number
    assert read_number(np.full((96, 160, 3), 90, np.uint8)) is None
    picture[:8, 40:48] = 255 - picture[:8, 40:48]
    assert read_number(picture) is None
    with pytest.raises(ValueError):
        draw_number(np.zeros((96, 150, 3), np.uint8), number)


def test_a_file_is_sent_as_it_is_or_encoded_anew(tmp_path):
    pictures = list(numbered(20))
    clip = from_file(write_clip(tmp_path / "a.mp4", pictures, FPS, options={"g": "10", "bf": "2"}))
    assert (clip.codec, clip.fps, len(clip.units), max(unit.shift for unit in clip.units) > 0) == ("h264", FPS, 20, True)
    for path, codec in (("a.mp4", "libx264"), ("b.avi", "mpeg4")):
        clip = from_file(write_clip(tmp_path / path, pictures, FPS, codec, options={"g": "10"}), loop=False)
        with RtspCamera(clip) as camera, opened(camera.url) as container:
            assert numbers(container, 99) == list(range(20))


# --- what it sends


@pytest.mark.parametrize("transport", ["tcp", "udp"])
@pytest.mark.parametrize("codec", ["h264", "h265"])
def test_pictures_arrive_in_order(clips, codec, transport):
    with RtspCamera(clips[codec]) as camera, opened(camera.url, transport) as container:
        assert container.streams.video[0].codec_context.width == 320
        assert follow(numbers(container, 10))


def test_parameter_sets_may_come_in_the_stream_alone(clips):
    with RtspCamera(clips["h264"], in_sdp=False) as camera, opened(camera.url) as container:
        assert follow(numbers(container, 5))


def test_pictures_are_paced_in_real_time(camera):
    with opened(camera.url) as container:
        start, found = time.monotonic(), numbers(container, 26)
        assert follow(found)
        assert time.monotonic() - start < 10  # 0.5 s on a machine that is not busy


def test_speed_and_once_from_the_first_picture_to_the_last(clips):
    once = Clip(clips["h264"].codec, FPS, clips["h264"].units, loop=False)
    with RtspCamera(once, speed=10) as camera:
        for _ in range(2):
            start = time.monotonic()
            with opened(camera.url) as container:
                assert numbers(container, 200) == list(range(100))
            assert time.monotonic() - start < 3  # 0.2 s of 2, and the opening


def test_pictures_drawn_while_they_are_sent(clips):
    with RtspCamera(OnTheFly(fps=FPS, gop=5)) as camera, opened(camera.url) as container:
        assert follow(numbers(container, 10), 1 << 16)


def test_tls(clips, certificate):
    trusted = {"tls_verify": "1", "ca_file": str(certificate[0])}
    with RtspCamera(clips["h264"], tls=certificate) as camera:
        assert camera.url.startswith("rtsps://")
        with opened(camera.url, **trusted) as container:
            assert follow(numbers(container, 10))
        with pytest.raises(OSError):
            opened(camera.url, tls_verify="1")


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_authentication(clips, scheme):
    with RtspCamera(clips["h264"], user="admin", password="p@ss/w#rd", scheme=scheme) as camera:
        with opened(camera.url) as container:
            assert follow(numbers(container, 3))
        for address in (
            camera.address(),
            camera.address(user="admin", password="wrong"),
            camera.address(user="root", password="p@ss/w#rd"),
        ):
            with pytest.raises(av.error.HTTPUnauthorizedError):
                opened(address)
        camera.password = "new"
        with opened(camera.url) as container:
            assert follow(numbers(container, 3))
        with RawClient(camera.port) as client:
            status, text = client.request("DESCRIBE")
            assert (status, f"WWW-Authenticate: {scheme.capitalize()} realm=" in text) == (401, True)


def test_paths_have_footage_and_faults_of_their_own(clips):
    with RtspCamera({"main": clips["h264"], "live/sub": encode(numbered(20, 176, 96), FPS, gop=5)}) as camera:
        camera.faults.answer = Answer.NOT_FOUND
        with opened(camera.address("live/sub")) as container:
            assert container.streams.video[0].codec_context.width == 176
            assert follow(numbers(container, 5), 20)
        with pytest.raises(av.error.HTTPNotFoundError):
            opened(camera.url)


def test_transports_that_it_does_not_serve_are_refused(clips):
    with RtspCamera(clips["h264"], transports=("tcp",)) as camera:
        with pytest.raises(OSError):
            opened(camera.url, "udp")
        with RawClient(camera.port) as client:
            assert client.request("SETUP", Transport="RTP/AVP;unicast;client_port=7000-7001")[0] == 461
            assert client.request("PLAY")[0] == 455


def test_fifty_clients(camera):
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(RawClient(camera.port)).play() for _ in range(50)]
        assert camera.connected == len(camera.main.players) == 50
        packets = [next(message for message in client.messages(3) if isinstance(message, Packet)) for client in clients]
        assert len(packets) == 50
    assert wait_for(lambda: camera.connected == 0)


# --- time


def test_sender_reports_give_the_wall_time_of_a_picture():
    with RtspCamera(OnTheFly(fps=FPS, gop=5)) as camera, opened(camera.url) as container:
        frame = next(timed(container))
        number = read_number(frame.to_ndarray(format="bgr24"))
        found = container.start_time_realtime / 1e6 + frame.time
        assert found == pytest.approx(camera.main.wall(number / FPS), abs=0.01)
        assert found == pytest.approx(time.time(), abs=2)


def test_without_sender_reports_there_is_no_wall_time(camera):
    camera.faults.reports = None
    with opened(camera.url) as container:
        numbers(container, 5)
        assert not container.start_time_realtime
    with RawClient(camera.port) as client:
        assert client.play().reports(0.3) == []


def test_the_wall_clock_steps_and_drifts_and_timestamps_jump(camera):
    faults = camera.faults
    faults.reports = 0.1
    with RawClient(camera.port) as client:
        before = client.play().reports(0.25)
        faults.clock += 60
        after = client.reports(0.25)
        faults.jump -= 30
        last = client.reports(0.25)[-1]

    def offset(report) -> float:
        return report.wall - report.timestamp / CLOCK

    assert offset(before[-1]) == pytest.approx(offset(before[0]), abs=0.001)
    assert offset(after[-1]) == pytest.approx(offset(before[0]) + 60, abs=0.001)
    assert offset(last) == pytest.approx(offset(before[0]) + 90, abs=0.001)
    faults.heal()
    faults.drift = 0.01
    assert camera.main.wall(200.0) - camera.main.wall(100.0) == pytest.approx(101.0)


def test_timestamps_wrap(clips):
    with RtspCamera(clips["h264"], timestamp=2**32 - CLOCK // 4) as camera, RawClient(camera.port) as client:
        found = [packet.timestamp for packet in client.play().packets(0.5)]
        assert found != sorted(found) or found[0] < CLOCK  # it may have wrapped before the first one came
        assert all((b - a) % 2**32 in (0, CLOCK // FPS) for a, b in pairwise(found))


# --- faults of connections


def test_refused_and_there_again(camera):
    with opened(camera.url) as container:
        camera.refuse()
        with pytest.raises(av.error.ConnectionRefusedError):
            opened(camera.url)
        assert follow(numbers(container, 5))  # who plays goes on
    camera.accept()
    with opened(camera.url) as container:
        assert follow(numbers(container, 5))


def test_mute_is_half_open(camera):
    camera.mute()
    with RawClient(camera.port, timeout=5) as client:
        with pytest.raises(av.FFmpegError):
            opened(camera.url, timeout="300000")
        threading.Timer(0.2, camera.accept).start()
        assert client.request("OPTIONS")[0] == 200  # late


@pytest.mark.parametrize(
    ("answer", "error"),
    [(Answer.UNAUTHORISED, "HTTPUnauthorizedError"), (Answer.NOT_FOUND, "HTTPNotFoundError"), (Answer.UNAVAILABLE, "HTTPServerError")],
)
def test_answers(camera, answer, error):
    camera.faults.answer = answer
    with pytest.raises(getattr(av.error, error)):
        opened(camera.url)
    camera.faults.heal()
    opened(camera.url).close()


def test_no_answers_and_slow_ones(camera):
    camera.faults.answer = Answer.MUTE
    with pytest.raises(av.FFmpegError):
        opened(camera.url, timeout="300000")
    camera.faults.answer, camera.faults.delay = Answer.FINE, 0.1
    start = time.monotonic()
    opened(camera.url).close()
    assert time.monotonic() - start > 0.4  # OPTIONS, DESCRIBE, SETUP, PLAY


@pytest.mark.parametrize("reset", [False, True])
def test_connections_are_dropped(camera, reset):
    with RawClient(camera.port) as client, opened(camera.url) as container:
        client.play()
        camera.drop(reset)
        with pytest.raises(ConnectionResetError if reset else EOFError):
            client.pending(2)
            client.pending(2)
        assert None not in numbers(container, 10_000)  # ends as a file does
    opened(camera.url).close()


def test_killed_and_started_again_on_the_same_port():
    with RtspCamera(OnTheFly(fps=FPS, gop=5)) as camera:
        goes_down_and_comes_back(camera)


def goes_down_and_comes_back(camera: RtspCamera) -> None:
    with opened(camera.url) as container:
        first = numbers(container, 5)
        camera.kill()
        numbers(container, 10_000)
        with pytest.raises(av.error.ConnectionRefusedError):
            opened(camera.url)
    time.sleep(0.2)
    camera.restart()
    with opened(camera.url) as container:
        second = numbers(container, 5)
    assert follow(second, 1 << 16)
    assert second[0] > first[-1] + 5  # time went on
    camera.restart()
    opened(camera.url).close()


def test_flapping(camera):
    camera.flap(0.4)
    found = []
    for _ in range(30):
        try:
            with RawClient(camera.port):
                found.append(True)
        except OSError:
            found.append(False)
        time.sleep(0.03)
    changes = sum(a != b for a, b in pairwise(found))
    assert 3 <= changes <= 10
    camera.accept()
    with opened(camera.url) as container:
        assert follow(numbers(container, 20))


# --- faults of the video


def stalls(camera: RtspCamera, video: Video) -> av.container.InputContainer:
    """Open, then show the fault, then wait until reading ends."""
    with opened(camera.url, patience=0.3) as container:
        numbers(container, 1)
        camera.faults.video = video
        start = time.monotonic()
        with pytest.raises(av.FFmpegError):  # ExitError; EIO where the timeout came within a packet
            numbers(container, 10_000)
        assert time.monotonic() - start < 3


@pytest.mark.parametrize("video", [Video.SILENT, Video.REPORTS_ONLY, Video.TRICKLE, Video.GARBAGE])
def test_no_video_is_a_stall(camera, video):
    stalls(camera, video)


def test_only_reports(camera):
    camera.faults.reports, camera.faults.video = 0.1, Video.REPORTS_ONLY
    with RawClient(camera.port) as client:
        found = list(client.play().messages(0.4))
    assert len(found) >= 2
    assert not any(isinstance(message, Packet) for message in found)


def test_trickle_sends_single_bytes_and_heals(camera):
    with RawClient(camera.port) as client:
        client.play().packets(0.2)
        camera.faults.video = Video.TRICKLE
        client.pending(0.1)
        assert 3 <= len(client.pending(0.25)) <= 15  # 50 a second
        assert client.packets(0.01) == []
    threading.Timer(0.3, camera.faults.heal).start()
    with opened(camera.url) as container:
        assert recovers(container)


def test_garbage_is_no_rtp(camera):
    camera.faults.video = Video.GARBAGE
    with RawClient(camera.port) as client:
        found = list(client.play().messages(0.3))
    assert found
    assert all(isinstance(message, bytes) for message in found)


def test_corrupt_video_gives_errors_and_no_pictures(camera):
    camera.faults.video = Video.CORRUPT
    errors = 0
    with opened(camera.url) as container:
        for packet in islice(container.demux(video=0), 15):
            try:
                assert all(read_number(frame.to_ndarray(format="bgr24")) is None for frame in packet.decode())
            except av.InvalidDataError:
                errors += 1
    assert errors >= 5


def test_freeze_repeats_one_picture_with_new_times(camera):
    with opened(camera.url) as container:
        numbers(container, 6)
        camera.faults.video = Video.FREEZE
        found: list[tuple[int | None, int]] = []
        for frame in islice(frames(container), 100):  # first what was under way
            found.append((read_number(frame.to_ndarray(format="bgr24")), frame.pts))
            if len(found) >= 6 and len({number for number, _ in found[-6:]}) == 1:
                break
        assert len({number for number, _ in found[-6:]}) == 1
        assert [b - a for (_, a), (_, b) in pairwise(found[-6:])] == [CLOCK // FPS] * 5
        camera.faults.heal()
        assert recovers(container)


@pytest.mark.parametrize("how", ["fin", "reset", "silence"])
def test_death_in_the_middle_of_a_picture(camera, how):
    with RawClient(camera.port) as client:
        client.play().packets(0.2)
        camera.main.die_in_frame(how)
        with pytest.raises(ConnectionResetError) if how == "reset" else contextlib.nullcontext():
            client.packets(0.4)
        assert client.unfinished
        assert wait_for(lambda: camera.connected == (how == "silence"))
    camera.faults.heal()
    with opened(camera.url) as container:
        assert follow(numbers(container, 5))


def test_the_resolution_changes_in_the_stream(camera):
    with opened(camera.url) as container:
        numbers(container, 3)
        camera.main.change(encode(numbered(20, 176, 96), FPS, gop=5))
        assert 176 in (frame.width for frame in islice(frames(container), 100))
        assert recovers(container)


def test_the_codec_changes_without_a_word(camera, clips):
    with opened(camera.url) as container:
        numbers(container, 3)
        camera.main.change(clips["h265"])
        with pytest.raises((av.InvalidDataError, av.ExitError)):
            for packet in islice(container.demux(video=0), 100):
                packet.decode()
    with opened(camera.url) as container:
        assert container.streams.video[0].codec_context.name == "hevc"
        assert follow(numbers(container, 5))


@pytest.mark.parametrize("seconds", [-300.0, 30.0])
def test_timestamps_jump(camera, seconds):
    with opened(camera.url) as container:
        times = [frame.time for frame in islice(timed(container), 3)]
        camera.faults.jump = seconds
        for frame in islice(frames(container), 100):
            times.append(frame.time)
            if abs(times[-1] - times[-2]) > 1:
                break
        times += [frame.time for frame in islice(frames(container), 3)]
    wrap = 2**32 / CLOCK if seconds < -60 else 0  # FFmpeg takes a jump to more than 60 s before the first picture for a wrap
    *before, jump, a, b, c = [y - x for x, y in pairwise(times)]
    assert jump == pytest.approx(seconds + wrap + 1 / FPS, abs=0.001)
    assert [*before, a, b, c] == pytest.approx([1 / FPS] * len([*before, a, b, c]), abs=0.001)


def test_packets_are_doubled_swapped_and_lost(clips):
    with RtspCamera(clips["h264"], mtu=200) as camera:
        for name in ("duplicate", "reorder", "loss"):
            setattr(camera.faults, name, 0.2)
            with RawClient(camera.port) as client:
                found = [packet.sequence for packet in client.play().packets(0.25)]
            steps = [(b - a) % 2**16 for a, b in pairwise(found)]
            assert len(found) > 30
            assert {"duplicate": 0, "reorder": 2**16 - 1, "loss": 2}[name] in steps
            camera.faults.heal()


def test_loss_over_udp_damages_pictures(clips):
    with RtspCamera(clips["h264"], mtu=300) as camera:
        camera.faults.loss = 0.02
        with opened(camera.url, "udp") as container:
            found = [frame.is_corrupt for frame in islice(frames(container), 30)]
    assert 0 < sum(found) < 30


# --- the end


def open_files() -> int:
    """Descriptors of this process, where the system tells."""
    folder = Path("/proc/self/fd")
    return len(list(folder.iterdir())) if folder.is_dir() else 0


@pytest.mark.parametrize("secure", [False, True])
@pytest.mark.parametrize("ending", ["close", "kill"])
def test_nothing_is_left(clips, certificate, secure, ending):
    threads, files = threading.active_count(), open_files()
    camera = RtspCamera(clips["h264"], tls=certificate if secure else None)
    with camera, opened(camera.url) as tcp, contextlib.nullcontext() if secure else opened(camera.url, "udp"):
        numbers(tcp, 2)
        camera.flap(0.5)
        start = time.monotonic()
        getattr(camera, ending)()
        assert time.monotonic() - start < 2
    assert wait_for(lambda: threading.active_count() == threads)
    assert wait_for(lambda: open_files() <= files)
    with pytest.raises(OSError):
        RawClient(camera.port)


def test_what_goes_wrong_inside_is_raised():
    def fails(index: int) -> np.ndarray:
        return numbered_picture(1 // (1 - index))

    with pytest.raises(RuntimeError, match="the test server failed"), RtspCamera(OnTheFly(fails, FPS)):
        time.sleep(0.3)
