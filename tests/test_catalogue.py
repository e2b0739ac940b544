"""``passerby detector get``: against a web server of the test's own, which breaks off, changes its file and refuses on demand."""

from __future__ import annotations

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from clips import numbered, write_clip
from command import passerby

from detectors import catalogue
from detectors.load import WEIGHTS, load_detector
from detectors.runtime.errors import ModelError

MODEL = (WEIGHTS / "person-n.onnx").read_bytes()


class Server:
    """Serves ``files`` by name. ``breaks``: bytes after which an answer breaks off; ``ranges``: whether it knows Range."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.breaks: int | None = None
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                wanted = self.headers.get("Range")
                outer.asked.append((self.path, wanted))
                content = outer.files.get(self.path.rpartition("/")[2])
                if content is None:
                    return self.send_error(404)
                begin = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and outer.ranges else 0
                if begin >= len(content):
                    return self.send_error(416)
                self.send_response(206 if begin else 200)
                if begin:
                    self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{len(content)}")
                self.send_header("Content-Length", str(len(content) - begin))
                self.end_headers()
                self.wfile.write(content[begin:][: outer.breaks])
                return None

            def log_message(self, *_: object) -> None:
                """Requests are not logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/models/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    one = Server()
    one.files["yolox_s.onnx"] = MODEL
    yield one
    one.close()


def test_once_downloaded_it_is_a_detector(server, tmp_path):
    done = passerby("detector", "get", "yolox-s", "--from", server.url)
    assert done.returncode == 0, done.stderr
    assert hashlib.sha256(MODEL).hexdigest() in done.stdout
    assert "Apache-2.0" in done.stdout
    again = passerby("detector", "get", "yolox-s", "--from", server.url)
    assert again.stdout == done.stdout
    assert len(server.asked) == 1
    assert load_detector("yolox-s").detect([np.zeros((64, 64, 3), np.uint8)])
    clip = write_clip(tmp_path / "gate.mp4", numbered(3))
    run = passerby("run", clip, "--detector", "yolox-s", "--reid", "none", "--no-video", "-o", tmp_path / "o")
    assert run.returncode == 0, run.stderr


def test_a_broken_download_is_resumed(server):
    server.breaks = len(MODEL) // 3
    for _ in range(2):
        done = passerby("detector", "get", "yolox-s", "--from", server.url)
        assert done.returncode == 4
        assert "run the command again to resume it" in done.stderr
        assert catalogue.kept("yolox-s") is None
    server.breaks = None
    assert passerby("detector", "get", "yolox-s", "--from", server.url).returncode == 0
    assert [wanted for _, wanted in server.asked] == [None, f"bytes={len(MODEL) // 3}-", f"bytes={len(MODEL) // 3 * 2}-"]
    assert catalogue.cached("yolox-s").read_bytes() == MODEL


def test_a_server_without_ranges_starts_again(server):
    server.breaks, server.ranges = 1000, False
    assert passerby("detector", "get", "yolox-s", "--from", server.url).returncode == 4
    server.breaks = None
    assert passerby("detector", "get", "yolox-s", "--from", server.url).returncode == 0
    assert catalogue.cached("yolox-s").read_bytes() == MODEL


def test_the_checksum_is_that_of_the_first_time(server):
    wrong = passerby("detector", "get", "yolox-s", "--from", server.url, "--sha256", "0" * 64)
    assert wrong.returncode == 4
    assert "not 0000" in wrong.stderr
    assert catalogue.kept("yolox-s") is None
    right = hashlib.sha256(MODEL).hexdigest()
    assert passerby("detector", "get", "yolox-s", "--from", server.url, "--sha256", right.upper()).returncode == 0
    server.files["yolox_s.onnx"] = MODEL + b"\0"
    other = passerby("detector", "get", "yolox-s", "--from", server.url, "--again")
    assert other.returncode == 4
    assert "another file than before" in other.stderr
    path = catalogue.cached("yolox-s")
    path.write_bytes(MODEL[:-1])
    with pytest.raises(ModelError, match="get it again"):
        load_detector("yolox-s")


@pytest.mark.parametrize(
    ("name", "words", "said"),
    [
        ("yolox-s", ("--from", "http://127.0.0.1:9/"), "off-line"),
        ("yolox-m", ("--from", "SERVER"), "answers 404"),
        ("resnet50", (), "unknown"),
        ("../yolox-s", (), "unknown"),
    ],
)
def test_what_cannot_be_had_is_said(server, name, words, said):
    done = passerby("detector", "get", name, *(server.url if word == "SERVER" else word for word in words))
    assert done.returncode == 4
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_what_is_no_detector_is_not_kept(server):
    server.files["yolox_s.onnx"] = b"<html>log in first</html>"
    done = passerby("detector", "get", "yolox-s", "--from", server.url)
    assert done.returncode == 4
    assert catalogue.kept("yolox-s") is None
    assert list(catalogue.folder().iterdir()) == []
    with pytest.raises(ModelError, match="passerby detector get yolox-s"):
        load_detector("yolox-s")


def test_a_published_file_is_read(server, shared: Path, tmp_path):
    server.files["yolox_nano.onnx"] = (shared / "data/reference-models/yolox_nano.onnx").read_bytes()
    done = passerby("detector", "get", "yolox-nano", "--from", server.url)
    assert done.returncode == 0, done.stderr
    assert load_detector("yolox-nano").detect([np.zeros((64, 64, 3), np.uint8)])
