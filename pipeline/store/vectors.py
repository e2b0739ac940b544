"""Embeddings of a store: float16 on disk, scored exactly in float32, camera by camera and day by day."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pipeline.store.database import Database
from pipeline.store.records import Where
from pipeline.store.schema import last_of, partition
from pipeline.store.sightings import Sightings

CHUNK = 512  # rows that are read and scored at a time: more would leave the cache, and the reading thread would wait for the other


@dataclass(frozen=True, eq=False)
class Block:
    """Embeddings of one camera: ``ids`` (n,) int64 ascending, ``rows`` (n, d) float16."""

    camera: int
    ids: np.ndarray
    rows: np.ndarray


class Vectors:
    """The embeddings of a store."""

    def __init__(self, db: Database, sightings: Sightings) -> None:
        self._db, self._sightings = db, sightings

    @property
    def dimension(self) -> int | None:
        """Of all embeddings; None before the first."""
        found = self._db.value("SELECT length(vector) / 2 FROM vectors LIMIT 1")
        return None if found is None else int(found)

    def get(self, sighting: int) -> np.ndarray | None:
        """(d,) float32 unit embedding of a sighting, None without one."""
        found = self._db.value("SELECT vector FROM vectors WHERE id = ?", (sighting,))
        return None if found is None else np.frombuffer(found, "<f2").astype(np.float32)

    def of(self, ids: np.ndarray) -> np.ndarray:
        """(n, d) float32 embeddings of sightings (n,), zeros where there is none."""
        with self._db.chosen(ids.tolist()) as chosen:
            rows = dict(self._db.rows(f"SELECT v.id, v.vector FROM {chosen} x CROSS JOIN vectors v ON v.id = x.id"))
        out = np.zeros((len(ids), self.dimension or 0), np.float32)
        for at, one in enumerate(ids.tolist()):
            if one in rows:
                out[at] = np.frombuffer(rows[one], "<f2")
        return out

    def count(self) -> int:
        return int(self._db.value("SELECT count(*) FROM vectors"))

    def blocks(self, where: Where | None = None) -> Generator[Block, None, None]:
        """The embeddings of the sightings that ``where`` chooses, in order of camera and day, at most ``CHUNK`` at a time."""
        where = where or Where()
        db, simple = self._db, where == Where(where.cameras, where.start, where.end)
        numbers = None if where.cameras is None else set(self._sightings.camera_numbers(where.cameras))
        parts = db.rows("SELECT camera, day, first, last FROM partitions ORDER BY camera, day")
        with self._among(None if simple else self._sightings.ids(where)) as chosen:
            waiting: list[tuple[int, bytes]] = []
            at = -1
            for camera, day, first, last in parts:
                if (numbers is not None and camera not in numbers) or (where.start or 0) > last or (where.end or np.inf) < first:
                    continue
                if camera != at and waiting:
                    yield _block(at, waiting)
                    waiting = []
                at = camera
                low = partition(camera, day)
                edge = simple and ((where.start is not None and where.start > first) or (where.end is not None and where.end < last))
                cursor = db.connection.execute(*self._select(low, edge, chosen, where))
                while found := cursor.fetchmany(CHUNK - len(waiting)):
                    waiting += found
                    if len(waiting) >= CHUNK:
                        yield _block(camera, waiting)
                        waiting = []
            if waiting:
                yield _block(at, waiting)

    def read_ahead(self, where: Where | None = None) -> Iterator[Block]:
        """As ``blocks``, read by another thread while the caller scores the block before; what this thread has not committed is not in it."""
        blocks = self.blocks(where)
        with ThreadPoolExecutor(1, "store") as pool:
            try:
                coming = pool.submit(next, blocks, None)
                while (block := coming.result()) is not None:
                    coming = pool.submit(next, blocks, None)
                    yield block
            finally:
                pool.submit(blocks.close).result()

    @contextmanager
    def _among(self, ids: np.ndarray | None) -> Iterator[str | None]:
        if ids is None:
            yield None
            return
        with self._db.chosen(ids.tolist()) as name:
            yield name

    def _select(self, low: int, edge: bool, chosen: str | None, where: Where) -> tuple[str, tuple[float, ...]]:
        """The query of one partition; only at the edge of the time asked for are single sightings looked at."""
        if chosen is not None:
            return (
                f"SELECT v.id, v.vector FROM {chosen} x JOIN vectors v ON v.id = x.id WHERE x.id BETWEEN ? AND ? ORDER BY v.id",
                (low, last_of(low)),
            )
        if not edge:
            return "SELECT id, vector FROM vectors WHERE id BETWEEN ? AND ? ORDER BY id", (low, last_of(low))
        return (
            """SELECT v.id, v.vector FROM vectors v JOIN sightings s ON s.id = v.id
            WHERE v.id BETWEEN ? AND ? AND s.start <= ? AND s.end >= ? ORDER BY v.id""",
            (low, last_of(low), where.end if where.end is not None else 1e308, where.start if where.start is not None else -1e308),
        )

    def nearest(self, queries: np.ndarray, where: Where | None = None, top: int = 10) -> tuple[np.ndarray, np.ndarray]:
        """The ``top`` sightings with the greatest product with any of ``queries`` (m, d): ids (k,) and products (k,) float32, greatest first.

        Exact over all embeddings that ``where`` chooses.
        """
        best = np.zeros(0, np.float32)
        ids = np.zeros(0, np.int64)
        matrix = np.atleast_2d(queries).astype(np.float32).T
        for block in self.read_ahead(where):
            scores = (block.rows.astype(np.float32) @ matrix).max(1)
            both, every = np.concatenate([best, scores]), np.concatenate([ids, block.ids])
            kept = np.argsort(-both, kind="stable")[:top] if len(both) <= 4 * top else _largest(both, top)
            best, ids = both[kept], every[kept]
        return ids, best


def _largest(values: np.ndarray, top: int) -> np.ndarray:
    some = np.argpartition(-values, top - 1)[:top]
    return some[np.argsort(-values[some], kind="stable")]


def _block(camera: int, rows: list[tuple[int, bytes]]) -> Block:
    ids = np.array([row[0] for row in rows], np.int64)
    return Block(camera, ids, np.frombuffer(b"".join([row[1] for row in rows]), "<f2").reshape(len(rows), -1))
