"""Time for reading MOTChallenge text, ``passerby refine`` and ``passerby eval-identities``, by number of rows.

    python benchmarks/text_files.py [--sizes 25000,50000,100000]

Prints seconds for each size, and seconds per row relative to the smallest size: about 1 if the time is linear.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from pipeline.evaluation.identities import true_identities
from pipeline.formats.mot import DetectionsByFrame, read_tracks, write_rows
from pipeline.formats.tracklet import Tracklet
from pipeline.identities.recorded import read_runs
from pipeline.identities.refinement import refine_text
from pipeline.sinks.tracklets import TrackletFiles
from tracker.refine import RefineSettings

LENGTH, AT_ONCE = 250, 4  # frames of a track, people in view


def tables(frames: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Frames, ids and boxes of walking people, ``AT_ONCE`` in each of ``frames`` frames."""
    frame = np.repeat(np.arange(1, frames + 1), AT_ONCE)
    lane = np.tile(np.arange(AT_ONCE), frames)
    ids = (frame - 1) // LENGTH * AT_ONCE + lane
    left = (frame - 1) % LENGTH * 4.0
    return frame, ids, np.c_[left, 150.0 * lane, left + 50, 150.0 * lane + 120]


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def measure(frames: int, folder: Path) -> dict[str, float]:
    number, ids, boxes = tables(frames)
    path = folder / "tracks.txt"
    with path.open("w") as file:
        write_rows(file, number, ids, boxes, np.full(len(number), 0.9))
    files = TrackletFiles(folder / "run", {})
    for one in np.unique(ids).tolist():
        mine = np.flatnonzero(ids == one)
        files.finish(
            Tracklet(
                "a", one, number[mine], number[mine] / 25, boxes[mine].astype(np.float32), np.full(len(mine), 0.9, np.float32), None, 0, 0.0,
                (), (), 0, np.zeros(0), np.zeros((0, 0), np.float32),
            )
        )  # fmt: skip
    files.close()
    recorded = read_runs([folder / "run"])
    return {
        "read tracks": seconds(lambda: read_tracks(path)),
        "read detections": seconds(lambda: DetectionsByFrame(path)),
        "refine": seconds(lambda: refine_text(path, None, folder / "out.txt", RefineSettings(), None)),
        "eval-identities": seconds(lambda: true_identities(recorded, {"a": path})),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="25000,50000,100000", help="frames of the file, separated by commas")
    sizes = [int(size) for size in parser.parse_args().sizes.split(",")]
    results = {}
    for size in sizes:
        with tempfile.TemporaryDirectory() as scratch:
            results[size] = measure(size, Path(scratch))
    print("frames (rows)".ljust(20), *(f"{size} ({AT_ONCE * size})".rjust(22) for size in sizes))
    for name, first in results[sizes[0]].items():
        cells = (f"{results[size][name]:.2f} s, x{results[size][name] / first / (size / sizes[0]):.2f} per row" for size in sizes)
        print(name.ljust(20), *(cell.rjust(22) for cell in cells))


if __name__ == "__main__":
    main()
