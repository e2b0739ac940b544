"""Throughput of the on-line linker on one core: updates per second of CPU time by people remembered and by cameras.

python benchmarks/linking_online.py [--people 500 5000] [--cameras 20 200] [--seconds 30] [--visible 1000] [--profile] [--plot FILE]

People are random unit vectors of 512 dimensions; a tracklet is its person's vector with noise. Each person was seen in three cameras before, and is settled. Then
``--visible`` people at a time walk for 15 s each, with one update per second and track, as ``passerby live`` gives them. CPU seconds of the whole
``add`` and ``advance`` are counted, so that other load on the machine does not.
"""

from __future__ import annotations

import argparse
import cProfile
import hashlib
import json
import pstats
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from tracker import Linker, LinkerSettings, Site, TrackletUpdate

DIMENSION, STAY, NOISE = 512, 15, 0.5


class Crowd:
    """Simulated people and the updates of their tracks. ``home``: groups of cameras that a person keeps to; None: all."""

    def __init__(self, people: int, cameras: int, seed: int = 0) -> None:
        self.rng = np.random.default_rng(seed)
        self.looks = self.rng.normal(size=(people, DIMENSION)).astype(np.float32)
        self.people, self.cameras, self.tracks = people, cameras, 0

    def unit(self, person: int, seen: float) -> np.ndarray:
        """The pooled embedding of so many seconds: what is noise in one look averages out."""
        row = self.looks[person] + self.rng.normal(0, NOISE, DIMENSION).astype(np.float32) / np.float32(np.sqrt(max(seen, 1.0)))
        return row / np.linalg.norm(row)

    def history(self, linker: Linker, visits: int = 3) -> float:
        """Everybody has been seen ``visits`` times, and is settled; returns the time after."""
        order = self.rng.permutation(np.repeat(np.arange(self.people), visits))
        rate = max(self.cameras / STAY, 1.0)  # tracks that begin per second
        for at, person in enumerate(order.tolist()):
            self.tracks += 1
            start = at / rate
            camera = f"c{int(self.rng.integers(self.cameras))}"
            linker.add([TrackletUpdate(camera, self.tracks, start, start + STAY, self.unit(person, STAY), float(STAY))])
            if at % 200 == 199:
                linker.advance(start)
        now = len(order) / rate + 200.0
        linker.advance(now)
        return float(np.ceil(now))

    def second(self, alive: list[tuple[int, str, int, float]], now: float, visible: int) -> list[TrackletUpdate]:
        """The updates of a second, and who is still there."""
        alive[:] = [one for one in alive if now - one[3] < STAY]
        while len(alive) < visible:
            self.tracks += 1
            age = 0.0 if now > self._full else float(self.rng.uniform(0, STAY))
            alive.append((int(self.rng.integers(self.people)), f"c{int(self.rng.integers(self.cameras))}", self.tracks, now - age))
        return [
            TrackletUpdate(camera, track, start, now + 1, self.unit(person, now + 1 - start), now + 1 - start)
            for person, camera, track, start in alive
        ]

    _full = 0.0


def measure(people: int, cameras: int, visible: int, seconds: int, profile: bool) -> dict[str, float | str]:
    crowd, linker = Crowd(people, cameras), Linker(Site(), LinkerSettings(lateness=0))
    now = crowd.history(linker)
    crowd._full = now  # those of the first second have been there for a while
    alive: list[tuple[int, str, int, float]] = []
    count, took, each, seen = 0, 0.0, [], hashlib.sha256()
    profiler = cProfile.Profile() if profile else None
    for second in range(seconds):
        updates = crowd.second(alive, now + second, visible)
        began = time.process_time()
        if profiler:
            profiler.enable()
        linker.add(updates)
        events = linker.advance(now + second + 1)
        if profiler:
            profiler.disable()
        each.append(time.process_time() - began)
        count, took = count + len(updates), took + each[-1]
        for event in events:
            seen.update(repr(event).encode())
    if profiler:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(28)
    return {
        "people": people,
        "remembered": len(linker),
        "looks": len(linker._graph.looks),
        "cameras": cameras,
        "visible": visible,
        "updates_per_cpu_second": round(count / took),
        "step_median_ms": round(1000 * float(np.median(each)), 1),
        "step_p95_ms": round(1000 * float(np.percentile(each, 95)), 1),
        "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "events_sha256": seen.hexdigest()[:16],
    }


def plot(rows: list[dict[str, float]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5.5, 4))
    for cameras in sorted({row["cameras"] for row in rows}):
        some = sorted((row["people"], row["updates_per_cpu_second"]) for row in rows if row["cameras"] == cameras)
        axes.loglog(*zip(*some, strict=True), marker="o", label=f"{cameras} cameras")
    axes.axhline(2000, color="grey", linestyle=":", linewidth=1)
    axes.set(xlabel="people remembered", ylabel="updates per CPU second, one core", title="On-line linker")
    axes.grid(alpha=0.3, which="both")
    axes.legend()
    figure.savefig(path, dpi=120, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, nargs="*", default=[500, 1500, 5000])
    parser.add_argument("--cameras", type=int, nargs="*", default=[20, 200])
    parser.add_argument("--visible", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=30)
    parser.add_argument("--profile", action="store_true")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)  # in a process that has its own peak memory
    args = parser.parse_args()
    if args.one or args.profile:
        print(json.dumps(measure(args.people[0], args.cameras[0], args.visible, args.seconds, args.profile)))
        return
    rows = []
    for cameras in args.cameras:
        for people in args.people:
            words = ["--one", "--people", people, "--cameras", cameras, "--visible", args.visible, "--seconds", args.seconds]
            done = subprocess.run([sys.executable, __file__, *map(str, words)], capture_output=True, text=True, check=True)
            rows.append(json.loads(done.stdout))
            print(rows[-1], flush=True)
    if args.plot:
        plot(rows, args.plot)


if __name__ == "__main__":
    main()
