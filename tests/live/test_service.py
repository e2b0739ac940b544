"""``passerby live`` against two RTSP cameras, one of which dies: tracks, identities, status, and no password anywhere."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest
from clips import figure

from live.footage import encode
from live.rtsp_camera import RtspCamera, Video
from pipeline.formats.mot import read_tracks

PASSWORD = "p@ss/w#rd 41"


def walkers(seed: int):
    rng = np.random.default_rng(seed)
    background = rng.integers(90, 130, (288, 384, 3)).astype(np.uint8)
    for frame in range(60):
        picture = background.copy()
        figure(picture, 60 + 4 * frame, 240, 150, (40, 40, 200), (90, 60, 30), frame / 3)
        figure(picture, 330 - 4 * frame, 275, 160, (200, 90, 30), (40, 40, 40), frame / 3 + 1)
        yield picture


def wait(condition, seconds: float, process: subprocess.Popen) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.1)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def port() -> int:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def test_two_cameras_live(tmp_path, port):
    with (
        RtspCamera(encode(walkers(0), fps=8, gop=8), user="me@home", password=PASSWORD) as gate,
        RtspCamera(encode(walkers(1), fps=8, gop=8)) as yard,
    ):
        site, out = tmp_path / "site.yaml", tmp_path / "live"
        site.write_text(
            f"cameras:\n  gate: {{url: '{gate.address()}', user: me@home, password_env: GATE_PASSWORD}}\n  yard: {{url: '{yard.address()}'}}\n"
        )
        words = ["live", str(site), "-o", str(out), "--status-port", str(port), "--detector", "person-n", "--log-level", "debug", "--json"]
        settings = ["live.stall=1", "linker.lateness=0.5", "linker.step=0.5", "detector.size=416"]
        words += [word for setting in settings for word in ("--set", setting)]
        process = subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli.app", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"GATE_PASSWORD": PASSWORD},
        )  # fmt: skip
        try:

            def cameras() -> dict:
                try:
                    return json.loads(get(port, "/status")[1])["cameras"]
                except (OSError, ValueError):
                    return {}

            wait(lambda: len(cameras()) == 2 and all(one["processed"] > 8 for one in cameras().values()), 60, process)
            yard.faults.video = Video.REPORTS_ONLY
            wait(lambda: cameras()["yard"]["state"] != "running", 20, process)
            before = cameras()["gate"]["processed"]
            wait(lambda: cameras()["gate"]["processed"] > before + 5, 20, process)  # the other goes on
            yard.faults.heal()
            wait(lambda: cameras()["yard"]["state"] == "running", 20, process)
            assert get(port, "/healthz")[0] == 200
            assert 'passerby_frames_total{camera="gate",fate="processed"}' in get(port, "/metrics")[1]
            assert get(port, "/etc/passwd")[0] == 404
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            said, log = process.communicate(timeout=30)
            assert time.monotonic() - began < 15
        finally:
            process.kill()
    status = json.loads(said)
    assert process.returncode == 0, log
    for camera in status["cameras"].values():
        assert camera["received"] == sum(camera[fate] for fate in ("processed", "dropped", "corrupt", "failed", "in_hand"))
        assert camera["in_hand"] == 0
    (segment,) = (out / "segments").iterdir()
    assert not segment.suffix and len(read_tracks(segment / "gate/tracks.txt"))
    kinds = [json.loads(line)["kind"] for path in out.glob("events-*.jsonl") for line in path.read_text().splitlines()]
    assert {"camera_state", "session", "assigned"} <= set(kinds)
    secrets = [PASSWORD, quote(PASSWORD, safe=""), base64.b64encode(f"me@home:{PASSWORD}".encode()).decode()]
    written = [path.read_bytes().decode("latin1") for path in out.rglob("*") if path.is_file()]
    for secret in secrets:
        assert all(secret not in text for text in [said, log, *written])


def test_a_site_without_addresses_and_a_missing_password_are_usage_errors(tmp_path):
    site = tmp_path / "site.yaml"
    command = [
        sys.executable,
        "-m",
        "pipeline.cli.app",
        "live",
        str(site),
        "-o",
        str(tmp_path / "o"),
        "--detector",
        "person-n",
        "--reid",
        "none",
    ]
    for text, says in (
        ("cameras: {gate: {offset: 1}}\n", "no camera with a url"),
        ("cameras: {gate: {url: 'rtsp://h/x', user: me, password_env: NOT_SET_ANYWHERE}}\n", "NOT_SET_ANYWHERE is not set"),
        ("cameras: {gate: {url: 'gopher://h/x'}}\n", "not a stream's address"),
        ("cameras: {gate: {url: 'rtsp://h/x', password_env: X}}\n", "a password needs a user"),
    ):
        site.write_text(text)
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode in (2, 3), done.stderr
        assert says in done.stderr and "Traceback" not in done.stderr
    assert not Path(tmp_path / "o/segments").exists()
