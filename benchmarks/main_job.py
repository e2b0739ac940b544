"""``passerby run`` as a whole: frames per second, share of time outside the models, and peak memory for a short and a long clip.

    python benchmarks/main_job.py CLIP                          # the shipped models, start-up included
    python benchmarks/main_job.py CLIP --times 10 --boxes DET   # memory: the clip, and ten repetitions of it, with given detections

``DET``: detections of the clip in MOTChallenge format. They replace the detector, which shortens the long run.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import av

COMMAND = [sys.executable, "-m", "pipeline.cli.app", "run"]


def in_a_row(clip: Path, times: int, out: Path) -> int:
    """Write ``clip`` repeated ``times`` times, by copying packets; returns its number of frames."""
    frames = 0
    with av.open(str(out), "w") as writer:
        stream = None
        for turn in range(times):
            with av.open(str(clip)) as reader:
                source = reader.streams.video[0]
                stream = stream or writer.add_stream_from_template(source)
                frames = 0
                for packet in reader.demux(source):
                    if packet.dts is None:
                        continue
                    step = packet.duration or 1
                    packet.stream = stream
                    packet.pts = packet.dts = (turn * source.frames + frames) * step
                    frames += 1
                    writer.mux(packet)
    return frames


def repeated_boxes(path: Path, frames: int, times: int, out: Path) -> None:
    rows = [line.split(",", 1) for line in path.read_text().splitlines() if line.strip()]
    out.write_text("".join(f"{int(float(frame)) + turn * frames},{rest}\n" for turn in range(times) for frame, rest in rows))


def measure(arguments: list[str], out: Path) -> dict[str, float]:
    """Run the command in a separate process."""
    began = time.perf_counter()
    process = subprocess.Popen([*COMMAND, *arguments, "-o", str(out), "--quiet"])
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - began
    if status:
        raise SystemExit(f"passerby run ended with status {status}")
    record = json.loads((out / "run.json").read_text())
    frames = sum(camera["processed"] for camera in record["cameras"].values())
    return {
        "frames": frames,
        "frames_per_second": round(frames / wall, 2),
        "outside_inference_share": record["timing"]["outside_inference_share"],
        "peak_megabytes": round(usage.ru_maxrss / 1024),
        "stages_ms_per_frame": {name: round(1e3 * value / frames, 2) for name, value in record["timing"]["stages_seconds"].items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--times", type=int, default=1)
    parser.add_argument("--boxes", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        given = ["--detections", str(args.boxes)] if args.boxes else []
        print(json.dumps(measure([str(args.clip), *given], folder / "once")))
        if args.times > 1:
            clip = folder / f"long{args.clip.suffix}"
            frames = in_a_row(args.clip, args.times, clip)
            if args.boxes:
                repeated_boxes(args.boxes, frames, args.times, folder / "long.txt")
                given = ["--detections", str(folder / "long.txt")]
            print(json.dumps(measure([str(clip), *given], folder / "many")))


if __name__ == "__main__":
    main()
