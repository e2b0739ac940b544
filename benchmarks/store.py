"""The store at scale: how fast it is written, searched, listed and erased from, and that search is exact.

``python benchmarks/store.py --rows 1000000`` makes a store of drawn embeddings (``--dimension`` 512) of ``--cameras`` 50 over ``--days`` 30, ten sightings a
person, in a folder that it deletes again. Times are wall and CPU seconds of this process, the median of ``--repeat``; embeddings are normal vectors around
a person's own, so that nothing is known of how well people are told apart: see ``benchmarks/search.py`` for that.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from pipeline.formats.tracklet import Tracklet
from pipeline.store import Store, Where, open_store
from pipeline.store.search import Searcher

BEGAN, DAY, CHUNK, PER_PERSON = 1_780_272_000.0, 86400.0, 5000, 10


def embeddings(chunk: int, rows: int, dimension: int) -> np.ndarray:
    """(n, d) float32 unit rows of a chunk of sightings; every ``PER_PERSON`` in a row are one person's."""
    rng = np.random.default_rng([7, chunk])
    people = np.repeat(rng.standard_normal((rows // PER_PERSON + 1, dimension), np.float32), PER_PERSON, 0)[:rows]
    out = people + 0.7 * rng.standard_normal((rows, dimension), np.float32)
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def chunks(rows: int) -> Iterator[tuple[int, int]]:
    for begin in range(0, rows, CHUNK):
        yield begin, min(CHUNK, rows - begin)


def fill(store: Store, rows: int, dimension: int, cameras: int, days: int, by_sql: int) -> float:
    """Write drawn sightings in transactions of ``CHUNK``, in order of time, those from ``by_sql`` on by plain SQL; returns rows per second of the others."""
    source = store.sightings.add_source("run", "/benchmark", "benchmark", BEGAN).id
    feeds = [store.sightings.feed(source, f"camera{at:02d}", BEGAN) for at in range(cameras)]
    boxes = np.tile(np.array([[10, 20, 50, 120]], np.float32), (4, 1))
    began, spent, written = time.perf_counter(), 0.0, 0
    for begin, count in chunks(rows):
        vectors = embeddings(begin, count, dimension)
        starts = (begin + np.arange(count)) / rows * days * DAY
        which = [((begin + at) * 7919) % cameras for at in range(count)]
        if begin >= by_sql:
            spent = spent or time.perf_counter() - began
            insert(store, source, feeds, begin, starts, which, vectors)
            continue
        with store.writing():
            done = []
            for at in range(count):
                tracklet = Tracklet(
                    f"camera{which[at]:02d}", begin + at + 1, np.arange(1, 5), starts[at] + np.arange(4) * 0.5, boxes, np.full(4, 0.9, np.float32),
                    vectors[at], 4, 0.8, (), (), 0, np.zeros(0), np.zeros((0, 0), np.float32),
                )  # fmt: skip
                done.append((store.sightings.add(source, feeds[which[at]], tracklet), (begin + at) // PER_PERSON, 0.9))
            claim(store, source, done)
        written += count
    return written / (spent or time.perf_counter() - began)


def insert(store: Store, source: int, feeds: list[int], begin: int, starts: np.ndarray, which: list[int], vectors: np.ndarray) -> None:
    """The same as through the store's own methods, but for paths, in a tenth of the time."""
    with store.db.writing() as db:
        sightings, rows, people = [], [], dict[int, list[tuple[int, float]]]()
        for at, camera in enumerate(which):
            number = store.sightings._new_id(feeds[camera], BEGAN + starts[at], BEGAN + starts[at] + 1.5)
            person = (begin + at) // PER_PERSON
            people.setdefault(person, []).append((number, starts[at]))
            sightings.append(
                (number, source, feeds[camera], begin + at + 1, BEGAN + starts[at], BEGAN + starts[at] + 1.5, person, person + 1)
            )
            rows.append((number, vectors[at].astype("<f2").tobytes()))
        db.executemany(
            """INSERT INTO sightings (id, source, camera, track, session, start, end, number, identity, confidence, boxes, score, quality, embeddings, crops)
            VALUES (?, ?, ?, ?, 0, ?, ?, ?, ?, 0.9, 4, 0.9, 0.8, 4, 0)""",
            sightings,
        )
        db.executemany("INSERT INTO vectors (id, vector) VALUES (?, ?)", rows)
        db.executemany(
            "INSERT OR IGNORE INTO numbers (source, number, identity) VALUES (?, ?, ?)", [(source, one, one + 1) for one in people]
        )
        db.executemany(
            "INSERT OR IGNORE INTO identities (id, sightings, first, last, confidence) VALUES (?, ?, ?, ?, 0.9)",
            [(one + 1, len(of), BEGAN + of[0][1], BEGAN + of[-1][1] + 1.5) for one, of in people.items()],
        )


def claim(store: Store, source: int, done: list[tuple[int, int, float]]) -> None:
    """Identities of new sightings, as a live linker gives them: one summary a transaction."""
    with store.db.writing() as db:
        for sighting, person, sure in done:
            store.people._to_number(db, source, sighting, person, sure, "assigned", None, BEGAN)
        store.people._summarise(db)


def measured(work: Callable[[], object], repeat: int) -> dict[str, float]:
    """Median seconds of ``work``, wall and CPU."""
    wall, cpu = [], []
    for _ in range(repeat):
        a, b = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - a)
        cpu.append(time.process_time() - b)
    return {"wall_s": round(statistics.median(wall), 4), "cpu_s": round(statistics.median(cpu), 4)}


def recall(store: Store, rows: int, dimension: int, queries: np.ndarray) -> float:
    """Of the ten nearest by float32, found among the ten that the store names (float16)."""
    best = [(np.zeros(0), np.zeros(0, np.int64)) for _ in queries]
    for begin, count in chunks(rows):
        scores = embeddings(begin, count, dimension) @ queries.T
        for at, (held, numbers) in enumerate(best):
            both, every = np.concatenate([held, scores[:, at]]), np.concatenate([numbers, np.arange(begin, begin + count)])
            order = np.argsort(-both)[:10]
            best[at] = both[order], every[order]
    hits = 0
    for query, (_, numbers) in zip(queries, best, strict=True):
        ids, _ = store.vectors.nearest(query, top=10)
        tracks = {store.sightings.get(one).track - 1 for one in ids.tolist()}
        hits += len(tracks & set(numbers.tolist()))
    return hits / (10 * len(queries))


class Told(dict[str, object]):
    """Results that are also written to standard error as they come: a large store takes its time."""

    def __setitem__(self, key: str, value: object) -> None:
        super().__setitem__(key, value)
        print(f"{key}: {value}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--dimension", type=int, default=512)
    parser.add_argument("--cameras", type=int, default=50)
    parser.add_argument("--days", type=int, default=30)
    parser.add_argument("--by-sql", type=int, default=20_000, help="Write the rows from here on by plain SQL, which is faster.")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="Where to make the store; default: the system's temporary folder.")
    given = parser.parse_args()
    out = Told({"rows": given.rows, "dimension": given.dimension, "cameras": given.cameras, "days": given.days})
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, open_store(Path(folder) / "store.db", create=True) as store:
        out["written_rows_per_s"] = round(fill(store, given.rows, given.dimension, given.cameras, given.days, given.by_sql))
        store.scrub()
        out["disk_mb"] = round(store.path.stat().st_size / 1e6)
        queries = embeddings(0, 50, given.dimension)[::PER_PERSON]
        day = Where(("camera07",), BEGAN + 10 * DAY, BEGAN + 11 * DAY - 1)
        week = Where(None, BEGAN + 10 * DAY, BEGAN + 17 * DAY - 1)
        for name, where in (("camera_and_day", day), ("week_of_all", week), ("everything", None)):
            out[name] = measured(lambda where=where: store.vectors.nearest(queries[0], where), given.repeat)  # type: ignore[misc]
        out["recall_at_10"] = recall(store, given.rows, given.dimension, queries)
        search, first = Searcher(store), store.sightings.query(day, limit=1)[0].id
        out["measure_site_and_threshold"] = measured(search.threshold, 1)
        out["threshold"] = search.threshold().probability
        for name, where in (("search_camera_and_day", day), ("search_week", week), ("search_everything", None)):
            out[name] = measured(lambda where=where: search.by_sighting(first, where), given.repeat)  # type: ignore[misc]
        out["people_page"] = measured(lambda: store.people.query(order="-last", limit=50), given.repeat)
        out["people_of_a_camera_and_hour"] = measured(
            lambda: store.people.query(Where(("camera07",), BEGAN + 10 * DAY, BEGAN + 10 * DAY + 3600), limit=50), given.repeat
        )
        out["sightings_of_a_camera_and_day"] = measured(lambda: store.sightings.query(day), given.repeat)

        def forget() -> None:
            person = store.people.query(order="-last", limit=1)[0]
            store.remove(one.id for one in store.sightings.query(Where(identities=(person.id,))))
            assert store.scrub()

        out["forget_a_person"] = measured(forget, given.repeat)
    out["peak_memory_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    print(json.dumps(out, indent=1))


if __name__ == "__main__":
    main()
