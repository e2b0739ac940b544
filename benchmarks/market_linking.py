"""Linking across six real cameras: Market-1501's test identities as tracklets, with distractors.

python benchmarks/market_linking.py --data FOLDER [--reid NAME] [--set association.prior_tracklets=30] [--embeddings FILE]

A tracklet holds the images of an identity in one camera and sequence with gaps of at most four seconds. Its times come from the file names
(25 frames per second, sequences one after another). Each distractor (id 0) is a tracklet of its own. All thresholds and settings were tuned
on 75 training identities that the model never saw, among the rest of the training split: those of the two baselines here, those of
``associate`` and ``Linker`` once.

``--embeddings``: an .npz of another model, with image ``names`` (n,) and ``rows`` (n, d), to evaluate as well.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from camera_shift import embedded

from pipeline.config import load_config
from pipeline.engine.file_run import reid_facts
from pipeline.evaluation.identities import PairScores, pair_scores
from pipeline.identities.recorded import calibrated
from reid import Embedder
from reid.datasets.layouts import MARKET, read_split
from reid.datasets.split import Split, held_out
from reid.evaluation.retrieval import read_embeddings
from tracker import AssociationSettings, Event, Linker, LinkerSettings, Site, Tracklets, TrackletUpdate, apply_events, associate
from tracker.linking.clustering import average_linkage
from tracker.linking.evidence import neighbours

RATE, SEQUENCE, LONGEST = 25.0, 7000.0, 100  # frames per second, maximum seconds of a sequence, maximum gap within a tracklet in frames


Method = Callable[[Tracklets, float], np.ndarray]


def kept_back(train: Split, embedder: Embedder) -> np.ndarray:
    """The training identities that the model's recipe held out."""
    seed, number = int(str(embedder.facts.recipe.get("held_out_seed", 0))), int(str(embedder.facts.recipe.get("held_out_ids", 75)))
    return np.unique(train.ids[held_out(train, number, seed)])


