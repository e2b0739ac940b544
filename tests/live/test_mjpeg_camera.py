"""The MJPEG test camera: what it sends is received, and each fault does what it says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice, pairwise

import av
import pytest

from live.footage import numbered, read_number
from live.mjpeg_camera import MjpegCamera, jpegs

FPS = 50


@pytest.fixture(scope="module")
def pictures() -> list[bytes]:
    return jpegs(numbered(100))


@pytest.fixture
def camera(pictures) -> Iterator[MjpegCamera]:
    with MjpegCamera(pictures, FPS) as made:
        yield made


def opened(url: str, patience: float = 2.0, **options: str) -> av.container.InputContainer:
    return av.open(url, options={"timeout": "2000000", "probesize": "32", "fpsprobesize": "0"} | options, timeout=(3, patience))


def numbers(container: av.container.InputContainer, count: int) -> list[int | None]:
    return [read_number(frame.to_ndarray(format="bgr24")) for frame in islice(container.decode(video=0), count)]


def test_pictures_arrive_in_order_and_in_real_time(camera):
    start = time.monotonic()
    with opened(camera.url) as container:
        found = numbers(container, 26)
    assert all(b == (a + 1) % 100 for a, b in pairwise(found))
    assert 0.3 < time.monotonic() - start < 3


def test_authentication(pictures):
    with MjpegCamera(pictures, FPS, user="admin", password="p@ss/w#rd") as camera:
        with opened(camera.url) as container:
            assert len(numbers(container, 3)) == 3
        for address in (camera.address(), camera.address("admin", "wrong")):
            with pytest.raises(av.error.HTTPUnauthorizedError):
                opened(address)


def test_tls(pictures, certificate):
    with MjpegCamera(pictures, FPS, tls=certificate) as camera:
        with opened(camera.url, tls_verify="1", ca_file=str(certificate[0])) as container:
            assert len(numbers(container, 3)) == 3
        with pytest.raises(av.FFmpegError):
            opened(camera.url, tls_verify="1")


@pytest.mark.parametrize(("status", "error"), [("401 Unauthorized", "HTTPUnauthorizedError"), ("404 Not Found", "HTTPNotFoundError")])
def test_statuses(camera, status, error):
    camera.faults.status = status
    with pytest.raises(getattr(av.error, error)):
        opened(camera.url)


def test_refused_mute_and_there_again(camera):
    camera.refuse()
    with pytest.raises(av.error.ConnectionRefusedError):
        opened(camera.url)
    camera.mute()
    with pytest.raises(av.FFmpegError):
        opened(camera.url, timeout="300000")
    camera.accept()
    with opened(camera.url) as container:
        assert len(numbers(container, 3)) == 3


def test_silent_is_a_stall(camera):
    with opened(camera.url, patience=0.3) as container:
        numbers(container, 2)
        camera.faults.silent = True
        with pytest.raises(av.FFmpegError):
            numbers(container, 1000)


@pytest.mark.parametrize("how", ["in a picture", "drop", "reset", "kill"])
def test_it_dies(camera, how):
    with opened(camera.url) as container:
        numbers(container, 2)
        if how == "in a picture":
            camera.faults.die = True
        elif how == "kill":
            camera.kill()
        else:
            camera.drop(reset=how == "reset")
        start = time.monotonic()
        try:
            found = numbers(container, 1000)
        except av.FFmpegError:
            found = []
        assert len(found) < 100
        assert time.monotonic() - start < 2
