"""A camera with a damaged file beside a good one: the good camera's result is the same to the byte, and the damage is said."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import numbered, write_clip
from command import passerby

from pipeline.sinks.guarded import Guarded
from pipeline.sinks.sink import Sink
from pipeline.sources.frame import Selection
from pipeline.sources.open import open_source


def copied(source: Path, target: Path, change: Callable[[int, av.Packet], None]) -> Path:
    """The packets of ``source`` in a Matroska file, each changed by ``change(number, packet)``."""
    with av.open(str(source)) as reader, av.open(str(target), "w") as writer:
        stream = writer.add_stream_from_template(reader.streams.video[0])
        for number, packet in enumerate(packet for packet in reader.demux(video=0) if packet.size):
            change(number, packet)
            packet.stream = stream
            writer.mux(packet)
    return target


def later(seconds: float, first: int = 15, last: int = 10**9) -> Callable[[Path, Path], Path]:
    """Timestamps from packet ``first`` to ``last`` are ``seconds`` later."""

    def change(number: int, packet: av.Packet) -> None:
        if first <= number <= last:
            packet.pts += round(seconds / packet.time_base)
            packet.dts = packet.pts

    return lambda clip, folder: copied(clip, folder / "bad.mkv", change)


def bytes_of(change: Callable[[bytearray], bytes], suffix: str = "mp4") -> Callable[[Path, Path], Path]:
    def damage(clip: Path, folder: Path) -> Path:
        whole = clip if suffix == "mp4" else write_clip(folder / f"whole.{suffix}", numbered(60), rate=10)
        path = folder / f"bad.{suffix}"
        path.write_bytes(change(bytearray(whole.read_bytes())))
        return path

    return damage


def flipped(data: bytearray) -> bytes:
    for at in np.random.default_rng(0).integers(len(data) // 4, 3 * len(data) // 4, 300):
        data[at] ^= 0x55
    return bytes(data)


def zeroed(data: bytearray) -> bytes:
    data[len(data) // 3 : len(data) // 2] = bytes(len(data) // 2 - len(data) // 3)
    return bytes(data)


def joined(*clips: dict) -> Callable[[Path, Path], Path]:
    """Transport streams one after the other in one file, as recorders leave them when a camera's settings change."""

    def damage(clip: Path, folder: Path) -> Path:
        parts = [
            write_clip(folder / f"part{at}.ts", numbered(100, *options.pop("size", (160, 96))), rate=10, **options)
            for at, options in enumerate(map(dict, clips))
        ]
        path = folder / "bad.ts"
        path.write_bytes(b"".join(part.read_bytes() for part in parts))
        return path

    return damage


def sound_alone(clip: Path, folder: Path) -> Path:
    path = folder / "bad.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    return path


def pictures(clip: Path, folder: Path) -> Path:
    import cv2

    place = folder / "bad"
    place.mkdir()
    for number, picture in enumerate(numbered(20)):
        cv2.imwrite(str(place / f"{number}.png"), picture)
    (place / "7.png").write_bytes(b"\x89PNG damaged")
    return place


def dangling(clip: Path, folder: Path) -> Path:
    (folder / "bad.mp4").symlink_to(folder / "gone.mp4")
    return folder / "bad.mp4"


def a_folder(clip: Path, folder: Path) -> Path:
    (folder / "bad.mp4").mkdir()
    return folder / "bad.mp4"


def spike(clip: Path, folder: Path) -> Path:
    def change(number: int, packet: av.Packet) -> None:
        packet.pts += round((number == 15) * 9 * 3600 / packet.time_base)

    return copied(clip, folder / "bad.mkv", change)


