"""Identities: who the sightings are, with names, tags and a history of what changed."""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.store.database import Database
from pipeline.store.records import HistoryEntry, Identity, Where
from pipeline.store.sightings import Sightings
from tracker import Event
from tracker.linking.evidence import probability

ORDERS = {
    "first": "i.first, i.id", "-first": "i.first DESC, i.id DESC", "last": "i.last, i.id", "-last": "i.last DESC, i.id DESC", "id": "i.id",
    "-sightings": "i.sightings DESC, i.id", "confidence": "i.confidence, i.id", "name": "i.name IS NULL, i.name, i.id",
}  # fmt: skip
HISTORY = "time, kind, identity, sighting, other, actor, odds"


class People:
    """The identities of a store. Association calls a person by a number of its source; the store has one identity for them over all sources."""

    def __init__(self, db: Database, sightings: Sightings) -> None:
        self._db, self._sightings = db, sightings

    # what association says

    def assign(self, source: int, decisions: Iterable[tuple[int, int, float]], at: float | None = None) -> None:
        """Identities from association over files: (sighting, number of the person in ``source``, confidence 0..1), all that it found.

        Numbers mean nothing from one association to the next: each goes to the identity that most of its sightings have already, if no other
        number has more of it. What a correction has pinned stays where it is.
        """
        every, at = list(decisions), time.time() if at is None else at
        with self._db.writing() as db:
            self._match(db, source, every)
            for sighting, number, confidence in every:
                self._to_number(db, source, sighting, number, confidence, "assigned", None, at)
            self._summarise(db)

    def _match(self, db: sqlite3.Connection, source: int, decisions: Sequence[tuple[int, int, float]]) -> None:
        """Say which identities the numbers of an association are."""
        db.execute("DELETE FROM numbers WHERE source = ?", (source,))
        shared: Counter[tuple[int, int]] = Counter()
        for sighting, number, _ in decisions:
            row = db.execute("SELECT identity FROM sightings WHERE id = ?", (sighting,)).fetchone()
            if row is not None and row[0] is not None:
                shared[number, row[0]] += 1
        taken, used = dict[int, int](), set[int]()
        for (number, identity), _ in sorted(shared.items(), key=lambda item: (-item[1], item[0])):
            if number not in taken and identity not in used:
                taken[number] = identity
                used.add(identity)
        db.executemany("INSERT INTO numbers (source, number, identity) VALUES (?, ?, ?)", [(source, *one) for one in sorted(taken.items())])

    def apply(self, source: int, events: Iterable[Event]) -> None:
        """Decisions of the on-line linker about tracks of ``source``; about tracks that the store does not know (yet) too: see ``claim``."""
        with self._db.writing() as db:
            for event in events:
                if event.kind == "merged":
                    self._merge_numbers(db, source, event.other or 0, event.identity, event)
                    continue
                row = db.execute(
                    """SELECT s.id FROM sightings s JOIN cameras c ON c.id = s.camera WHERE s.source = ? AND c.name = ? AND s.track = ?""",
                    (source, event.camera, event.track),
                ).fetchone()
                if row is not None:
                    self._to_number(db, source, row[0], event.identity, _probability(event.odds), event.kind, event.odds, event.time)
            self._summarise(db)

    def numbered(self, source: int, number: int) -> int | None:
        """The identity of whom ``source`` calls ``number``."""
        found = self._db.value("SELECT identity FROM numbers WHERE source = ? AND number = ?", (source, number))
        return None if found is None else int(found)

    def number(self, source: int, number: int) -> int:
        """The same, made if ``source`` has not called anybody so yet; nobody sees it before it has sightings."""
        with self._db.writing() as db:
            return self._identity(db, source, number)

    def claim(self, source: int, sighting: int, number: int, confidence: float) -> None:
        """The identity of a sighting that was decided before it was written."""
        with self._db.writing() as db:
            self._to_number(db, source, sighting, number, confidence, "assigned", None, time.time())
            self._summarise(db)

    def _to_number(
        self, db: sqlite3.Connection, source: int, sighting: int, number: int, confidence: float, kind: str, odds: float | None, at: float
    ) -> None:
        row = db.execute("SELECT number, identity, pinned FROM sightings WHERE id = ?", (sighting,)).fetchone()
        if row is None:
            raise UsageError(f"no sighting {sighting} in {self._db.path}")
        _, before, pinned = row
        if pinned:  # who has the number is the person that somebody put the sighting to, unless that is known otherwise
            db.execute("UPDATE sightings SET number = ? WHERE id = ?", (number, sighting))
            if before is not None:
                db.execute("INSERT OR IGNORE INTO numbers (source, number, identity) VALUES (?, ?, ?)", (source, number, before))
            return
        identity = self._identity(db, source, number)
        db.execute("UPDATE sightings SET number = ?, identity = ?, confidence = ? WHERE id = ?", (number, identity, confidence, sighting))
        if before != identity:
            self._changed(db, at, kind, identity, sighting, before, None, odds)
        self.touch(db, identity, before)

    def _identity(self, db: sqlite3.Connection, source: int, number: int) -> int:
        found = db.execute("SELECT identity FROM numbers WHERE source = ? AND number = ?", (source, number)).fetchone()
        if found is not None:
            return int(found[0])
        identity = self.new(db)
        db.execute("INSERT INTO numbers (source, number, identity) VALUES (?, ?, ?)", (source, number, identity))
        return identity

    def _merge_numbers(self, db: sqlite3.Connection, source: int, gone: int, into: int, event: Event) -> None:
        identity = self._identity(db, source, into)
        old = db.execute("SELECT identity FROM numbers WHERE source = ? AND number = ?", (source, gone)).fetchone()
        moved = [row[0] for row in db.execute("SELECT DISTINCT identity FROM sightings WHERE source = ? AND number = ?", (source, gone))]
        db.execute(
            "UPDATE sightings SET number = ?, identity = CASE WHEN pinned THEN identity ELSE ? END WHERE source = ? AND number = ?",
            (into, identity, source, gone),
        )
        db.execute("DELETE FROM numbers WHERE source = ? AND number = ?", (source, gone))
        if old is not None and old[0] != identity:
            self._changed(db, event.time, "merged", identity, None, old[0], None, event.odds)
            self._keep_name(db, old[0], identity)
        self.touch(db, identity, *moved)

    # what people say

    def rename(self, identity: int, name: str | None, actor: str) -> None:
        """Give a person a name, or take it away. Raises UsageError for an unknown identity."""
        with self._db.writing() as db:
            self._check(identity)
            db.execute("UPDATE identities SET name = ? WHERE id = ?", (name or None, identity))
            self._changed(db, time.time(), "named", identity, None, None, actor, None)

    def tag(self, identity: int, tag: str, actor: str, on: bool = True) -> None:
        """Set a tag (``staff``), or take it away. Raises UsageError for an unknown identity."""
        with self._db.writing() as db:
            self._check(identity)
            if on:
                db.execute("INSERT OR IGNORE INTO tags (identity, tag) VALUES (?, ?)", (identity, tag))
            else:
                db.execute("DELETE FROM tags WHERE identity = ? AND tag = ?", (identity, tag))
            self._changed(db, time.time(), "tagged" if on else "untagged", identity, None, None, actor, None)

    # reading

    def get(self, identity: int) -> Identity:
        """Raises UsageError for an unknown identity, and names the one that it became part of."""
        found = self._read("i.id = ?", (identity,), "i.id", 1, 0)
        if not found:
            into = self.now(identity)
            raise UsageError(f"no identity {identity} in {self._db.path}" + (f"; it is part of {into} now" if into != identity else ""))
        return found[0]

    def now(self, identity: int) -> int:
        """What an identity is part of after merges; itself if it was never merged."""
        seen: set[int] = set()
        while identity not in seen and not self._db.value("SELECT sightings FROM identities WHERE id = ?", (identity,)):
            seen.add(identity)
            into = self._db.value(
                "SELECT identity FROM history WHERE other = ? AND sighting IS NULL AND kind IN ('merged', 'same') ORDER BY id DESC LIMIT 1",
                (identity,),
            )
            identity = identity if into is None else int(into)
        return identity

    def query(
        self,
        where: Where | None = None,
        order: str = "-last",
        limit: int | None = None,
        offset: int = 0,
        name: str | None = None,
        tag: str | None = None,
    ) -> list[Identity]:
        """People of whom a sighting is in ``where``; ``name``: a part of it, ``tag``: one that they have. ``order``: one of ``ORDERS``."""
        with self._choosing(where, name, tag) as (condition, values):
            return self._read(condition, values, ORDERS[order], limit, offset)

    def count(self, where: Where | None = None, name: str | None = None, tag: str | None = None) -> int:
        with self._choosing(where, name, tag) as (condition, values):
            return int(self._db.value(f"SELECT count(*) FROM identities i WHERE {condition}", values))

    def history(self, identity: int) -> list[HistoryEntry]:
        """What happened to an identity, oldest first; of sightings that left it, too."""
        rows = self._db.rows(f"SELECT {HISTORY} FROM history WHERE identity = ? OR other = ? ORDER BY id", (identity, identity))
        return [HistoryEntry(*row) for row in rows]

    @contextmanager
    def _choosing(self, where: Where | None, name: str | None, tag: str | None) -> Iterator[tuple[str, list[Any]]]:
        parts, values = ["i.sightings > 0"], list[Any]()
        if name:
            parts.append("instr(lower(i.name), lower(?)) > 0")
            values.append(name)
        if tag:
            parts.append("i.id IN (SELECT identity FROM tags WHERE tag = ?)")
            values.append(tag)
        if where is None or where == Where():
            yield " AND ".join(parts), values
            return
        if where == Where(without_tag=where.without_tag):
            parts.append("i.id NOT IN (SELECT identity FROM tags WHERE tag = ?)")
            values.append(where.without_tag)
            yield " AND ".join(parts), values
            return
        with self._sightings._choosing(where) as (condition, more):
            parts.append(f"i.id IN (SELECT s.identity FROM sightings s WHERE s.identity IS NOT NULL AND {condition})")
            yield " AND ".join(parts), [*values, *more]

    def _read(self, condition: str, values: Sequence[Any], order: str, limit: int | None, offset: int) -> list[Identity]:
        rows = self._db.rows(
            f"""SELECT i.id, i.name, i.sightings, i.first, i.last, i.confidence, i.cover FROM identities i
            WHERE {condition} AND i.sightings > 0 ORDER BY {order} LIMIT ? OFFSET ?""",
            (*values, -1 if limit is None else limit, offset),
        )
        tags, cameras = dict[int, list[str]](), dict[int, list[str]]()
        with self._db.chosen(row[0] for row in rows) as chosen:
            for identity, tag in self._db.rows(f"SELECT identity, tag FROM tags JOIN {chosen} x ON x.id = identity ORDER BY tag"):
                tags.setdefault(identity, []).append(tag)
            for identity, camera in self._db.rows(
                f"""SELECT DISTINCT s.identity, c.name FROM {chosen} x CROSS JOIN sightings s ON s.identity = x.id JOIN cameras c ON c.id = s.camera
                ORDER BY c.name"""
            ):
                cameras.setdefault(identity, []).append(camera)
        return [
            Identity(one, name, tuple(tags.get(one, ())), count, first, last, confidence, cover, tuple(cameras.get(one, ())))
            for one, name, count, first, last, confidence, cover in rows
        ]

    # shared with corrections and erasure

    def new(self, db: sqlite3.Connection) -> int:
        """A new identity without sightings."""
        return int(db.execute("INSERT INTO identities DEFAULT VALUES").lastrowid or 0)

    def touch(self, db: sqlite3.Connection, *identities: int | None) -> None:
        """Note that the sightings of ``identities`` have changed."""
        self._touched(db).update(one for one in identities if one is not None)

    def _touched(self, db: sqlite3.Connection) -> set[int]:
        local = self._db._local
        if getattr(local, "touched", None) is None:
            local.touched = set()
        touched: set[int] = local.touched
        return touched

    def _summarise(self, db: sqlite3.Connection) -> None:
        """Bring the rows of touched identities up to date; empty ones stay for their history, and lose name and tags."""
        touched = self._touched(db)
        todo, self._db._local.touched = sorted(touched), None
        db.executemany(
            """UPDATE identities SET (sightings, first, last, confidence) =
                (SELECT count(*), coalesce(min(start), 0), coalesce(max(end), 0), coalesce(min(confidence), 0) FROM sightings WHERE identity = :id),
            cover = (SELECT id FROM sightings WHERE identity = :id AND crops > 0 ORDER BY quality * min(embeddings, 8) DESC LIMIT 1) WHERE id = :id""",
            [{"id": one} for one in todo],
        )
        db.executemany("UPDATE identities SET name = NULL WHERE id = ? AND sightings = 0", [(one,) for one in todo])
        db.executemany(
            "DELETE FROM tags WHERE identity = ? AND NOT EXISTS (SELECT 1 FROM identities WHERE id = identity AND sightings > 0)",
            [(one,) for one in todo],
        )

    def _keep_name(self, db: sqlite3.Connection, gone: int, identity: int) -> None:
        """The name and tags of an identity that becomes part of another, unless that has its own."""
        db.execute("UPDATE identities SET name = coalesce(name, (SELECT name FROM identities WHERE id = ?)) WHERE id = ?", (gone, identity))
        db.execute("INSERT OR IGNORE INTO tags (identity, tag) SELECT ?, tag FROM tags WHERE identity = ?", (identity, gone))

    def _changed(
        self,
        db: sqlite3.Connection,
        at: float,
        kind: str,
        identity: int,
        sighting: int | None,
        other: int | None,
        actor: str | None,
        odds: float | None,
    ) -> None:
        db.execute(f"INSERT INTO history ({HISTORY}) VALUES (?, ?, ?, ?, ?, ?, ?)", (at, kind, identity, sighting, other, actor, odds))

    def _check(self, identity: int) -> None:
        if not self._db.value("SELECT sightings FROM identities WHERE id = ?", (identity,)):
            self.get(identity)


def _probability(odds: float) -> float:
    return float(probability(np.array(odds)))
