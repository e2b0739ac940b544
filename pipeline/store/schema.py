"""The schema of the store, as migrations: ``MIGRATIONS[n]`` turns version n into n + 1. A released one is never changed.

An id of a sighting holds its partition: camera, day (UTC, of its start), and a number within them. A range of ids is therefore a camera's day, in
``sightings``, ``vectors``, ``paths`` and ``crops``, which all lie in order of it. Ids stay below 2**53, so that JavaScript can hold them.
"""

from __future__ import annotations

import sqlite3

DAY = 86400.0
NUMBER_BITS, DAY_BITS, CAMERA_BITS = 22, 16, 15
PAGE = 8192  # bytes: seven embeddings of 512 dimensions a page

V1 = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID;

CREATE TABLE sources (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, folder TEXT UNIQUE, label TEXT NOT NULL, began REAL NOT NULL
);
CREATE TABLE cameras (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, width INTEGER, height INTEGER);
CREATE TABLE feeds (  -- a camera of a source; epoch: seconds since 1970 at second 0 of the source
    source INTEGER NOT NULL REFERENCES sources, camera INTEGER NOT NULL REFERENCES cameras,
    epoch REAL NOT NULL, clock TEXT NOT NULL, video TEXT, PRIMARY KEY (source, camera)
) WITHOUT ROWID;
CREATE TABLE partitions (
    camera INTEGER NOT NULL REFERENCES cameras, day INTEGER NOT NULL, next INTEGER NOT NULL, first REAL NOT NULL, last REAL NOT NULL,
    PRIMARY KEY (camera, day)
) WITHOUT ROWID;

CREATE TABLE sightings (
    id INTEGER PRIMARY KEY, source INTEGER NOT NULL REFERENCES sources, camera INTEGER NOT NULL REFERENCES cameras, track INTEGER NOT NULL,
    session INTEGER NOT NULL, start REAL NOT NULL, end REAL NOT NULL,
    number INTEGER,           -- what the source's association calls the person
    identity INTEGER, confidence REAL, pinned INTEGER NOT NULL DEFAULT 0,
    boxes INTEGER NOT NULL, score REAL NOT NULL, quality REAL NOT NULL, embeddings INTEGER NOT NULL, crops INTEGER NOT NULL,
    UNIQUE (source, camera, track)
);
CREATE INDEX sightings_by_camera ON sightings (camera, start);
CREATE INDEX sightings_by_start ON sightings (start);
CREATE INDEX sightings_by_identity ON sightings (identity, start);
CREATE INDEX sightings_by_number ON sightings (source, number);
CREATE TABLE vectors (id INTEGER PRIMARY KEY, vector BLOB NOT NULL);
CREATE TABLE paths (sighting INTEGER NOT NULL, start REAL NOT NULL, boxes INTEGER NOT NULL, score REAL NOT NULL, path BLOB NOT NULL);
CREATE UNIQUE INDEX paths_by_sighting ON paths (sighting, start);
CREATE TABLE crops (sighting INTEGER NOT NULL, time REAL NOT NULL, best INTEGER NOT NULL, jpeg BLOB NOT NULL);
CREATE UNIQUE INDEX crops_by_sighting ON crops (sighting, time);
CREATE TABLE visits (sighting INTEGER NOT NULL, zone TEXT NOT NULL, entered REAL NOT NULL, left REAL, PRIMARY KEY (sighting, zone, entered)) WITHOUT ROWID;
CREATE INDEX visits_by_zone ON visits (zone, entered);

CREATE TABLE identities (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, sightings INTEGER NOT NULL DEFAULT 0, first REAL NOT NULL DEFAULT 0, last REAL NOT NULL DEFAULT 0,
    confidence REAL NOT NULL DEFAULT 0, cover INTEGER
);
CREATE INDEX identities_by_last ON identities (last);
CREATE TABLE tags (identity INTEGER NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (identity, tag)) WITHOUT ROWID;
CREATE TABLE numbers (source INTEGER NOT NULL, number INTEGER NOT NULL, identity INTEGER NOT NULL, PRIMARY KEY (source, number)) WITHOUT ROWID;
CREATE INDEX numbers_by_identity ON numbers (identity);
CREATE TABLE history (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, identity INTEGER NOT NULL, sighting INTEGER, other INTEGER, actor TEXT, odds REAL
);
CREATE INDEX history_by_identity ON history (identity);
CREATE INDEX history_by_other ON history (other);
CREATE INDEX history_by_sighting ON history (sighting);

