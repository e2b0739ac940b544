"""Seconds per training step of MPN: fp32, bf16, bf16 with PyTorch's own gradient of strided depthwise convolutions, compiled.

    python benchmarks/reid_training_speed.py [CONFIG] [--threads 2] [--compiled]

The variants take turns, on random noise, with augmentation and optimiser; the median is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
import torch
import yaml
from rounds import in_turns

from reid.datasets.split import Split
from reid.training.priors import Bodies
from reid.training.recipe import Recipe
from reid.training.train import Material, build, loss_terms, make_optimizer, map_size

IDS = 676


def training_step(recipe: Recipe) -> Callable[[], None]:
    n, rng = recipe.batch_ids * recipe.batch_images, np.random.default_rng(0)
    pictures = rng.integers(0, 256, (n, recipe.height, recipe.width, 3), np.uint8)
    bodies = None if recipe.prior == "stripes" else Bodies.whole(n)
    no_images = Split((), np.zeros(0, int), np.zeros(0, int), np.zeros(0, int))
    material = Material(pictures, np.arange(n) // recipe.batch_images, bodies, no_images, pictures[:0])
    mpn = build(recipe, IDS)
    optimizer, grid = make_optimizer(mpn, None, recipe), map_size(mpn, recipe)
    mpn.train()
    if recipe.compiled:
        mpn.backbone.compile()

    def step() -> None:
        terms = loss_terms(mpn, None, recipe, material, np.arange(n), rng, grid)
        optimizer.zero_grad(set_to_none=True)
        terms.sum().backward()
        optimizer.step()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path, nargs="?", default=Path("configs/reid/mpn-mobilenetv2-192-neck.yaml"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compiled", action="store_true", help="also time compiled steps; needs g++")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    recipe = Recipe.model_validate(yaml.safe_load(options.config.read_text()))
    single, half = (recipe.model_copy(update={"precision": precision}) for precision in ("fp32", "bf16"))
    ways = {"fp32": training_step(single), "bf16": training_step(half)}
    with mock.patch("reid.network.backbones.replace_strided_convs", lambda network: None):
        ways["bf16, PyTorch's own gradient of strided depthwise convolutions"] = training_step(half)
    if options.compiled:
        for name, like in (("fp32", single), ("bf16", half)):
            ways[f"{name}, compiled"] = training_step(like.model_copy(update={"compiled": True}))
    took = in_turns(ways, options.rounds)
    print(f"{options.config.stem}, {options.threads} threads\n\n| | s per step | relative to fp32 |\n|---|---|---|")
    for name, times in took.items():
        print(f"| {name} | {np.median(times) / 1000:.2f} | {np.median(times) / np.median(took['fp32']):.2f} |")


if __name__ == "__main__":
    main()
