"""Removal of sightings with all that belongs to them, the one way in which anything leaves a store."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from pipeline.store.database import Database
from pipeline.store.people import People
from pipeline.store.schema import DAY_BITS, NUMBER_BITS

NEVER = 1e300  # first, and last below 0, of a partition that holds nothing: its row keeps the next number, so that no id is used twice
BY_SIGHTING = (
    ("vectors", "id"), ("paths", "sighting"), ("crops", "sighting"), ("visits", "sighting"), ("events", "sighting"), ("history", "sighting"),
    ("pairs", "a"), ("pairs", "b"), ("corrected", "sighting"), ("sightings", "id"),
)  # fmt: skip


def remove(db: Database, people: People, sightings: Iterable[int]) -> int:
    """Delete ``sightings``, and people of whom none is left, with names, tags, history, events and what the audit log says they were; returns how
    many sightings. Bytes stay in the WAL until ``Database.scrub``."""
    with db.writing() as connection, db.chosen(sightings) as chosen:
        found = [row[0] for row in connection.execute(f"SELECT id FROM sightings WHERE id IN (SELECT id FROM {chosen})")]
        if not found:
            return 0
        who = [
            row[0]
            for row in connection.execute(
                f"SELECT DISTINCT identity FROM sightings WHERE identity IS NOT NULL AND id IN (SELECT id FROM {chosen})"
            )
        ]
        subjects = [f"sighting:{one}" for one in found]
        for table, column in BY_SIGHTING:
            connection.execute(f"DELETE FROM {table} WHERE {column} IN (SELECT id FROM {chosen})")
        connection.execute(
            "DELETE FROM corrections WHERE kind IN ('same', 'different', 'unsure', 'moved') AND id NOT IN (SELECT correction FROM corrected)"
        )
        people.touch(connection, *who)
        people._summarise(connection)
        gone = [one for one in who if not connection.execute("SELECT sightings FROM identities WHERE id = ?", (one,)).fetchone()[0]]
        subjects += _remove_people(connection, gone)
        connection.executemany("UPDATE audit SET subject = NULL, data = '{}' WHERE subject = ?", [(one,) for one in subjects])
        _narrow(connection, {one >> NUMBER_BITS for one in found})
        connection.execute("DELETE FROM measured")
    return len(found)


def _remove_people(db: sqlite3.Connection, gone: list[int]) -> list[str]:
    """Delete people, and those who became part of them; returns what the audit log calls them."""
    every, todo = dict.fromkeys(gone), list(gone)
    while todo:
        one = todo.pop()
        for (other,) in db.execute(
            "SELECT other FROM history WHERE identity = ? AND other IS NOT NULL AND sighting IS NULL", (one,)
        ).fetchall():
            left = db.execute("SELECT sightings FROM identities WHERE id = ?", (other,)).fetchone()
            if other not in every and not (left and left[0]):
                every[other] = None
                todo.append(other)
    for table, column in (
        ("history", "identity"), ("history", "other"), ("tags", "identity"), ("numbers", "identity"), ("events", "identity"),
        ("watched", "identity"), ("identities", "id"),
    ):  # fmt: skip
        db.executemany(f"DELETE FROM {table} WHERE {column} = ?", [(one,) for one in every])
    return [f"identity:{one}" for one in every]


def _narrow(db: sqlite3.Connection, parts: set[int]) -> None:
    """Let partitions (an id without its number) begin and end with what is left in them."""
    db.executemany(
        f"""UPDATE partitions SET (first, last) = (SELECT coalesce(min(start), {NEVER}), coalesce(max(end), -{NEVER}) FROM sightings
        WHERE id BETWEEN :low AND :high) WHERE camera = :camera AND day = :day""",
        [
            {
                "low": part << NUMBER_BITS, "high": ((part + 1) << NUMBER_BITS) - 1, "camera": part >> DAY_BITS, "day": part & ((1 << DAY_BITS) - 1),
            }
            for part in parts
        ],
    )  # fmt: skip
