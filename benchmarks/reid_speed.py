"""Speed of re-ID models: ms per crop on one core and on all cores, by batch size, for the shipped and other bundles.

    python benchmarks/reid_speed.py [--reid mine.onnx] [--device cpu openvino]

The models take turns; the median over the rounds is printed. Crops are 160 x 64 px; resizing is included.
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from itertools import product

import numpy as np
from rounds import in_turns

from detectors.runtime.errors import ModelError
from reid import Embedder
from reid.embedder import EmbedderSettings
from reid.shipped import shipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reid", nargs="*", default=[], help="other bundles (.onnx)")
    parser.add_argument("--device", nargs="*", default=["cpu"], choices=["cpu", "openvino"])
    parser.add_argument("--threads", type=int, nargs="*", default=[1, os.cpu_count() or 1])
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=21)
    options = parser.parse_args()
    models = [*shipped(), *options.reid]
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 256, (160, 64, 3), np.uint8) for _ in range(max(options.batch))]
    ways = {}
    for name, device, threads, batch in product(models, options.device, dict.fromkeys(options.threads), options.batch):
        try:
            embedder = Embedder(settings=EmbedderSettings(model=name, threads=threads, device=device, batch=batch))
        except ModelError as error:
            print(error)
            continue
        label = name if len(options.device) == 1 else f"{name}, {embedder.session.providers[0]}"
        ways[label, threads, batch] = partial(embedder.embed, crops[:batch])
    took = {way: [ms / way[-1] for ms in times] for way, times in in_turns(ways, options.rounds).items()}
    print("| model | threads | batch | ms per crop | min |\n|---|---|---|---|---|")
    for (name, threads, batch), times in took.items():
        print(f"| {name} | {threads} | {batch} | {np.median(times):.1f} | {min(times):.1f} |")


if __name__ == "__main__":
    main()
