"""Live cameras: reading many, processing a few, and what one silent camera does to the others.

    python benchmarks/live_streams.py drain --cameras 50 --seconds 60
    python benchmarks/live_streams.py engine CLIP --cameras 4 --seconds 600 --detector person-n
    python benchmarks/live_streams.py silent CLIP --cameras 4 --seconds 60 [--ultralytics WEIGHTS]

The cameras are RTSP servers of our own (tests/live/rtsp_camera.py) in another process; its CPU time is not counted. CPU is given as cores: seconds of
CPU per second. Wall times of a busy machine say little; shares and cores do.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]


def serve(channel: Connection, clip: str | None, size: tuple[int, int], rate: float, cameras: int) -> None:
    """The cameras' process: one server per camera; ``silent N`` makes camera N send nothing any more."""
    from contextlib import ExitStack

    from live.footage import encode, numbered
    from live.rtsp_camera import RtspCamera, Video

    pictures = list(numbered(int(6 * rate), *size)) if clip is None else read(clip)
    footage = encode(pictures, fps=rate, gop=int(rate))
    with ExitStack() as opened:
        every = [opened.enter_context(RtspCamera(footage)) for _ in range(cameras)]
        channel.send([camera.url for camera in every])
        while (command := channel.recv()) != "end":
            every[int(command)].faults.video = Video.SILENT
    channel.send(time.process_time())


def read(clip: str) -> list[np.ndarray]:
    from pipeline.sources.frame import Selection
    from pipeline.sources.open import open_source

    return [frame.image for frame in open_source(clip).read(Selection())]


@contextmanager
def served(clip: str | None, size: tuple[int, int], rate: float, cameras: int) -> Iterator[tuple[list[str], Connection]]:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, clip, size, rate, cameras), daemon=True)
    process.start()
    try:
        yield ours.recv(), ours
    finally:
        ours.send("end")
        process.join(10)


def resident() -> float:
    """MB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6


def drain(cameras: int, seconds: float, rate: float) -> dict[str, Any]:
    """Read and decode, and take nothing."""
    from pipeline.address import Address
    from pipeline.sources.mailbox import Arrivals
    from pipeline.sources.stream import StreamOptions, StreamReader

    with served(None, (640, 360), rate, cameras) as (urls, _):
        before = resident()
        readers = [StreamReader(f"camera{n}", Address(url), StreamOptions(), Arrivals()) for n, url in enumerate(urls)]
        for reader in readers:
            reader.start()
        until = time.monotonic() + 60
        while time.monotonic() < until and any(reader.status.connection.state != "running" for reader in readers):
            time.sleep(0.1)
        began, cpu, first = time.monotonic(), time.process_time(), [reader.mailbox.counts.received for reader in readers]
        time.sleep(seconds)
        took, cores = time.monotonic() - began, (time.process_time() - cpu) / (time.monotonic() - began)
        received = [reader.mailbox.counts.received - count for reader, count in zip(readers, first, strict=True)]
        result = {
            "cameras": cameras, "running": sum(reader.status.connection.state == "running" for reader in readers), "cores": round(cores, 3),
            "MB": round(resident()), "MB before": round(before), "threads": threading.active_count(),
            "frames per second": round(sum(received) / took, 1), "slowest camera": round(min(received) / took, 2),
            "reconnects": sum(max(0, reader.status.connection.connects - 1) for reader in readers),
        }  # fmt: skip
        for reader in readers:
            reader.stop()
        for reader in readers:
            reader.join(3)
    return result


class Watch:
    """Samples what a live run does, between its steps."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []
        self.run: Any = None

    def __call__(self) -> None:
        status = self.run.status()
        now = time.monotonic()
        if not self.rows or now - self.rows[-1]["at"] >= 1:
            self.rows.append({"at": now, "MB": resident(), "processed": {n: c.processed for n, c in status.cameras.items()}})


