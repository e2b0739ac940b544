"""Re-ID models: ms per crop on one core and on all, by batch; all in one run, beside other bundles that are given.

    python benchmarks/reid_speed.py [--reid mine.onnx]

Rounds go through all of them in turn; the median of the rounds is given. Crops are 160 x 64 px, their resizing included.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np

from reid import Embedder
from reid.embedder import WEIGHTS, EmbedderSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reid", nargs="*", default=[], help="further bundles (.onnx)")
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    models = [*sorted(path.stem for path in WEIGHTS.glob("*.onnx")), *options.reid]
    ways = [
        ((name, threads, batch), Embedder(settings=EmbedderSettings(model=name, threads=threads, device="cpu", batch=batch)), batch)
        for name in models
        for threads in dict.fromkeys([1, os.cpu_count() or 1])
        for batch in options.batch
    ]
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (160, 64, 3), np.uint8) for _ in range(max(options.batch))]
    took: dict[tuple, list[float]] = {way: [] for way, _, _ in ways}
    for turn in range(options.rounds + 1):
        for way, embedder, batch in ways:
            began = time.perf_counter()
            embedder.embed(crops[:batch])
            if turn:  # the first opens its arenas
                took[way].append((time.perf_counter() - began) / batch * 1000)
    print("| model | threads | batch | ms a crop | least |\n|---|---|---|---|---|")
    for (name, threads, batch), times in took.items():
        print(f"| {name} | {threads} | {batch} | {np.median(times):.1f} | {min(times):.1f} |")


if __name__ == "__main__":
    main()
