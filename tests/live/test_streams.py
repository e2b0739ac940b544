"""A stream reader against a real RTSP server and its faults: every one is named, survived, and every frame accounted for."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from live.footage import encode, numbered, read_number
from live.mjpeg_camera import MjpegCamera, jpegs
from live.rtsp_camera import Answer, RtspCamera, Video
from pipeline.address import Address
from pipeline.live.newest import NewestOfEach
from pipeline.sources.mailbox import Arrivals
from pipeline.sources.stream import StreamOptions, StreamReader
from pipeline.sources.stream_state import Backoff

OPTIONS = StreamOptions(open_timeout=2.0, stall=1.0, backoff=Backoff(first=0.1, longest=1.0, slow=0.5, stable=1.0))
FPS = 20


@pytest.fixture(scope="module")
def footage():
    return encode(numbered(200), fps=FPS, gop=10)


class Taken:
    """A reader whose frames a thread takes, as the engine does: their numbers, sessions and times."""

    def __init__(self, address: Address, options: StreamOptions = OPTIONS, slow: float = 0.0) -> None:
        arrivals = Arrivals()
        self.reader = StreamReader("camera", address, options, arrivals)
        self.intake = NewestOfEach({"camera": self.reader}, arrivals)
        self.numbers: list[int | None] = []
        self.sessions: list[int] = []
        self.times: list[float] = []
        self.arrived: list[float] = []
        self.slow = slow
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def _take(self) -> None:
        while not self._end.is_set():
            frames = self.intake.next(0.1)
            for frame in frames.values():
                self.numbers.append(read_number(frame.image))
                self.sessions.append(frame.session)
                self.times.append(frame.time)
                self.arrived.append(time.monotonic())
            if frames:
                time.sleep(self.slow)
            self.intake.done(frames)

    @property
    def state(self) -> str:
        return self.reader.status.connection.state

    @property
    def reason(self) -> str | None:
        return self.reader.status.connection.reason

    def start(self) -> None:
        self.reader.start()
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        self._thread.join(5)
        self.reader.stop()
        assert self.reader.join(6)
        counts = self.reader.mailbox.counts
        assert counts.in_hand == 0
        assert counts.processed == len(self.numbers)


@contextmanager
def taking(url: str, options: StreamOptions = OPTIONS, slow: float = 0.0) -> Iterator[Taken]:
    taken = Taken(Address(url), options, slow)
    taken.start()
    try:
        yield taken
    finally:
        taken.stop()


def wait(condition: Callable[[], bool], seconds: float = 8.0) -> float:
    """Seconds until ``condition`` holds. Fails after ``seconds``."""
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < seconds, "it did not come to that"
        time.sleep(0.02)
    return time.monotonic() - began


def running(taken: Taken, frames: int = 5) -> None:
    """Wait until new frames have come."""
    have = len(taken.numbers)
    wait(lambda: taken.state == "running" and len(taken.numbers) >= have + frames)


def test_frames_come_in_order_with_the_cameras_time(footage):
    with RtspCamera(footage) as camera, taking(camera.url) as taken:
        running(taken, 15)
        numbers = [number for number in taken.numbers if number is not None]
        assert numbers == sorted(numbers)
        assert taken.times == sorted(taken.times)
        assert abs(taken.times[-1] - time.time()) < 2.0
        assert set(taken.sessions) == {taken.sessions[0]}
        status = taken.reader.status
        assert status.size == (320, 184) and status.codec == "h264" and status.lag < 2.0


def test_a_slow_engine_gets_the_newest_frame_and_the_rest_is_counted(footage):
    with RtspCamera(footage) as camera, taking(camera.url, slow=0.4) as taken:
        running(taken, 6)
        counts = taken.reader.mailbox.counts
        assert counts.dropped > counts.processed
        assert counts.received == counts.processed + counts.dropped + counts.corrupt + counts.failed + counts.in_hand
        assert taken.reader.status.lag < 1.0  # bounded, however slow the engine is


@pytest.mark.parametrize(
    ("fault", "reasons"),
    [
        (lambda camera: setattr(camera.faults, "video", Video.SILENT), {"stalled"}),
        (lambda camera: setattr(camera.faults, "video", Video.REPORTS_ONLY), {"stalled"}),
        (lambda camera: setattr(camera.faults, "video", Video.TRICKLE), {"stalled", "decode", "failed"}),
        (lambda camera: setattr(camera.faults, "video", Video.GARBAGE), {"stalled", "decode", "failed", "ended"}),
        (lambda camera: camera.main.die_in_frame("fin"), {"ended", "failed"}),
        (lambda camera: camera.main.die_in_frame("reset"), {"ended", "failed"}),
        (lambda camera: camera.main.die_in_frame("silence"), {"stalled"}),
        (lambda camera: camera.kill(), {"ended", "failed", "refused"}),
        (lambda camera: camera.stop(), {"ended", "failed", "refused"}),
    ],
    ids=["silent", "reports only", "trickle", "garbage", "fin in a frame", "reset in a frame", "half-open", "killed", "stopped"],
)
def test_a_stream_that_breaks_is_named_and_comes_back(footage, fault, reasons):
    with RtspCamera(footage) as camera, taking(camera.url) as taken:
        running(taken)
        session, connects = taken.sessions[-1], taken.reader.status.connection.connects
        fault(camera)
        seen: set[str | None] = set()

        def noted() -> bool:
            seen.add(taken.reason)
            return bool(seen & reasons)

        assert wait(noted, 6.0) < 5.0, seen
        camera.faults.heal()
        if fault_stops_the_server(camera):
            camera.restart()
        healed = time.monotonic()
        running(taken)
        assert taken.arrived[-1] - healed < 6.0
        anew = taken.reader.status.connection.connects > connects  # a stall may end before the connection is given up
        assert (taken.sessions[-1] > session) == anew
        assert anew or reasons == {"stalled"} or "decode" in reasons


def fault_stops_the_server(camera: RtspCamera) -> bool:
    return camera._thread is None


@pytest.mark.parametrize(
    ("answer", "state", "reason"),
    [
        (Answer.UNAUTHORISED, "refused", "authentication"),
        (Answer.NOT_FOUND, "refused", "not found"),
        (Answer.MUTE, "waiting", "timeout"),
        (Answer.UNAVAILABLE, "waiting", "failed"),
    ],
)
def test_a_camera_that_refuses_is_named_and_tried_again(footage, answer, state, reason):
    with RtspCamera(footage) as camera:
        camera.faults.answer = answer
        with taking(camera.url) as taken:
            wait(lambda: (taken.state, taken.reason) == (state, reason))
            camera.faults.heal()
            running(taken)


def test_a_camera_that_is_down_at_the_start_is_waited_for(footage):
    with RtspCamera(footage) as camera:
        camera.stop()
        with taking(camera.url) as taken:
            wait(lambda: (taken.state, taken.reason) == ("waiting", "refused"))
            camera.start()
            running(taken)


@pytest.mark.parametrize("scheme", ["basic", "digest"])
def test_a_wrong_password_is_tried_slowly_and_never_shown(footage, scheme, caplog):
    with RtspCamera(footage, user="admin", password="right", scheme=scheme) as camera:
        with taking(camera.address(user="admin", password="s3cretpass")) as taken:
            wait(lambda: taken.reason == "authentication")
            time.sleep(1.2)
            described = [request for request in camera.requests if request.startswith("DESCRIBE")]
            assert 1 <= len(described) <= 8
            assert "s3cretpass" not in caplog.text + repr(taken.reader.status) + str(taken.reader.address)
        with taking(camera.url) as taken:
            running(taken)


def test_the_password_may_hold_any_character(footage):
    password = "p@ss/w#rd:%41?&= x"
    with RtspCamera(footage, user="me@home", password=password) as camera, taking(camera.url) as taken:
        running(taken)


@pytest.mark.parametrize("jump", [30.0, -30.0, 300.0])
def test_a_jump_of_the_timestamps_is_a_new_session_and_never_an_error(footage, jump):
    with RtspCamera(footage) as camera, taking(camera.url) as taken:
        running(taken)
        session = taken.sessions[-1]
        camera.faults.jump = jump
        wait(lambda: taken.sessions[-1] > session)
        running(taken)
        assert abs(taken.times[-1] - time.time()) < 5.0


def test_another_picture_size_is_a_new_session(footage):
    with RtspCamera(footage) as camera, taking(camera.url) as taken:
        running(taken)
        session = taken.sessions[-1]
        camera.main.change(encode(numbered(100, 480, 272), fps=FPS, gop=10))
        wait(lambda: taken.reader.status.size == (480, 272))
        running(taken)
        assert taken.sessions[-1] > session


@pytest.mark.parametrize(("clock", "believed"), [(-3.0, True), (-3600.0, False), (60.0, False)])
def test_a_cameras_clock_is_believed_where_it_is_plausible(footage, clock, believed, caplog):
    with RtspCamera(footage) as camera:
        camera.faults.clock = clock
        with taking(camera.url) as taken:
            running(taken)
            status = taken.reader.status
            if status.skew is None:
                pytest.skip("no sender report came before the first frame")
            assert abs(status.skew - clock) < 2.0
            assert abs(taken.times[-1] - (time.time() + (clock if believed else 0.0))) < 2.0
            assert ("off this machine's" in caplog.text) != believed


def test_udp(footage):
    options = StreamOptions(transport="udp", open_timeout=3.0, stall=1.0, backoff=OPTIONS.backoff)
    with RtspCamera(footage) as camera, taking(camera.url, options) as taken:
        running(taken, 10)


def test_rtsps_verifies_the_certificate(footage, certificate):
    verified = StreamOptions(open_timeout=2.0, stall=1.0, ca_file=str(certificate[0]), backoff=OPTIONS.backoff)
    with RtspCamera(footage, tls=certificate) as camera:
        with taking(camera.url, verified) as taken:
            running(taken)
        with taking(camera.url) as taken:  # a self-signed certificate that nobody vouches for
            wait(lambda: taken.state in ("refused", "waiting"))
            time.sleep(0.5)
            assert not taken.numbers


FAULTS = {
    "reports only": lambda camera: setattr(camera.faults, "video", Video.REPORTS_ONLY),
    "silent": lambda camera: setattr(camera.faults, "video", Video.SILENT),
    "trickle": lambda camera: setattr(camera.faults, "video", Video.TRICKLE),
    "garbage": lambda camera: setattr(camera.faults, "video", Video.GARBAGE),
    "corrupt": lambda camera: setattr(camera.faults, "video", Video.CORRUPT),
    "half-open": lambda camera: camera.main.die_in_frame("silence"),
    "reset": lambda camera: camera.main.die_in_frame("reset"),
    "killed": lambda camera: camera.kill(),
    "mute": lambda camera: (camera.mute(), camera.drop()),
    "flapping": lambda camera: camera.flap(1.0),
}


@pytest.mark.parametrize("fault", [pytest.param(name, marks=[] if name == "reports only" else pytest.mark.slow) for name in FAULTS])
def test_a_dying_camera_does_not_hold_up_another(footage, fault):
    arrivals = Arrivals()
    with RtspCamera(footage) as good, RtspCamera(footage) as bad:
        readers = {name: StreamReader(name, Address(camera.url), OPTIONS, arrivals) for name, camera in (("good", good), ("bad", bad))}
        intake = NewestOfEach(readers, arrivals)
        for reader in readers.values():
            reader.start()
        came: dict[str, list[float]] = {"good": [], "bad": []}
        began, broken = time.monotonic(), False
        while time.monotonic() - began < 6.0:
            if time.monotonic() - began > 2.0 and not broken:
                broken = True
                sent, received = good.main.moment, readers["good"].mailbox.counts.received
                FAULTS[fault](bad)
            frames = intake.next(0.1)
            for name in frames:
                came[name].append(time.monotonic())
            intake.done(frames)
        sent, received = (good.main.moment - sent) * FPS, readers["good"].mailbox.counts.received - received
        for reader in readers.values():
            reader.stop()
        assert all(reader.join(6) for reader in readers.values())
        late = [at for at in came["good"] if at - began > 2.5]
        assert max(b - a for a, b in itertools.pairwise(late)) < 1.0
        assert received >= 0.95 * sent - 2  # of what the camera sent, however busy this machine is
        for name, reader in readers.items():
            counts = reader.mailbox.counts
            assert counts.in_hand == 0 and counts.processed == len(came[name])


def test_a_server_that_comes_and_goes_each_second(footage):
    with RtspCamera(footage) as camera, taking(camera.url) as taken:
        running(taken)
        camera.flap(1.0)
        accepted = camera.accepted
        wait(lambda: camera.accepted > accepted + 1, 20)  # it is tried, again and again
        camera.accept()
        running(taken, 10)
        assert taken.sessions == sorted(taken.sessions)


def test_packets_twice_and_in_another_order(footage):
    options = StreamOptions(transport="udp", open_timeout=3.0, stall=1.0, backoff=OPTIONS.backoff)
    with RtspCamera(footage) as camera, taking(camera.url, options) as taken:
        running(taken)
        camera.faults.duplicate, camera.faults.reorder, camera.faults.loss = 0.1, 0.1, 0.02
        running(taken, 30)
        session = taken.sessions[-1]
        times = [time for time, number in zip(taken.times, taken.sessions, strict=True) if number == session]
        assert times == sorted(times)
        counts = taken.reader.mailbox.counts
        assert counts.received == counts.processed + counts.dropped + counts.corrupt + counts.failed + counts.in_hand


def test_all_cameras_are_down_and_come_back(footage):
    arrivals = Arrivals()
    with RtspCamera(footage) as one, RtspCamera(footage) as other:
        readers = {name: StreamReader(name, Address(camera.url), OPTIONS, arrivals) for name, camera in (("one", one), ("other", other))}
        intake = NewestOfEach(readers, arrivals)
        for reader in readers.values():
            reader.start()

        def seen() -> set[str]:
            frames = intake.next(0.1)
            intake.done(frames)
            return set(frames)

        wait(lambda: seen() and all(reader.status.connection.state == "running" for reader in readers.values()))
        one.kill(), other.stop()
        wait(lambda: not seen() and all(reader.status.connection.state == "waiting" for reader in readers.values()))
        assert intake.next(0.2) == {}
        one.start(), other.start()
        back: set[str] = set()
        wait(lambda: back.update(seen()) or len(back) == 2)
        for reader in readers.values():
            reader.stop()
        assert all(reader.join(6) for reader in readers.values())


@pytest.mark.slow
def test_many_reconnects_leak_nothing(footage):
    import resource

    options = StreamOptions(open_timeout=2.0, stall=1.0, backoff=Backoff(first=0.01, longest=0.01, slow=0.01, jitter=0))
    with RtspCamera(footage) as camera, taking(camera.url, options) as taken:
        sizes, descriptors, threads = [], [], []
        for number in range(300):
            connects = taken.reader.status.connection.connects
            camera.main.die_in_frame("reset")
            wait(lambda connects=connects: taken.reader.status.connection.connects > connects, 10)
            if number % 100 == 99:
                sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize())
                descriptors.append(len(list(Path("/proc/self/fd").iterdir())))
                threads.append(threading.active_count())
        assert sizes[-1] - sizes[0] < 5e6
        assert max(descriptors) - min(descriptors) <= 3
        assert max(threads) - min(threads) <= 2


def test_mjpeg(footage):
    with MjpegCamera(jpegs(numbered(100)), fps=FPS) as camera, taking(camera.url) as taken:
        running(taken, 8)
        assert abs(taken.times[-1] - time.time()) < 2.0
