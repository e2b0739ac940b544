"""A parent linker over several sites' linkers against one linker over all cameras: IDF1 of tracklets, and CPU seconds.

python benchmarks/linking_sites_of_sites.py [--cameras 200] [--sites 4] [--people 400] [--minutes 10] [--seed 0]

People keep to one site for some visits, and then go on to another. Their looks are random unit vectors of 512 dimensions, and a tracklet is its person's vector with noise.
The parent is told of each visit of a local identity (``pipeline/centre/visits.py``), as ``passerby link --publish`` does.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.optimize import linear_sum_assignment

from pipeline.centre.visits import Visits
from tracker import Linker, LinkerSettings, Site, TrackletUpdate

DIMENSION, NOISE = 512, 0.5
Key = tuple[str, int]


def walks(people: int, cameras: int, sites: int, seconds: float, seed: int) -> tuple[list[TrackletUpdate], dict[Key, int]]:
    """All updates in the order of their ends, second by second, and whose each track is."""
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(people, DIMENSION)).astype(np.float32)
    updates, truth, track = [], {}, 0
    for person in range(people):
        now, site = float(rng.uniform(0, seconds / 2)), int(rng.integers(sites))
        while now < seconds:
            track += 1
            camera, stay = f"s{site}-{int(rng.integers(cameras // sites))}", int(rng.integers(5, 15))
            truth[camera, track] = person
            pooled = np.zeros(DIMENSION, np.float32)
            for second in range(1, stay + 1):
                pooled += looks[person] + rng.normal(0, NOISE * 2, DIMENSION).astype(np.float32)
                unit = pooled / np.linalg.norm(pooled)
                updates.append(TrackletUpdate(camera, track, now, float(np.ceil(now) + second), unit, 0.8 * second))
            now += stay + float(rng.uniform(5, 40))
            if rng.random() < 0.15:  # to another site
                site, now = int(rng.integers(sites)), now + float(rng.uniform(60, 180))
    return sorted(updates, key=lambda one: (one.end, one.key)), truth


def idf1(found: dict[Key, object], truth: dict[Key, int]) -> float:
    numbers = {number: at for at, number in enumerate(dict.fromkeys(found.values()))}
    common = np.zeros((max(truth.values()) + 1, len(numbers)))
    for key, number in found.items():
        common[truth[key], numbers[number]] += 1
    return float(common[linear_sum_assignment(-common)].sum()) / len(truth)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cameras", type=int, default=200)
    parser.add_argument("--sites", type=int, default=4)
    parser.add_argument("--people", type=int, default=400)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    updates, truth = walks(args.people, args.cameras, args.sites, 60 * args.minutes, args.seed)
    settings = LinkerSettings(lateness=0, retention=10**6)
    whole, above = Linker(Site(), settings), Linker(Site(), settings)
    names = [f"s{site}" for site in range(args.sites)]
    local, visits = {name: Linker(Site(), settings) for name in names}, {name: Visits(name, 60.0) for name in names}
    took, told, at = {"one": 0.0, "sites": 0.0, "parent": 0.0}, 0, 0
    for second in range(int(updates[-1].end) + 200):
        some = []
        while at < len(updates) and updates[at].end <= second:
            some.append(updates[at])
            at += 1
        began = time.process_time()
        whole.add(some)
        whole.advance(second)
        took["one"] += time.process_time() - began
        began = time.process_time()
        for one in some:
            local[one.camera.split("-")[0]].add([one])
        for name in names:
            local[name].advance(second)
        took["sites"] += time.process_time() - began
        began = time.process_time()
        for name in names:
            exemplars = visits[name].updates(local[name])
            told += len(exemplars)
            above.add(exemplars)
        above.advance(second - 2)
        took["parent"] += time.process_time() - began
    above.finish()
    of = {(name, number): above.identities[name, track] for name in names for track, number in visits[name].identity_of.items()}
    joined = {key: of[name, number] for name in names for key, number in local[name].identities.items()}
    print(f"{len(truth)} tracklets, {len(updates)} updates, {told} to the parent ({above.late} late)")
    print(f"IDF1: one linker {idf1(whole.identities, truth):.4f}, parent and {args.sites} linkers {idf1(joined, truth):.4f}")
    print("CPU seconds:", {name: round(seconds, 1) for name, seconds in took.items()})


if __name__ == "__main__":
    main()
