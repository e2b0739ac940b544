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
from urllib.parse import quote

import numpy as np
import pytest
from clips import figure
from command import passerby

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
    until = time.monotonic() + 5 * seconds  # machines that run tests are busy with others as well
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
        RtspCamera(encode(walkers(2), fps=8, gop=8)) as door,
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
            record = json.loads((out / "run.json").read_text())
            assert record["running"] and set(record["cameras"]) == {"gate", "yard"}
            # another site file: one camera goes, one comes, the third loses nothing
            site.write_text(site.read_text().replace("yard:", "door:").replace(yard.address(), door.address()))
            connected = cameras()["gate"]["connects"]
            process.send_signal(signal.SIGHUP)
            wait(lambda: set(cameras()) == {"gate", "door"} and cameras()["door"]["processed"] > 8, 60, process)
            assert cameras()["gate"]["connects"] == connected
            site.write_text("cameras: {gate: {ulr: x}}\n")  # one that cannot be used changes nothing
            process.send_signal(signal.SIGHUP)
            before = cameras()["gate"]["processed"]
            wait(lambda: cameras()["gate"]["processed"] > before + 5, 20, process)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            said, log = process.communicate(timeout=60)
            took = time.monotonic() - began
            assert took < 30  # 5 s on a machine that is not busy with other tests
        finally:
            process.kill()
    status = json.loads(said)
    assert process.returncode == 0, log
    for camera in status["cameras"].values():
        assert camera["received"] == sum(camera[fate] for fate in ("processed", "dropped", "corrupt", "failed", "in_hand"))
        assert camera["in_hand"] == 0
    segments = sorted((out / "segments").iterdir())
    assert len(segments) == 2 and not any(one.suffix for one in segments)  # the site's change closes one
    assert all(len(read_tracks(one / "gate/tracks.txt")) for one in segments)
    assert len(read_tracks(segments[1] / "door/tracks.txt"))
    every = [json.loads(line) for path in out.glob("events-*.jsonl") for line in path.read_text().splitlines()]
    assert {"camera_state", "session", "assigned", "track_started", "track_ended", "blind", "site_reloaded"} <= {
        one["kind"] for one in every
    }
    assert [one["session"] for one in every if one["kind"] == "session" and one["camera"] == "gate"] == [1]
    assert "yard" in {one["camera"] for one in every if one["kind"] == "blind"}
    started, ended = ([(o["camera"], o["track"]) for o in every if o["kind"] == f"track_{what}"] for what in ("started", "ended"))
    assert sorted(started) == sorted(ended) and len(set(started)) == len(started)
    assert "did you mean" in log and "site file is not taken" in log
    record = json.loads((out / "run.json").read_text())
    assert not record["running"] and record["exit_code"] == 0 and set(record["cameras"]) == {"gate", "door"}
    assert all(one["frames_in"] == one["processed"] + one["skipped"] + one["failed"] for one in record["cameras"].values())
    secrets = [PASSWORD, quote(PASSWORD, safe=""), base64.b64encode(f"me@home:{PASSWORD}".encode()).decode()]
    written = [path.read_bytes().decode("latin1") for path in out.rglob("*") if path.is_file()]
    for secret in secrets:
        assert all(secret not in text for text in [said, log, *written])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cameras: {gate: {offset: 1}}\n", "no camera with a url"),
        ("cameras: {gate: {url: 'rtsp://h/x', user: me, password_env: NOT_SET_ANYWHERE}}\n", "NOT_SET_ANYWHERE is not set"),
        ("cameras: {gate: {url: 'gopher://h/x'}}\n", "not a stream's address"),
        ("cameras: {gate: {url: 'rtsp://h/x', password_env: X}}\n", "a password needs a user"),
    ],
)
def test_a_site_without_addresses_and_a_missing_password_are_usage_errors(tmp_path, text, says):
    site = tmp_path / "site.yaml"
    site.write_text(text)
    done = passerby("live", site, "-o", tmp_path / "o", "--detector", "person-n", "--reid", "none")
    assert done.returncode in (2, 3), done.stderr
    assert says in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "o").exists()
