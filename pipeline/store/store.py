"""``Store``: the parts of a store over one database, and what it knows of the re-ID model behind its embeddings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
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
from pipeline.store.settings import StoreSettings
from pipeline.store.sightings import Sightings
from pipeline.store.vectors import Vectors

FILE = "store.db"
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

    def close(self) -> None:
        self.db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
