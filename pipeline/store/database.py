"""The SQLite file: a connection per thread, transactions, and that nothing deleted stays behind in it."""

from __future__ import annotations

import sqlite3
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pipeline.errors import OutputError, UsageError
from pipeline.store.schema import PAGE, VERSION, migrate

APPLICATION = 0x50415342  # "PASB", in the file's header
WAIT = 30.0  # seconds that a writer waits for another


class _Connection(sqlite3.Connection):
    """One that can be referred to weakly."""


class Database:
    """The database at ``path``. Every thread has a connection of its own; readers wait for nobody.

    Raises UsageError for a file that is no store or of a newer version, OutputError if it cannot be opened or written.
    """

    def __init__(self, path: Path, create: bool = True) -> None:
        self.path = path
        self._local, self._lock = threading.local(), threading.Lock()
        self._open: weakref.WeakSet[_Connection] = weakref.WeakSet()  # a thread's goes when the thread ends
        self._closed = False
        if not path.is_file() and not create:
            raise UsageError(f"{path}: no such store; make one with passerby store import RUN... --store {path}")
        try:
            if not path.is_file():
                path.parent.mkdir(parents=True, exist_ok=True)
            db = self.connection
            version, application = (db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("user_version", "application_id"))
            empty = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        except (sqlite3.Error, OSError) as error:
            self.close()
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                raise UsageError(f"{path}: not a store ({error})") from None
            raise OutputError(f"{path}: cannot be opened ({error})") from None
        if not empty and application != APPLICATION:
            self.close()
            raise UsageError(f"{path}: an SQLite file, but not a store of passerby")
        if version > VERSION:
            self.close()
            raise UsageError(f"{path}: store version {version}; this passerby reads up to {VERSION}: update it")
        with _told(path):
            if version < VERSION:
                db.execute(f"PRAGMA application_id = {APPLICATION}")
                migrate(db, version)

    @property
    def connection(self) -> sqlite3.Connection:
        """This thread's connection."""
        if self._closed:
            raise OutputError(f"{self.path}: the store is closed")
        db: _Connection | None = getattr(self._local, "db", None)
        if db is None:
            db = sqlite3.connect(self.path, timeout=WAIT, isolation_level=None, check_same_thread=False, factory=_Connection)
            db.execute(f"PRAGMA page_size = {PAGE}")
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "secure_delete = ON", "cache_size = -32000", "temp_store = MEMORY"):
                db.execute(f"PRAGMA {pragma}").fetchall()
            self._local.db = db
            with self._lock:
                self._open.add(db)
        return db

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; it is on disk when the block has ended. Within another one of this thread it is part of that."""
        db = self.connection
        if db.in_transaction:
            yield db
            return
        with _told(self.path):
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """One view of the database for several queries, whatever is written meanwhile."""
        db = self.connection
        if db.in_transaction:
            yield db
            return
        db.execute("BEGIN")
        try:
            yield db
        finally:
            db.execute("COMMIT")

    def rows(self, query: str, values: Sequence[Any] | dict[str, Any] = ()) -> list[tuple[Any, ...]]:
        return self.connection.execute(query, values).fetchall()

    def row(self, query: str, values: Sequence[Any] | dict[str, Any] = ()) -> tuple[Any, ...] | None:
        return self.connection.execute(query, values).fetchone()

    def value(self, query: str, values: Sequence[Any] | dict[str, Any] = ()) -> Any:
        """The first column of the first row, or None."""
        found = self.row(query, values)
        return None if found is None else found[0]

    @contextmanager
    def chosen(self, ids: Iterable[int]) -> Iterator[str]:
        """A temporary table with a column ``id``, by its name; it lies in memory."""
        db = self.connection
        self._local.number = number = getattr(self._local, "number", 0) + 1
        name = f"temp.chosen_{number}"
        db.execute(f"CREATE TABLE {name} (id INTEGER PRIMARY KEY)")
        try:
            db.executemany(f"INSERT OR IGNORE INTO {name} VALUES (?)", ((int(one),) for one in ids))
            yield name
        finally:
            db.execute(f"DROP TABLE {name}")

    def scrub(self, wait: float = 10.0) -> bool:
        """Write the WAL back and cut it to nothing, so that what was deleted is in no file. False: a reader kept it from that for ``wait`` seconds."""
        db = self.connection
        db.execute(f"PRAGMA busy_timeout = {int(wait * 1000)}")
        try:
            busy = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        finally:
            db.execute(f"PRAGMA busy_timeout = {int(WAIT * 1000)}")
        return not busy

    def close(self) -> None:
        with self._lock:
            self._closed = True
            for db in list(self._open):
                db.close()


@contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what SQLite raises for a full disk or a locked file into OutputError."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise OutputError(f"{path}: cannot be written ({error})") from None