CREATE TABLE pairs (
    a INTEGER NOT NULL, b INTEGER NOT NULL, probability REAL NOT NULL, answer TEXT, answered REAL, actor TEXT, PRIMARY KEY (a, b)
) WITHOUT ROWID;
CREATE INDEX pairs_by_other ON pairs (b);
CREATE TABLE corrections (id INTEGER PRIMARY KEY, time REAL NOT NULL, actor TEXT NOT NULL, kind TEXT NOT NULL, undone REAL);
CREATE TABLE corrected (  -- side 0: what the correction is about, 1: the other side; before: the identity until then
    correction INTEGER NOT NULL, sighting INTEGER NOT NULL, side INTEGER NOT NULL, before INTEGER, PRIMARY KEY (correction, side, sighting)
) WITHOUT ROWID;
CREATE INDEX corrected_by_sighting ON corrected (sighting);

CREATE TABLE events (
    id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, camera INTEGER, sighting INTEGER, identity INTEGER, data TEXT NOT NULL, key TEXT UNIQUE
);
CREATE INDEX events_by_time ON events (time);
CREATE INDEX events_by_sighting ON events (sighting);
CREATE INDEX events_by_identity ON events (identity);
CREATE TABLE audit (id INTEGER PRIMARY KEY, time REAL NOT NULL, actor TEXT NOT NULL, action TEXT NOT NULL, subject TEXT, data TEXT NOT NULL);
CREATE INDEX audit_by_time ON audit (time);
CREATE INDEX audit_by_subject ON audit (subject);

CREATE TABLE watched (
    id INTEGER PRIMARY KEY, label TEXT NOT NULL, created REAL NOT NULL, expires REAL NOT NULL, actor TEXT NOT NULL, identity INTEGER, vectors BLOB NOT NULL
);
CREATE TABLE exports (id INTEGER PRIMARY KEY, time REAL NOT NULL, kind TEXT NOT NULL, path TEXT NOT NULL UNIQUE, key BLOB NOT NULL);
CREATE TABLE measured (key TEXT PRIMARY KEY, sightings INTEGER NOT NULL, value BLOB NOT NULL) WITHOUT ROWID;  -- made from embeddings; erasure drops it
CREATE TABLE erasing (source INTEGER NOT NULL, camera INTEGER NOT NULL, track INTEGER NOT NULL, PRIMARY KEY (source, camera, track)) WITHOUT ROWID;
"""

MIGRATIONS: tuple[str, ...] = (V1,)
VERSION = len(MIGRATIONS)


def partition(camera: int, day: int) -> int:
    """The first id of a camera's day."""
    return camera << (DAY_BITS + NUMBER_BITS) | day << NUMBER_BITS


def last_of(first: int) -> int:
    """The last id of the partition that begins with ``first``."""
    return first | ((1 << NUMBER_BITS) - 1)


def camera_of(sighting: int) -> int:
    return sighting >> (DAY_BITS + NUMBER_BITS)


def migrate(db: sqlite3.Connection, version: int) -> None:
    """Bring the open database from ``version`` to ``VERSION``, each step in a transaction of its own."""
    for number in range(version, VERSION):
        db.execute("BEGIN IMMEDIATE")
        try:
            if db.execute("PRAGMA user_version").fetchone()[0] == number:  # else another process was first
                for statement in statements(MIGRATIONS[number]):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number + 1}")
            db.execute("COMMIT")
        except BaseException:
            db.execute("ROLLBACK")
            raise


def statements(script: str) -> list[str]:
    """The statements of a script: ``executescript`` would commit before it begins."""
    out, now = [], ""
    for line in script.splitlines(keepends=True):
        now += line
        if sqlite3.complete_statement(now):
            out.append(now)
            now = ""
    return out
