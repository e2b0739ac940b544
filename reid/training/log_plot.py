"""Plot the log of a training. Needs the extra ``[train]``."""

from __future__ import annotations

import csv
from pathlib import Path


def plot_log(log: Path, out: Path) -> None:
    """Plot losses and held-out metrics over epochs from ``log.csv``."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    with log.open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    epochs = [row["epoch"] for row in rows]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name in rows[0]:
        if name not in ("epoch", "seconds") and not name.startswith("held_out"):
            left.plot(epochs, [row[name] for row in rows], label=name)
    for name, label in (("held_out_map", "mAP"), ("held_out_rank1", "Rank-1")):
        right.plot(epochs, [row[name] for row in rows], label=f"{label}, last {rows[-1][name]:.3f}")
    left.set(xlabel="epoch", ylabel="loss", yscale="log")
    right.set(xlabel="epoch", ylabel="held-out people", ylim=(0, 1))
    for axes in (left, right):
        axes.legend(loc="best", fontsize=8)
        axes.grid(alpha=0.3)
    figure.savefig(out, dpi=110)
    pyplot.close(figure)
