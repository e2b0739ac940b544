"""How long the console's pages take over a store of many sightings: CPU and wall milliseconds of a request, second request on.

python benchmarks/console.py --sightings 1000000
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
from fastapi.testclient import TestClient

from pipeline.store import Store, open_store
from pipeline.store.schema import DAY, partition
from pipeline.web.access import Tokens
from pipeline.web.app import Console, create_app
from pipeline.web.guard import Guard

BEGAN = 1_700_006_400.0
PAGES = (
    "/people",
    "/people?order=-sightings",
    "/people?camera=cam007",
    "/people/17",
    "/cameras?camera=cam001",
    "/reports",
    "/review",
    "/now",
)


def fill(store: Store, sightings: int, people: int, cameras: int, days: int) -> None:
    """Sightings spread over cameras and days, each of one of ``people``, without pictures and embeddings."""
    rng, db = np.random.default_rng(0), store.db.connection
    source = store.sightings.add_source("run", None, "made", BEGAN).id
    feeds = [store.sightings.feed(source, f"cam{at:03d}", BEGAN) for at in range(cameras)]
    with store.writing():
        db.executemany("INSERT INTO identities (id, sightings) VALUES (?, 1)", ((one + 1,) for one in range(people)))
        for camera in feeds:
            for day in range(days):
                count = sightings // (cameras * days)
                starts = np.sort(rng.uniform(0, DAY, count)) + BEGAN + day * DAY
                first = partition(camera, int((BEGAN + day * DAY) // DAY))
                who = rng.integers(1, people + 1, count)
                rows = (
                    (first + at, source, camera, day * count + at, 0, start, start + 8, identity, 0.9, 40, 0.8, 0.7, 4, 0)
                    for at, (start, identity) in enumerate(zip(starts.tolist(), who.tolist(), strict=True))
                )
                db.executemany(
                    """INSERT INTO sightings (id, source, camera, track, session, start, end, identity, confidence, boxes, score, quality,
                    embeddings, crops) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                    rows,
                )
                db.execute(
                    "INSERT INTO partitions (camera, day, next, first, last) VALUES (?, ?, ?, ?, ?)",
                    (camera, int((BEGAN + day * DAY) // DAY), count + 1, float(starts[0]), float(starts[-1] + 8)),
                )
        db.execute(
            """UPDATE identities SET (sightings, first, last, confidence) = (SELECT count(*), coalesce(min(start), 0), coalesce(max(end), 0), 0.9
            FROM sightings WHERE identity = identities.id)"""
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sightings", type=int, default=1_000_000)
    parser.add_argument("--people", type=int, default=50_000)
    parser.add_argument("--cameras", type=int, default=50)
    parser.add_argument("--days", type=int, default=30)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, open_store(Path(folder), create=True) as store:
        fill(store, given.sightings, given.people, given.cameras, given.days)
        client = TestClient(create_app(Console(store), Guard(Tokens(Path(folder) / "tokens.json"))), base_url="http://localhost")
        for page in PAGES:
            walls, works = [], []
            for _ in range(4):
                wall, work = time.perf_counter(), time.process_time()
                answer = client.get(page)
                walls.append(time.perf_counter() - wall)
                works.append(time.process_time() - work)
                assert answer.status_code == 200, (page, answer.status_code)
            print(
                f"{page:28} {min(works[1:]) * 1000:6.0f} ms CPU {min(walls[1:]) * 1000:6.0f} ms wall  {len(answer.content) / 1e3:6.0f} kB"
            )


if __name__ == "__main__":
    main()
