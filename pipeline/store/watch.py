"""The watch list: people enrolled by picture, and an event when one is seen. Off unless ``store.watch`` is set; entries expire; all is logged."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from pipeline.errors import UsageError
from pipeline.store.records import Where
from pipeline.store.schema import DAY
from pipeline.store.search import Searcher
from pipeline.store.store import Store

LONGEST = 90.0  # days that an entry may last
PLAUSIBLE = 0.7  # distance from which on nobody is compared exactly


@dataclass(frozen=True)
class Watched:
    """Somebody on the watch list. ``created``, ``expires``: seconds since 1970; ``pictures``: how many show them."""

    id: int
    label: str
    created: float
    expires: float
    actor: str
    pictures: int


class WatchList:
    """The watch list of ``store``. Raises UsageError where ``store.watch`` is off: nobody is watched by accident."""

    def __init__(self, store: Store) -> None:
        if not store.settings.watch:
            raise UsageError("the watch list is off; whoever may decide it switches it on with store.watch=true")
        self.store, self._searcher = store, Searcher(store)

    def enrol(self, label: str, vectors: np.ndarray, days: float, actor: str) -> Watched:
        """Watch for the person of ``vectors`` (n, d), embeddings of pictures, for up to ``LONGEST`` days."""
        if not 0 < days <= LONGEST:
            raise UsageError(f"a watch-list entry lasts over 0 and up to {LONGEST:g} days, not {days:g}")
        rows, now = np.atleast_2d(vectors).astype("<f2"), time.time()
        if (dimension := self.store.vectors.dimension) not in (None, rows.shape[1]):
            raise UsageError(f"embeddings of {rows.shape[1]} dimensions, the store's have {dimension}: another re-ID model")
        with self.store.writing():
            number = self.store.db.value(
                "INSERT INTO watched (label, created, expires, actor, vectors) VALUES (?, ?, ?, ?, ?) RETURNING id",
                (label, now, now + days * DAY, actor, rows.tobytes()),
            )
            self.store.audit.log(actor, "enrolled on the watch list", f"watched:{number}", pictures=len(rows), days=days)
        return next(one for one in self.all() if one.id == number)

    def all(self) -> list[Watched]:
        """Whom the list holds; who has expired is deleted first."""
        self.expire()
        width = 2 * (self.store.vectors.dimension or 1)
        rows = self.store.db.rows("SELECT id, label, created, expires, actor, length(vectors) FROM watched ORDER BY id")
        return [Watched(one, label, created, expires, actor, max(1, size // width)) for one, label, created, expires, actor, size in rows]

    def remove(self, number: int, actor: str) -> None:
        """Raises UsageError for an unknown number."""
        with self.store.writing():
            if self.store.db.value("DELETE FROM watched WHERE id = ? RETURNING id", (number,)) is None:
                raise UsageError(f"nobody {number} on the watch list")
            self.store.audit.log(actor, "removed from the watch list")
            self.store.db.connection.execute("UPDATE audit SET subject = NULL WHERE subject = ?", (f"watched:{number}",))

    def expire(self, now: float | None = None) -> int:
        """Delete who has expired; returns how many."""
        now = time.time() if now is None else now
        if not self.store.db.value("SELECT 1 FROM watched WHERE expires <= ?", (now,)):
            return 0
        with self.store.writing():
            gone = self.store.db.rows("DELETE FROM watched WHERE expires <= ? RETURNING id", (now,))
            for (number,) in gone:
                self.store.audit.log("program", "expired on the watch list")
                self.store.db.connection.execute("UPDATE audit SET subject = NULL WHERE subject = ?", (f"watched:{number}",))
        return len(gone)

    def check(self, sighting: int) -> list[int]:
        """Compare a sighting with everybody on the list; returns the ids of events written, ``watch`` with ``label``, ``probability`` and ``threshold``.

        Who is near at all is searched for among the sightings of that camera's last day, so that the chance is that of any other search.
        """
        row = self.store.vectors.get(sighting)
        if row is None:
            return []
        everybody = self.store.db.rows("SELECT id, label, vectors FROM watched WHERE expires > ?", (time.time(),))
        if not everybody:
            return []
        me, measured, written = self.store.sightings.get(sighting), self._searcher.measured(), []
        camera = self.store.sightings.camera_numbers((me.camera,))[0]
        mine = measured.centred(row, camera)
        for number, label, stored in everybody:
            vectors = np.frombuffer(stored, "<f2").astype(np.float32).reshape(-1, len(row))
            pooled = vectors.sum(0) / max(float(np.linalg.norm(vectors.sum(0))), 1e-12)
            if 1 - float(measured.centred(pooled, None) @ mine) > PLAUSIBLE:
                continue
            found = self._searcher.by_vectors(vectors, Where((me.camera,), me.end - DAY, me.end))
            for hit in found.matches:
                if hit.sighting.id == sighting:
                    event = self.store.events.add(
                        "watch", me.start, me.camera, sighting, me.identity, f"watch/{number}/{sighting}", watched=number, label=label,
                        probability=round(hit.probability, 4), threshold=round(found.threshold.probability, 4),
                    )  # fmt: skip
                    written += [event] if event is not None else []
        return written
