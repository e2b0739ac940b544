"""Ablation of MPN on a short schedule: train every variant with every seed, and evaluate it on held-out people.

    python benchmarks/reid_ablation.py --data Market-1501-v15.09.15 -o ablation [--epochs 12] [--people 225] [--seed 0 --seed 1] [--precision bf16] [--only "without AT"]

MobileNetV2 at 96 x 48 px. Selection and evaluation use held-out training identities; the test split is not used. With few ``--people`` a
training soon saturates. Finished trainings are not repeated, so an interrupted ablation continues when it is started again. ``--priors`` adds
the priors body and mask (run passerby reid priors first), ``--teacher`` distillation from a bundle, without AT.
"""

from __future__ import annotations

import argparse
import csv
import statistics
from pathlib import Path

from reid.training.recipe import Recipe
from reid.training.train import train

VARIANTS: dict[str, dict[str, object]] = {
    "all (K = 4)": {},
    "without AT": {"auxiliary": False},
    "without alignment": {"alignment": 0.0},
    "without sharing": {"shared": False},
    "K = 1": {"parts": 1, "part_width": 1280, "part_dim": 1024},
    "K = 3": {"parts": 3, "part_width": 426, "part_dim": 341},
    "K = 6": {"parts": 6, "part_width": 213, "part_dim": 170},
    "with channel attention": {"attention": True},
    "without BNNeck": {"neck": False},
    "triplet loss weight 1": {"triplet": 1.0},
    "a quarter of the dimensions": {"part_dim": 64},
    "graph sampling, without AT": {"neighbours": 7, "auxiliary": False},
    "K = 1, without AT": {"parts": 1, "part_width": 1280, "part_dim": 1024, "auxiliary": False, "triplet": 1.0},
}
PRIORS: dict[str, dict[str, object]] = {"prior: body": {"prior": "body"}, "prior: mask": {"prior": "mask"}}


def last_row(log: Path) -> dict[str, float]:
    with log.open(newline="") as file:
        return {name: float(value) for name, value in list(csv.DictReader(file))[-1].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--people", type=int, default=225)
    parser.add_argument("--seed", type=int, action="append")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--precision", default="fp32", help="bf16 if the CPU supports it")
    parser.add_argument("--only", action="append", help="name of a variant to train; may be repeated")
    parser.add_argument("--priors", action="store_true")
    parser.add_argument("--teacher", type=Path)
    args = parser.parse_args()
    base = Recipe(
        backbone="mobilenetv2_100", neck=True, height=96, width=48, part_width=320, part_dim=256, triplet=8.0, warmup_epochs=2,
        epochs=args.epochs, people=args.people, threads=args.threads, precision=args.precision,
    )  # fmt: skip
    variants = VARIANTS | (PRIORS if args.priors else {})
    if args.teacher:
        variants = variants | {"distillation, without AT": {"teacher": args.teacher, "auxiliary": False}}
    seeds = args.seed or [0]
    found: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        for name, changes in variants.items():
            if args.only and name not in args.only:
                continue
            folder = args.out / f"{args.epochs}-epochs-{args.people}-people-{args.precision}" / name.replace(" ", "-") / f"seed-{seed}"
            if not (folder / "log.csv").exists() or last_row(folder / "log.csv")["epoch"] < args.epochs:
                train(Recipe.model_validate(base.model_dump() | changes | {"seed": seed}), args.data, folder, resume=True)
            found.setdefault(name, []).append(last_row(folder / "log.csv"))
    print(f"| {args.people} people, {args.epochs} epochs, {len(seeds)} seed(s) | mAP | Rank-1 | s per epoch |\n|---|---|---|---|")
    for name, rows in found.items():
        figures = []
        for key in ("held_out_map", "held_out_rank1"):
            values = [100 * row[key] for row in rows]
            spread = f" +- {statistics.stdev(values):.1f}" if len(values) > 1 else ""
            figures.append(f"{statistics.mean(values):.1f}{spread}")
        print(f"| {name} | {' | '.join(figures)} | {statistics.mean(row['seconds'] for row in rows):.0f} |")


if __name__ == "__main__":
    main()
