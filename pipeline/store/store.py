"""``Store``: the parts of a store over one database, and what it knows of the re-ID model behind its embeddings."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from pipeline.errors import UsageError
from pipeline.store.audit import Audit
from pipeline.store.corrections import Corrections
from pipeline.store.database import Database
from pipeline.store.events import Events
from pipeline.store.people import People
from pipeline.store.removal import remove
from pipeline.store.settings import StoreSettings
from pipeline.store.sightings import Sightings
from pipeline.store.vectors import Vectors

FILE = "store.db"
SILENT = 20.0  # seconds after which a feed that says nothing is over
FACTS = ("reid", "slope", "offset", "evidence")


def open_store(path: str | Path, settings: StoreSettings | None = None, create: bool = False) -> Store:
    """Open the store at ``path``, a file or an output folder that has one. ``create``: make it if there is none.

    Raises UsageError for a missing store or another file, OutputError if it cannot be opened or written.
    """
    path = Path(path)
    return Store(path / FILE if path.is_dir() or (create and not path.suffix) else path, settings, create)


class Store:
    """An open store; any number of threads and processes may use it at once. Use it as a context manager, or ``close`` it."""

    def __init__(self, path: Path, settings: StoreSettings | None = None, create: bool = False) -> None:
        self.path, self.settings = path, settings or StoreSettings()
        new = not path.is_file()
        self.db = Database(path, create)
        if new:
            os.chmod(path, 0o600)  # noqa: PTH101 - biometric data: nobody else's business
        self.sightings = Sightings(self.db, self.settings.crops)
        self.vectors = Vectors(self.db, self.sightings)
        self.people = People(self.db, self.sightings)
        self.corrections = Corrections(self.db, self.people)
        self.events = Events(self.db)
        self.audit = Audit(self.db)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """One transaction for several writes: on disk when the block ends, undone if it raises."""
        with self.db.writing():
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One view of the store for several queries, whatever is written meanwhile."""
        with self.db.reading():
            yield

    @property
    def facts(self) -> dict[str, str]:
        """The re-ID model of the embeddings: ``reid`` (SHA-256), ``slope``, ``offset`` and ``evidence`` as in ``tracklets.parquet``; empty before the first."""
        return {key: value for key, value in self.db.rows("SELECT key, value FROM meta") if key in FACTS}

    def use_model(self, facts: Mapping[str, str], what: str = "these sightings") -> None:
        """Say which re-ID model the next embeddings are of. Raises UsageError if the store holds those of another one."""
        known = self.facts.get("reid")
        if "reid" not in facts:
            return
        if known is not None and known != facts["reid"] and self.vectors.dimension is not None:
            raise UsageError(
                f"{self.path}: holds embeddings of another re-ID model ({known[:12]}) than {what} ({facts['reid'][:12]}): "
                "run again with the same --reid, or use another store"
            )
        if known == facts["reid"]:
            return
        with self.db.writing() as db:
            db.executemany("DELETE FROM meta WHERE key = ?", [(key,) for key in FACTS])
            db.executemany("INSERT INTO meta (key, value) VALUES (?, ?)", [(key, facts[key]) for key in FACTS if key in facts])

    def remove(self, sightings: Iterable[int]) -> int:
        """Delete sightings and all that belongs to them, people of whom none is left too; returns how many. ``scrub`` takes their last bytes from disk."""
        return remove(self.db, self.people, sightings)

    # what feeds the store from another process, and must take part in an erasure

    def feeding(self, source: int, over: bool = False) -> None:
        """Say that this process feeds the store from ``source``, now; ``over``: no longer."""
        key = f"feeding {source}"
        with self.db.writing() as db:
            if over:
                db.execute("DELETE FROM meta WHERE key = ?", (key,))
            else:
                db.execute("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)", (key, time.time()))

    def is_fed(self, source: int) -> bool:
        """Whether another process feeds the store from ``source``."""
        return time.time() - float(self.db.value("SELECT value FROM meta WHERE key = ?", (f"feeding {source}",)) or 0.0) < SILENT

    def want_erased(self, source: int, keys: Iterable[tuple[str, int]]) -> None:
        """Ask the process that feeds the store to let go of tracks (camera, track)."""
        with self.db.writing() as db:
            numbers = dict(self.db.rows("SELECT name, id FROM cameras"))
            db.executemany("INSERT OR IGNORE INTO erasing VALUES (?, ?, ?)", [(source, numbers[camera], track) for camera, track in keys])

    def wanted_erased(self, source: int) -> set[tuple[str, int]]:
        """Tracks that somebody wants erased and that this process may hold."""
        rows = self.db.rows("SELECT c.name, e.track FROM erasing e JOIN cameras c ON c.id = e.camera WHERE e.source = ?", (source,))
        return {(camera, track) for camera, track in rows}

    def erased(self, source: int) -> None:
        """This process holds nothing more of what was wanted erased."""
        with self.db.writing() as db:
            db.execute("DELETE FROM erasing WHERE source = ?", (source,))

    def scrub(self) -> bool:
        """Write everything back into the store's own file and empty its WAL. False: a reader kept it from that; call it again."""
        return self.db.scrub()

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
