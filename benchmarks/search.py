"""Search in stores of Market-1501's test identities: is somebody found who is there, and said not to be there who is not?

python benchmarks/search.py --data MARKET-1501 [--cache FOLDER] [--reid NAME]

Half of the 750 test identities live in the store, with all their tracklets but one, which is searched for (as the whole tracklet, and as a single picture
of it); the distractors live there, too. Nobody of the other half does: a tracklet of each is searched for as well. The store's identities are those that
``associate`` finds, as after a run; its threshold is the one that it measures on itself for a false-positive rate of 1 %. Reported over the store's size:
rank-1 of those who are there; TPIR, the share of them whose person is a match, at the store's threshold and at the one that gives 1 % on the searches for
absent people; FPIR, the share of absent people for whom a match is reported; and rank-1 by the same embeddings in float32.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from camera_shift import embedded
from market_linking import tracklets

from pipeline.engine.file_run import reid_facts
from pipeline.formats.tracklet import Tracklet
from pipeline.identities.recorded import calibrated
from pipeline.store import Store, open_store
from pipeline.store.search import Found, Searcher
from reid import Embedder
from reid.datasets.layouts import read_split
from reid.datasets.split import Split
from tracker import AssociationSettings, Site, Tracklets, associate
from tracker.linking.evidence import probability

SEED, RATE = 5, 0.01
NAMES = (
    "probes", "absent", "rank-1", "TPIR", "FPIR", "TPIR at 1 %", "picture rank-1", "picture TPIR", "picture FPIR", "picture TPIR at 1 %",
    "rank-1, distance, float32", "rank-1, distance, float16",
)  # fmt: skip


def fill(store: Store, rows: Tracklets, facts: dict[str, str]) -> np.ndarray:
    """Write tracklets, and the identities that association finds; returns the (n,) ids of their sightings."""
    store.use_model(facts)
    source = store.sightings.add_source("run", "/market", "market", 0.0).id
    feeds = {name: store.sightings.feed(source, name, 1e9) for name in np.unique(rows.cameras).tolist()}
    ids = []
    with store.writing():
        for at, camera in enumerate(rows.cameras.tolist()):
            times = np.array([rows.start[at], rows.end[at]])
            one = Tracklet(
                camera, at, np.array([1, 2]), times, np.array([[0, 0, 64, 128]] * 2, np.float32), np.ones(2, np.float32), rows.embeddings[at], 1, 1.0, (), (), 0,
                np.zeros(0), np.zeros((0, 0), np.float32),
            )  # fmt: skip
            ids.append(store.sightings.add(source, feeds[camera], one))
    found = associate(rows, Site(), calibrated(AssociationSettings(), facts))
    store.people.assign(source, zip(ids, found.ids.tolist(), found.confidence.tolist(), strict=True))
    chances = probability(found.odds).tolist()
    store.corrections.suspect((ids[a], ids[b], chance) for (a, b), chance in zip(found.uncertain.tolist(), chances, strict=True))
    return np.array(ids)


def case(
    rows: Tracklets, people: np.ndarray, pictures: np.ndarray, present: int, strangers: int, facts: dict[str, str]
) -> dict[str, float]:
    """One size: ``present`` people in the store, and so many ``strangers`` with them."""
    rng = np.random.default_rng(SEED)
    known = rng.permutation(np.unique(people[people > 0]))
    inside, outside = known[:present], known[len(known) // 2 :]
    probes, stored = [], []
    for who in inside.tolist():
        mine = np.flatnonzero(people == who)
        rng.shuffle(mine)
        others = mine[1:]
        if len(others) and (rows.cameras[others] != rows.cameras[mine[0]]).any():
            probes.append(int(mine[0]))
            stored += others.tolist()
    stored += rng.permutation(np.flatnonzero(people <= 0))[:strangers].tolist()
    absent = [int(rng.choice(np.flatnonzero(people == who))) for who in outside.tolist()]
    kept = np.array(stored)
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder) / "store.db", create=True) as store:
        ids = fill(store, rows.take(kept), facts)
        who_is = dict(zip(ids.tolist(), people[kept].tolist(), strict=True))
        search = Searcher(store)
        numbers = {name: store.sightings.camera_numbers([name])[0] for name in np.unique(rows.cameras[kept]).tolist()}

        def ask(at: int, vector: np.ndarray) -> Found:
            return search.by_vectors(vector, camera=numbers.get(str(rows.cameras[at])), top=10)

        out: dict[str, float] = {"sightings": len(kept), "probes": len(probes), "absent": len(absent)}
        for kind, vectors in (("", rows.embeddings), ("picture ", pictures)):
            there = [(ask(at, vectors[at]), people[at]) for at in probes]
            away = [ask(at, vectors[at]) for at in absent]
            right = [found for found, who in there if who_is[found.hits[0].sighting.id] == who]
            best = np.sort([found.hits[0].odds for found in away])
            strict = float(np.quantile(best, 1 - RATE, method="higher"))
            out[f"{kind}rank-1"] = len(right) / len(there)
            out[f"{kind}TPIR"] = sum(found.hits[0].match for found in right) / len(there)
            out[f"{kind}FPIR"] = sum(not found.nobody for found in away) / len(away)
            out[f"{kind}TPIR at 1 %"] = sum(found.hits[0].odds > strict for found in right) / len(there)
        centres = search.measured()
        gallery = centres.centred_rows(rows.embeddings[kept], np.array([numbers[name] for name in rows.cameras[kept].tolist()]))
        queries = np.stack([centres.centred(rows.embeddings[at], numbers.get(str(rows.cameras[at]))) for at in probes])
        out["rank-1, distance, float32"] = float(np.mean(people[kept][np.argmax(queries @ gallery.T, 1)] == people[probes]))
        half = gallery_of(store, ids, centres, numbers, rows.cameras[kept])
        out["rank-1, distance, float16"] = float(np.mean(people[kept][np.argmax(queries @ half.T, 1)] == people[probes]))
        return out


def gallery_of(store: Store, ids: np.ndarray, centres: object, numbers: dict[str, int], cameras: np.ndarray) -> np.ndarray:
    """The same rows as the store keeps them."""
    return centres.centred_rows(store.vectors.of(ids), np.array([numbers[name] for name in cameras.tolist()]))  # type: ignore[attr-defined, no-any-return]


def one_picture_each(split: Split, embeddings: np.ndarray, rows: Tracklets, people: np.ndarray) -> np.ndarray:
    """(n, d) for each tracklet the embedding of a picture of its person in its camera."""
    rng, out = np.random.default_rng(SEED), rows.embeddings.copy()
    for at in range(len(out)):
        mine = (
            np.flatnonzero((split.ids == people[at]) & (np.array([f"c{one}" for one in split.cameras]) == rows.cameras[at]))
            if people[at] > 0
            else []
        )
        if len(mine):
            out[at] = embeddings[rng.choice(mine)]
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder in which embeddings are kept")
    parser.add_argument("--reid", default="mpn-s")
    given = parser.parse_args()
    embedder = Embedder(given.reid)
    split = read_split(given.data, "gallery")
    embeddings = embedded(embedder, split.paths, split.cameras, cache=given.cache)
    rows, people = tracklets(split, embeddings)
    pictures = one_picture_each(split, embeddings, rows, people)
    print("| store | " + " | ".join(NAMES) + " |\n|" + "---|" * (len(NAMES) + 1))
    for size in ((50, 0), (150, 300), (375, 2800)):
        found = case(rows, people, pictures, *size, reid_facts(embedder))
        numbers = [f"{found[name]:.0f}" if name in NAMES[:2] else f"{found[name]:.3f}" for name in NAMES]
        print(f"| {found['sightings']:.0f} | " + " | ".join(numbers) + " |", flush=True)


if __name__ == "__main__":
    main()
