"""Linking real people over six real cameras: Market-1501's test identities as tracklets, distractors kept.

python benchmarks/market_linking.py --data FOLDER [--reid NAME] [--set association.visits=30] [--plot FILE]

A tracklet is an identity in a camera and a sequence, its frames at most four seconds apart; its time is that of the file name
(25 per second, sequences one after another); a distractor (id 0) is a tracklet of its own. What is compared was set on 75
training identities that the model never saw: the thresholds of the two baselines here, the settings of ``associate`` once.
"""

from __future__ import annotations

import argparse
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

from pipeline.config import load_config
from pipeline.identity_evaluation import PairScores, pair_scores
from reid import Embedder
from reid.data import MARKET_NAME, Split, held_out, market1501
from reid.evaluate import embed_split
from tracker import AssociationSettings, Tracklets, associate
from tracker.clustering import average_linkage
from tracker.evidence import neighbours

RATE, SEQUENCE, LONGEST = 25.0, 7000.0, 100  # frames a second, seconds a sequence takes at most, frames within a tracklet


def kept_back(data: Path, embedder: Embedder) -> Split:
    """The training identities that the model's recipe kept back."""
    every = market1501(data, "bounding_box_train")
    seed, number = int(str(embedder.facts.recipe.get("seed", 0))), int(str(embedder.facts.recipe.get("held_out_ids", 75)))
    return every.take(held_out(every, number, seed))


def tracklets(split: Split, embedder: Embedder) -> tuple[Tracklets, np.ndarray]:
    """Tracklets of a split and their true identities, negative for distractors."""
    embeddings = embed_split(embedder, split)
    parts = [match for path in split.paths if (match := MARKET_NAME.match(path.name))]
    sequence, frame = np.array([int(m[3]) for m in parts]), np.array([int(m[4]) for m in parts])
    order = np.lexsort((frame, sequence, split.cameras, split.ids))
    ids, cameras, sequence, frame = split.ids[order], split.cameras[order], sequence[order], frame[order]
    new = np.r_[
        True, (np.diff(ids) != 0) | (np.diff(cameras) != 0) | (np.diff(sequence) != 0) | (np.diff(frame) > LONGEST) | (ids[1:] == 0)
    ]
    which, first = np.cumsum(new) - 1, np.flatnonzero(new)
    last = np.r_[first[1:] - 1, len(ids) - 1]
    pooled = np.zeros((len(first), embeddings.shape[1]), np.float32)
    np.add.at(pooled, which, embeddings[order])
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    base = sequence[first] * SEQUENCE
    truth = np.where(ids[first] == 0, -np.arange(1, len(first) + 1), ids[first])
    names = np.array([f"c{camera}" for camera in cameras[first]], object)
    return Tracklets(names, np.arange(len(first)), base + frame[first] / RATE, base + frame[last] / RATE, pooled), truth


def near(rows: Tracklets) -> tuple[np.ndarray, np.ndarray]:
    pairs = neighbours(rows.embeddings, 40)
    return pairs, np.einsum("nd,nd->n", rows.embeddings[pairs[:, 0]], rows.embeddings[pairs[:, 1]]).astype(np.float64)


def connected(rows: Tracklets, limit: float) -> np.ndarray:
    """Nearest-neighbour threshold: whoever is nearer than ``limit`` is the same."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs, similarity = near(rows)
    kept = pairs[1 - similarity < limit]
    return connected_components(coo_array((np.ones(len(kept)), kept.T), shape=(len(rows), len(rows))), directed=False)[1]


def linkage(rows: Tracklets, limit: float) -> np.ndarray:
    """Average linkage of appearance alone, nothing forbidden."""
    pairs, similarity = near(rows)
    return average_linkage(len(rows), pairs, similarity - (1 - limit), missing=-0.2)


def chosen(method, rows: Tracklets, truth: np.ndarray) -> float:
    limits = np.arange(0.02, 0.6, 0.02)
    return float(limits[int(np.argmax([pair_scores(method(rows, limit), truth).f1 for limit in limits]))])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reid", default=None)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    embedder = Embedder(args.reid)
    tuning, tuning_truth = tracklets(kept_back(args.data, embedder), embedder)
    rows, truth = tracklets(market1501(args.data, "bounding_box_test"), embedder)
    print(f"{len(rows)} tracklets of {len(np.unique(truth[truth > 0]))} people and {int((truth < 0).sum())} distractors")

    def tell(name: str, scores: PairScores, took: float) -> None:
        print(f"{name:46s} precision {scores.precision:.3f}  recall {scores.recall:.3f}  F1 {scores.f1:.3f}  {took:.1f} s", flush=True)

    for name, method in (("nearest-neighbour threshold", connected), ("average linkage, appearance alone", linkage)):
        limit = chosen(method, tuning, tuning_truth)
        began = time.perf_counter()
        tell(f"{name} ({limit:.2f})", pair_scores(method(rows, limit), truth), time.perf_counter() - began)
    calibration = embedder.facts.for_tracklets
    settings: AssociationSettings = replace(load_config(sets=args.set).association, slope=calibration.slope, offset=calibration.offset)
    for name, changes in (
        ("associate", {}),
        ("  without time", {"time_weight": 0.0}),
        ("  without shared neighbours", {"shared": 0.0}),
    ):
        began = time.perf_counter()
        found = associate(rows, settings=replace(settings, **changes))
        tell(name, pair_scores(found.ids, truth), time.perf_counter() - began)
    tell("associate, on the identities it was set on", pair_scores(associate(tuning, settings=settings).ids, tuning_truth), 0.0)


if __name__ == "__main__":
    main()