def live_run(urls: list[str], seconds: float, detector: str, rate: float | None, when: Any = None, reid: bool = True) -> dict[str, Any]:
    """The whole of ``passerby live``; the age of a picture is measured when its step is done."""
    import detectors
    from pipeline.address import Address
    from pipeline.config import load_config
    from pipeline.live.service import LiveRun
    from pipeline.sources.stream import StreamOptions, StreamReader
    from reid import Embedder
    from tracker import Site

    config = load_config(None, [], {"detector.model": detector})
    watch, names = Watch(), [f"camera{n}" for n in range(len(urls))]
    with tempfile.TemporaryDirectory() as out:
        run = LiveRun(
            lambda arrivals: {n: StreamReader(n, Address(url), StreamOptions(rate=rate), arrivals) for n, url in zip(names, urls, strict=True)},
            config, Path(out), Site(), detectors.load_detector(settings=config.detector), Embedder(settings=config.reid) if reid else None,
        )  # fmt: skip
        watch.run = run
        intake_done, ages = run.intake.done, dict[str, list[float]]()

        def done(frames: Any) -> None:
            intake_done(frames)
            for name, frame in frames.items():
                ages.setdefault(name, []).append(time.time() - frame.time)

        run.intake.done = done  # type: ignore[method-assign]
        cpu, began = time.process_time(), time.monotonic()
        if when is not None:
            threading.Timer(seconds / 2, when).start()
        run.run(duration=seconds, between=watch)
        status, took = run.status(), time.monotonic() - began
    warm = [age for name in names for age in ages.get(name, [])[10:]]
    steady = [row["MB"] for row in watch.rows if row["at"] - began > min(60, seconds / 3)]
    halves = {}
    for label, low, high in (("first half", 0.2, 0.5), ("second half", 0.55, 1.0)):
        rows = [row for row in watch.rows if low * seconds <= row["at"] - began <= high * seconds]
        if len(rows) > 1:
            span = rows[-1]["at"] - rows[0]["at"]
            halves[label] = {n: round((rows[-1]["processed"].get(n, 0) - rows[0]["processed"].get(n, 0)) / span, 2) for n in names}
    return {
        "seconds": round(took, 1), "cores": round((time.process_time() - cpu) / took, 2),
        "frames per second": round(sum(c.processed for c in status.cameras.values()) / took, 2),
        "age p50, p95, max": [round(float(v), 2) for v in (*np.percentile(warm, [50, 95]), max(warm))] if warm else None,
        "processed by camera": {n: c.processed for n, c in status.cameras.items()},
        "processed per second": halves,
        "accounts exact": all(c.received == c.processed + c.dropped + c.corrupt + c.failed + c.in_hand for c in status.cameras.values()),
        "in hand at the end": sum(c.in_hand for c in status.cameras.values()),
        "MB after the first minute": [round(steady[0]), round(max(steady))] if steady else None,
    }  # fmt: skip


def run_alone(clip: str, cameras: int, detector: str, frames: int) -> float:
    """Frames per second of ``passerby run`` over the same pictures, without annotated video."""
    from pipeline.config import load_config
    from pipeline.engine.cameras import specify
    from pipeline.jobs.run import Request, run

    config = load_config(None, ["output.video=false", f"reading.end={frames / 10}"], {"detector.model": detector})
    with tempfile.TemporaryDirectory() as out:
        began = time.monotonic()
        record = run(Request(specify([], [f"camera{n}={clip}" for n in range(cameras)]), config, Path(out)))
        return sum(one.processed for one in record.cameras.values()) / (time.monotonic() - began)


def ultralytics_run(urls: list[str], seconds: float, weights: str, when: Any) -> dict[str, Any]:
    """``YOLO.track`` over the same streams (a .streams file): the pictures that it hands over, by camera."""
    from ultralytics import YOLO

    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "cameras.streams"
        listed.write_text("\n".join(urls) + "\n")
        counts = {label: [0] * len(urls) for label in ("first half", "second half")}
        began = time.monotonic()
        threading.Timer(seconds / 2, when).start()
        for at, _ in enumerate(YOLO(weights).track(str(listed), stream=True, verbose=False, stream_buffer=False)):
            passed = time.monotonic() - began
            if passed > seconds:
                break
            for label, low, high in (("first half", 0.2, 0.5), ("second half", 0.55, 1.0)):
                if low * seconds <= passed <= high * seconds:
                    counts[label][at % len(urls)] += 1
    spans = {"first half": 0.3 * seconds, "second half": 0.45 * seconds}
    return {label: {f"camera{n}": round(count / spans[label], 2) for n, count in enumerate(of)} for label, of in counts.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["drain", "engine", "silent"])
    parser.add_argument("clip", nargs="?", help="what the cameras show")
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rate", type=float, default=10, help="frames per second of a camera")
    parser.add_argument("--take", type=float, help="frames per second that are taken at most")
    parser.add_argument("--detector", default="person-n")
    parser.add_argument("--ultralytics", help="weights for YOLO.track on the same streams")
    parser.add_argument("--no-reid", action="store_true")
    parser.add_argument("--compare", type=int, default=150, help="frames of each camera for passerby run")
    args = parser.parse_args()
    if args.what == "drain":
        print(json.dumps(drain(args.cameras, args.seconds, args.rate), indent=1))
        return
    with served(args.clip, (768, 576), args.rate, args.cameras) as (urls, channel):

        def silence() -> None:
            channel.send(str(args.cameras - 1))

        found = {
            "passerby live": live_run(
                urls, args.seconds, args.detector, args.take, silence if args.what == "silent" else None, not args.no_reid
            )
        }
    if args.what == "engine" and args.clip:
        found["passerby run, frames per second"] = round(run_alone(args.clip, args.cameras, args.detector, args.compare), 2)
    if args.ultralytics:
        with served(args.clip, (768, 576), args.rate, args.cameras) as (urls, channel):
            found["ultralytics"] = ultralytics_run(urls, args.seconds, args.ultralytics, lambda: channel.send(str(args.cameras - 1)))
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
