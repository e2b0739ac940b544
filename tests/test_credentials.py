"""A password in an address appears nowhere: not in what commands print, log or write, nor in an exception."""

from __future__ import annotations

import traceback
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from command import passerby
from hypothesis import given
from hypothesis import strategies as st

from pipeline import Request, run
from pipeline.address import Address, redact
from pipeline.errors import PasserbyError

SECRETS = ("s3cretpass", "p@ss/w0rd#x", "p%40ss%2Fw0rd")
WORDS = [
    ["run", "{url}", "-o", "{out}"],
    ["run", "{clip}", "{url}", "-o", "{out}", "--no-video", "--reid", "none", "--detections", "clip={boxes}"],
    ["run", "--camera", "gate={url}", "-o", "{out}"],
    ["run", "{url}", "{url}", "-o", "{out}"],
    ["run", "{url}", "-o", "{out}", "--dry-run"],
    ["run", "{clip}", "{url}", "-o", "{out}", "--dry-run", "--reid", "none", "--detections", "clip={boxes}"],
    ["run", "{clip}", "-o", "{out}", "--detector", "{url}"],
    ["run", "{clip}", "-o", "{out}", "--config", "{url}"],
    ["run", "{clip}", "-o", "{out}", "--every", "{url}"],
    ["run", "{clip}", "-o", "{out}", "--detections", "{url}"],
    ["run", "{clip}", "-o", "{out}", "--site", "{url}"],
    ["run", "{clip}", "-o", "{out}", "--set", "detector.model={url}"],
    ["associate", "{url}", "-o", "{out}"],
    ["associate", "--video", "gate={url}", "--tracks", "gate={boxes}", "-o", "{out}"],
    ["associate", "--tracks", "{url}", "-o", "{out}"],
    ["refine", "--tracks", "{boxes}", "--video", "{url}", "-o", "{out}"],
    ["doctor", "{url}"],
    ["--log-json", "run", "{url}", "-o", "{out}"],
    ["-v", "run", "{url}", "-o", "{out}"],
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("credentials")
    (folder / "boxes.txt").write_text("1,1,5,5,20,40,0.9\n2,1,6,5,20,40,0.9\n")
    return {"clip": write_clip(folder / "clip.mp4", [np.full((64, 96, 3), 90, np.uint8)] * 3, rate=10), "boxes": folder / "boxes.txt"}


@pytest.mark.parametrize("words", WORDS, ids=lambda words: " ".join(words))
@pytest.mark.parametrize("secret", SECRETS)
def test_no_command_shows_it(clip, tmp_path, words, secret):
    url = f"rtsp://admin:{secret}@127.0.0.1:9/live?token={secret}"
    done = passerby(*(word.format(url=url, out=tmp_path / "out", **clip) for word in words))
    written = [path.read_bytes().decode("latin1") for path in tmp_path.rglob("*") if path.is_file()]
    names = [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")]
    for text in (done.stdout, done.stderr, *written, *names):
        assert secret not in text
        assert "admin:" not in text
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("secret", SECRETS)
def test_no_exception_shows_it(tmp_path, secret):
    with pytest.raises(PasserbyError) as caught:
        run(Request.of([f"rtsp://admin:{secret}@127.0.0.1:9/live"], tmp_path / "out"))
    assert secret not in "".join(traceback.format_exception(caught.value))
    assert secret not in repr(Request.of([f"rtsp://admin:{secret}@127.0.0.1:9/live"], tmp_path / "out"))


@given(st.text(alphabet=st.characters(exclude_characters="\"'<>|", exclude_categories=("Z", "C")), min_size=4, max_size=20))
def test_any_password_is_redacted(password):
    address = Address(f"rtsp://u:{password}!!{password}@camera.example/live")
    for shown in (str(address), repr(address), f"{address}", redact(f"cannot open {address.raw}: timeout")):
        assert f"{password}!!{password}" not in shown
    assert str(address).endswith("@camera.example/live")


@pytest.mark.parametrize(
    "text", ["admin:s3cretpass@10.0.0.5:554/x", "rtsp://10.0.0.5/user=admin_password=s3cretpass_channel=1", "see admin:s3cretpass@host."]
)
def test_addresses_without_a_scheme_and_with_the_password_in_the_path(text):
    assert "s3cretpass" not in redact(text)
    assert "s3cretpass" not in repr(Address(text))


def test_what_is_no_secret_stays():
    for text in ("videos/gate 2.mp4", "C:/a@b/c.mp4", "rtsp://camera.example:554/live?channel=1", "mail me@home", "12:30:05.mp4"):
        assert redact(text) == text
