"""``passerby probe`` and ``passerby validate``: what they find, and how they fail."""

from __future__ import annotations

import json

import pytest
from command import passerby

from live.footage import encode, numbered
from live.rtsp_camera import RtspCamera


def test_probe_says_what_a_stream_is():
    with RtspCamera(encode(numbered(60), fps=20, gop=10)) as camera:
        done = passerby("probe", camera.url, "--json")
        found = json.loads(done.stdout)
        assert done.returncode == 0, done.stderr
        assert (found["state"], found["codec"], found["width"], found["height"]) == ("running", "h264", 320, 184)
        assert 10 < found["rate"] < 40


def test_probe_asks_once_and_says_why_not(monkeypatch):
    monkeypatch.setenv("PROBE_PASSWORD", "s3cretpass")
    with RtspCamera(encode(numbered(20), fps=20, gop=10), user="me", password="right") as camera:
        done = passerby("probe", camera.address(), "--user", "me", "--password-env", "PROBE_PASSWORD", "--timeout", "3")
        assert done.returncode == 3
        assert "state: failed" in done.stdout and "reason: authentication" in done.stdout
        assert "attempt" not in done.stderr and "s3cretpass" not in done.stdout + done.stderr
        asked = [request for request in camera.requests if request.startswith("DESCRIBE")]
        assert len(asked) <= 2  # without and with the answer to the challenge


ADDRESSES = [
    ("rtsp://camera:99999/x", "port 99999: must be a number from 1 to 65535"),
    ("rtsp://camera:0/x", "port 0: must be"),
    ("rtsp://me:pw@camera:port/x", "port port: must be"),
    ("http://camera:/x", "port is empty"),
    ("rtsp:///stream", "no host"),
    ("rtsp://[::1/x", "not an address"),
    ("concat:a|b", "not a stream's address"),
    ("file:///etc/passwd", "not a stream's address"),
]


@pytest.mark.parametrize(("url", "says"), ADDRESSES)
def test_an_address_that_is_none_is_refused_before_anything_is_opened(url, says, tmp_path):
    done = passerby("probe", url)
    assert done.returncode == 3 and says in done.stderr and "pw" not in done.stderr
    if "://" in url:
        (tmp_path / "site.yaml").write_text(f"cameras: {{gate: {{url: '{url}'}}}}\n")
        done = passerby("validate", tmp_path / "site.yaml")
        assert done.returncode == 3 and f"camera gate: {says}"[:12] in done.stderr and says in done.stderr


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("cameras: {'../gate': {url: 'rtsp://h/x'}}\n", "not usable as a folder's name"),
        ("cameras: {people: {url: 'rtsp://h/x'}}\n", "not usable as a folder's name"),
        ("cameras: {gate: {url: 'rtsp://h/x', user: me, password_env: NOT_SET_ANYWHERE}}\n", "NOT_SET_ANYWHERE is not set"),
        ("cameras: {gate: {url: 'gone.mp4'}}\n", "no such file"),
        ("cameras: {gate: {url: 3}}\n", "line 1: cameras.gate.url: must be text; quote it, not 3"),
        ("cameras: {gate: {only: [[[0.1, 0.2], [1.5, 0.3], [0.4, 0.5]]]}}\n", "between 0 and 1"),
    ],
)
def test_validate_names_what_is_wrong(text, says, tmp_path):
    (tmp_path / "site.yaml").write_text(text)
    done = passerby("validate", tmp_path / "site.yaml")
    assert done.returncode in (2, 3) and says in done.stderr, done.stderr
    assert "Traceback" not in done.stderr


def test_validate_lists_the_cameras_without_secrets(tmp_path):
    (tmp_path / "site.yaml").write_text(
        "cameras: {gate: {url: 'rtsp://me:s3cretpass@h:8554/x'}, yard: {offset: 1}}\nlinks: [{start: gate, end: yard, max_time: 9}]\n"
    )
    done = passerby("validate", tmp_path / "site.yaml")
    assert done.returncode == 0 and "yard: no url" in done.stdout and "s3cretpass" not in done.stdout