KINDS: dict[str, tuple[Callable[[Path, Path], Path], int, str]] = {  # how it is made, exit code, what is said
    "half of it": (bytes_of(lambda data: bytes(data[: len(data) // 2])), 1, "bad.mp4"),
    "empty": (bytes_of(lambda data: b""), 1, "is empty"),
    "text": (bytes_of(lambda data: b"not a video\n" * 100), 1, "cannot be opened as a video"),
    "not there": (lambda clip, folder: folder / "bad.mp4", 1, "no such file"),
    "a dangling link": (dangling, 1, "no such file"),
    "a folder": (a_folder, 1, "no images"),
    "its head alone": (bytes_of(lambda data: bytes(data[:600])), 1, "bad.mp4"),
    "its index gone": (bytes_of(lambda data: bytes(data).replace(b"moov", b"mooo")), 1, "bad.mp4"),
    "bytes flipped": (bytes_of(flipped, "ts"), 0, "damaged|could not be decoded"),
    "zeros inside": (bytes_of(zeroed, "ts"), 0, ""),
    "noise before and after": (bytes_of(lambda data: bytes(range(256)) * 9 + bytes(data) + b"\xff" * 4000, "ts"), 0, ""),
    "a gap of five hours": (later(5 * 3600), 0, ""),
    "a jump to the epoch": (later(1_795_601_700), 0, "jump ahead"),
    "a spike in time": (spike, 0, "jump back"),
    "times set back": (lambda clip, folder: joined({}, {})(clip, folder), 0, "jump back"),
    "another size": (joined({}, {"size": (128, 64)}), 0, "frame size changes"),
    "another codec": (joined({}, {"codec": "mpeg2video"}), 0, "codec changes"),
    "sound alone": (sound_alone, 1, "no video stream"),
    "one picture damaged": (pictures, 0, "not a readable image"),
}  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A clip of six seconds with the boxes of one walker, and the command's words for it."""
    folder = tmp_path_factory.mktemp("good")
    clip = write_clip(folder / "good.mp4", numbered(60), rate=10)
    boxes = folder / "det.txt"
    boxes.write_text("".join(f"{at},-1,{20 + at},20,20,50,0.9\n" for at in range(1, 61)))
    return clip, boxes


@pytest.fixture(scope="module")
def alone(good, tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "o"
    done = passerby("run", "--camera", f"good={good[0]}", "--detections", f"good={good[1]}", "--reid", "none", "-o", out)
    assert done.returncode == 0, done.stderr
    return result_of(out)


def result_of(out: Path) -> tuple[bytes, bytes, list[dict], dict]:
    rows = [row for row in pq.read_table(out / "tracklets.parquet").to_pylist() if row["camera"] == "good"]
    camera = json.loads((out / "run.json").read_text())["cameras"]["good"]
    return (out / "good/tracks.txt").read_bytes(), (out / "good/video.mp4").read_bytes(), rows, camera


@pytest.mark.parametrize("kind", KINDS)
def test_damage_stays_with_its_camera(kind, good, alone, tmp_path):
    make, code, said = KINDS[kind]
    bad = make(good[0], tmp_path)
    done = passerby(
        "run", "--camera", f"bad={bad}", "--camera", f"good={good[0]}", "--detections", f"bad={good[1]}", "--detections", f"good={good[1]}",
        "--reid", "none", "-o", tmp_path / "o", "--json",
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    import re

    assert re.search(said, done.stderr), done.stderr
    assert result_of(tmp_path / "o") == alone
    assert "</html>" in (tmp_path / "o/index.html").read_text()
    camera = json.loads(done.stdout)["cameras"].get("bad")
    if camera is not None:
        assert camera["frames_in"] == camera["processed"] + camera["skipped"] + camera["failed"]
        assert camera["outputs_failed"] == {}
        with av.open(str(tmp_path / "o/bad/video.mp4")) as video:
            assert sum(1 for _ in video.decode(video=0)) == max(1, camera["processed"])


def test_a_gap_ends_tracks_and_is_shortened_in_the_video(good, tmp_path):
    bad = later(5 * 3600)(good[0], tmp_path)
    done = passerby("run", bad, "--detections", good[1], "--reid", "none", "-o", tmp_path / "o", "--json")
    camera = json.loads(done.stdout)["cameras"]["bad"]
    assert camera["gaps"] == 1
    assert camera["tracks"] == 2
    ((time, cut),) = camera["video_cuts"]
    assert time == pytest.approx(18001.5, abs=0.01)
    with av.open(str(tmp_path / "o/bad/video.mp4")) as video:
        assert float(video.duration / av.time_base) < 12
    assert f'data-time="{round(time - cut, 3)}"' in (tmp_path / "o/index.html").read_text()


def test_an_output_that_fails_is_named_and_the_run_goes_on(good, alone, tmp_path):
    (tmp_path / "o/bad").mkdir(parents=True)
    (tmp_path / "o/bad/tracks.txt").symlink_to("/dev/full")
    shutil.copy(good[0], tmp_path / "bad.mp4")
    done = passerby(
        "run", tmp_path / "bad.mp4", good[0], "--detections", f"bad={good[1]}", "--detections", f"good={good[1]}", "--reid", "none",
        "-o", tmp_path / "o",
    )  # fmt: skip
    assert done.returncode == 5
    assert "bad/tracks.txt: incomplete: cannot be written (No space left on device)" in done.stderr
    assert result_of(tmp_path / "o") == alone
    page = (tmp_path / "o/index.html").read_text()
    assert "tracks.txt is incomplete" in page
    assert json.loads((tmp_path / "o/run.json").read_text())["cameras"]["bad"]["tracks"] == 1


def test_a_failed_sink_gets_nothing_more():
    class Fails(Sink):
        calls = 0

        def take(self, frame, tracks):
            Fails.calls += 1
            raise RuntimeError("the muxer is broken")

        def close(self):
            Fails.calls += 10

    sink = Guarded("video.mp4", Fails())
    for _ in range(3):
        sink.take(None, None)
    sink.finish(None)
    sink.close()
    assert Fails.calls == 11
    assert sink.failed == "cannot be written (the muxer is broken)"


@pytest.mark.parametrize("size", [(2, 2), (16, 1200), (1600, 16)])
def test_pictures_of_any_size_are_read(size, tmp_path):
    path = write_clip(tmp_path / "odd.mkv", numbered(3, *size), rate=10, codec="ffv1", pixels="bgr0", options={})
    assert len(list(open_source(path).read(Selection()))) == 3
    done = passerby("run", path, "--detector", "person-n", "--set", "detector.size=320", "-o", tmp_path / "o")
    assert done.returncode == 0, done.stderr
