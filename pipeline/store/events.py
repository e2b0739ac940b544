"""Events of a store: camera states, sessions, decisions about identities, zones and lines, the watch list."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.address import redact
from pipeline.store.database import Database
from pipeline.store.records import StoredEvent


class Events:
    """Appends events and finds them again."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def add(
        self,
        kind: str,
        time: float,
        camera: str | None = None,
        sighting: int | None = None,
        identity: int | None = None,
        key: str | None = None,
        data: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> int | None:
        """Write an event; ``time``: seconds since 1970, ``data`` and ``more``: JSON values. Of those with one ``key`` only the first is written, None for the others."""
        with self._db.writing() as db:
            if camera is not None:
                db.execute("INSERT OR IGNORE INTO cameras (name) VALUES (?)", (camera,))
            return self._db.value(
                """INSERT INTO events (time, kind, camera, sighting, identity, data, key)
                VALUES (?, ?, (SELECT id FROM cameras WHERE name = ?), ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING RETURNING id""",
                (time, kind, camera, sighting, identity, redact(json.dumps({**(data or {}), **more})), key),
            )

    def about(self, events: Sequence[int], sighting: int) -> None:
        """Say which sighting ``events`` were about: it was not written when they came."""
        with self._db.writing() as db:
            db.executemany("UPDATE events SET sighting = ? WHERE id = ?", [(sighting, one) for one in events])

    def query(
        self,
        start: float | None = None,
        end: float | None = None,
        cameras: tuple[str, ...] | None = None,
        kinds: tuple[str, ...] | None = None,
        identity: int | None = None,
        after: int | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> list[StoredEvent]:
        """Events of ``start`` to ``end`` (seconds since 1970). ``after``: only those with a greater id, to follow what comes."""
        parts, values = ["1"], list[Any]()
        for condition, value in (("e.time >= ?", start), ("e.time <= ?", end), ("e.identity = ?", identity), ("e.id > ?", after)):
            if value is not None:
                parts.append(condition)
                values.append(value)
        for column, chosen in (("c.name", cameras), ("e.kind", kinds)):
            if chosen is not None:
                parts.append(f"{column} IN ({', '.join('?' * len(chosen))})")
                values += chosen
        order = "e.id" if after is not None else "e.time, e.id"
        if newest_first:
            order = ", ".join(f"{one} DESC" for one in order.split(", "))
        rows = self._db.rows(
            f"""SELECT e.id, e.time, e.kind, c.name, e.sighting, e.identity, e.data FROM events e LEFT JOIN cameras c ON c.id = e.camera
            WHERE {" AND ".join(parts)} ORDER BY {order} LIMIT ?""",
            (*values, -1 if limit is None else limit),
        )
        return [
            StoredEvent(one, time, kind, camera, sighting, who, json.loads(data)) for one, time, kind, camera, sighting, who, data in rows
        ]