def tracklets(split: Split, embeddings: np.ndarray) -> tuple[Tracklets, np.ndarray]:
    """Tracklets of a split with (n, d) embeddings of its pictures, and their true identities, negative for distractors."""
    frame = np.array([int(match["frame"]) for path in split.paths if (match := MARKET.pattern.match(path.name))])
    sequence = split.sequences
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
    """Nearest-neighbour threshold: tracklets nearer than ``limit`` are one person."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    pairs, similarity = near(rows)
    kept = pairs[1 - similarity < limit]
    return connected_components(coo_array((np.ones(len(kept)), kept.T), shape=(len(rows), len(rows))), directed=False)[1]


def linkage(rows: Tracklets, limit: float) -> np.ndarray:
    """Average linkage by appearance only, without constraints."""
    pairs, similarity = near(rows)
    return average_linkage(len(rows), pairs, similarity - (1 - limit), missing=-0.2)


def scores(found: np.ndarray, truth: np.ndarray, asked: np.ndarray | None = None) -> PairScores:
    """Pair scores; ``asked`` (n,) bool: only of pairs with one of these rows, because the model was trained on the others."""
    if asked is None:
        return pair_scores(found, truth)

    def pairs(*labels: np.ndarray) -> float:
        index = np.unique(np.stack(labels, 1), axis=0, return_inverse=True)[1].ravel()
        every, other = np.bincount(index), np.bincount(index, ~asked)
        return float((every * (every - 1) - other * (other - 1)).sum() / 2)

    predicted, actual, correct = pairs(found), pairs(truth), pairs(found, truth)
    precision, recall = correct / predicted if predicted else 1.0, correct / actual
    return PairScores(precision, recall, 2 * precision * recall / (precision + recall) if correct else 0.0)


def chosen(method: Method, rows: Tracklets, truth: np.ndarray, asked: np.ndarray) -> float:
    limits = np.arange(0.02, 0.6, 0.02)
    return float(limits[int(np.argmax([scores(method(rows, limit), truth, asked).f1 for limit in limits]))])


def online(rows: Tracklets, site: Site, settings: LinkerSettings, association: AssociationSettings, counts: np.ndarray) -> np.ndarray:
    """Final identities of the linker, if it gets each tracklet when it ends."""
    order, events = np.argsort(rows.end, kind="stable").tolist(), list[Event]()
    linker = Linker(site, settings, association)
    for at in order:
        events += linker.advance(float(rows.end[at]))
        one = TrackletUpdate(
            str(rows.cameras[at]), int(rows.tracks[at]), float(rows.start[at]), float(rows.end[at]), rows.embeddings[at], float(counts[at])
        )
        linker.add([one])
    ids = apply_events({}, events + linker.finish())
    return np.array([ids[str(camera), int(track)] for camera, track in zip(rows.cameras, rows.tracks, strict=True)])


def draws(people: np.ndarray, number: int = 10) -> list[np.ndarray]:
    """Three in five of the ``people``, drawn again and again: what a figure owes to who was taken."""
    return [np.random.default_rng(seed).choice(people, len(people) * 3 // 5, replace=False) for seed in range(number)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reid", default=None)
    parser.add_argument("--embeddings", type=Path)
    parser.add_argument("--cache", type=Path, help="folder in which embeddings are kept")
    parser.add_argument("--tuning", action="store_true", help="Stop after the figures on the tuning identities.")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    args = parser.parse_args()
    embedder = Embedder(args.reid)
    train, test = read_split(args.data, "train"), read_split(args.data, "gallery")
    unseen = kept_back(train, embedder)
    config = load_config(sets=args.set)
    settings: AssociationSettings = calibrated(config.association, reid_facts(embedder))

    def show(name: str, found: PairScores, took: float) -> None:
        print(f"{name:46s} precision {found.precision:.3f}  recall {found.recall:.3f}  F1 {found.f1:.3f}  {took:.1f} s", flush=True)

    def baselines(name: str, tuned: tuple[Tracklets, np.ndarray], rows: Tracklets, truth: np.ndarray) -> None:
        asked = np.isin(tuned[1], unseen)
        for what, method in (("nearest-neighbour threshold", connected), ("average linkage, appearance only", linkage)):
            limit = chosen(method, *tuned, asked)
            began = time.perf_counter()
            show(f"{what}{name} ({limit:.2f})", scores(method(rows, limit), truth), time.perf_counter() - began)

    tuning = tracklets(train, embedded(embedder, train.paths, train.cameras, cache=args.cache))
    asked = np.isin(tuning[1], unseen)
    counts = np.full(len(asked), 2.0)
    for name, ids in (
        ("associate", associate(tuning[0], settings=settings).ids),
        ("on-line", online(tuning[0], Site(), config.linker, settings, counts)),
    ):
        show(f"{name}, on the tuning identities", scores(ids, tuning[1], asked), 0.0)
        drawn = [scores(ids, tuning[1], np.isin(tuning[1], some)).f1 for some in draws(unseen)]
        print(
            f"  mean F1 of {len(drawn)} draws of three in five of them {np.mean(drawn):.3f}, standard deviation {np.std(drawn):.3f}",
            flush=True,
        )
    if args.tuning:
        return
    rows, truth = tracklets(test, embedded(embedder, test.paths, test.cameras, cache=args.cache))
    print(f"{len(rows)} tracklets of {len(np.unique(truth[truth > 0]))} people and {int((truth < 0).sum())} distractors")
    baselines("", tuning, rows, truth)
    if args.embeddings:
        of_train, of_test = read_embeddings(args.embeddings, train, test)
        tuned, theirs = tracklets(train, of_train), tracklets(test, of_test)
        baselines(f", {args.embeddings.stem}", tuned, *theirs)
        began = time.perf_counter()
        found = associate(theirs[0], settings=config.association)
        show(f"associate, {args.embeddings.stem}", scores(found.ids, theirs[1]), time.perf_counter() - began)
    for name, changes in (
        ("associate", {}),
        ("  without time", {"time_weight": 0.0}),
        ("  without shared neighbours", {"shared_weight": 0.0}),
    ):
        began = time.perf_counter()
        found = associate(rows, settings=settings.changed(**changes))
        show(name, scores(found.ids, truth), time.perf_counter() - began)
    began = time.perf_counter()
    show("online", scores(online(rows, Site(), config.linker, settings, np.full(len(rows), 2.0)), truth), time.perf_counter() - began)


if __name__ == "__main__":
    main()
