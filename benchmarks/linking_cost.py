"""Cost of linking: seconds and memory of offline association by number of tracklets, and of a step of the online linker.

python benchmarks/linking_cost.py [--sizes 1000 10000 100000] [--people 5000] [--cameras 20] [--plot FILE]

People are random unit vectors, and a tracklet is its person's vector with noise. Each person has ten tracklets across the cameras.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tracker import Linker, LinkerSettings, Site, Tracklets, TrackletUpdate, associate

DIMENSION, EACH = 512, 10


def embeddings(rng: np.random.Generator, people: int, ids: np.ndarray) -> np.ndarray:
    centre = rng.normal(size=(people, DIMENSION)).astype(np.float32)
    rows = centre[ids] + rng.normal(0, 0.5, (len(ids), DIMENSION)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def offline(count: int, cameras: int) -> dict[str, float]:
    """Seconds, peak memory in MB, and the share of true tracklet pairs that were found."""
    rng = np.random.default_rng(0)
    people = max(1, count // EACH)
    truth = rng.integers(0, people, count)
    start = rng.uniform(0, 30.0 * count / cameras, count)
    names = np.array([f"c{camera}" for camera in rng.integers(0, cameras, count)], object)
    rows = Tracklets(names, np.arange(count), start, start + 10, embeddings(rng, people, truth))
    began = time.perf_counter()
    ids = associate(rows, Site()).ids
    took = time.perf_counter() - began
    pairs = np.unique(np.stack([ids, truth], 1), axis=0, return_counts=True)[1]
    return {
        "tracklets": count,
        "seconds": round(took, 2),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "recall": round(float((pairs * pairs).sum() / (np.unique(truth, return_counts=True)[1] ** 2).sum()), 3),
    }


def step(people: int, cameras: int, seconds: int = 60) -> dict[str, float]:
    """Milliseconds per step of a linker with ``people`` in memory, if ten of them per minute appear in each camera."""
    rng = np.random.default_rng(0)
    centre = rng.normal(size=(people, DIMENSION)).astype(np.float32)
    linker = Linker(Site(), LinkerSettings(lateness=0))
    number, times = 0, []

    def update(person: int, start: float, end: float, weight: float) -> TrackletUpdate:
        row = centre[person] + rng.normal(0, 0.5, DIMENSION).astype(np.float32)
        return TrackletUpdate(f"c{number % cameras}", number, start, end, row / np.linalg.norm(row), weight)

    for person in range(people):  # each has been seen three times
        for visit in range(3):
            number += 1
            linker.add([update(person, person * 3.0 + visit, person * 3.0 + visit + 2, 4.0)])
        if person % 100 == 99:
            linker.advance(person * 3.0)
    now = people * 3.0 + 300
    linker.advance(now)
    alive: list[tuple[int, int, float]] = []
    for second in range(seconds):
        for camera in range(cameras):
            if rng.random() < 10 / 60:
                number += cameras - number % cameras + camera
                alive.append((int(rng.integers(people)), number, now + second))
        for person, track, start in alive:
            number, kept = track, number
            linker.add([update(person, start, now + second + 1, 1.0 + 3 * (now + second - start))])
            number = max(kept, track)
        alive = [item for item in alive if now + second - item[2] < 15]
        began = time.perf_counter()
        linker.advance(now + second + 1)
        times.append(1000 * (time.perf_counter() - began))
    return {
        "people": len(linker),
        "cameras": cameras,
        "median_ms": round(float(np.median(times)), 1),
        "p95_ms": round(float(np.percentile(times, 95)), 1),
        "max_ms": round(max(times), 1),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def plot(rows: list[dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 4))
    for key, label in (("seconds", "seconds"), ("memory_mb", "peak memory, MB")):
        axes.loglog([row["tracklets"] for row in rows], [row[key] for row in rows], marker="o", label=label)
    axes.set(xlabel="tracklets", title="Offline association")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="*", default=[1000, 3000, 10_000, 30_000, 100_000])
    parser.add_argument("--people", type=int, default=5000)
    parser.add_argument("--cameras", type=int, default=20)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)  # one size, in a separate process that has its own peak memory
    args = parser.parse_args()
    if args.one is not None:
        print(json.dumps(offline(args.one, args.cameras) if args.one else step(args.people, args.cameras)))
        return
    rows = []
    for size in [*args.sizes, 0]:
        words = [sys.executable, __file__, "--one", str(size), "--people", str(args.people), "--cameras", str(args.cameras)]
        done = json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)
        print(done, flush=True)
        rows += [done] if size else []
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
