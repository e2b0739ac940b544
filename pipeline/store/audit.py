"""The audit log: who looked at what, and who changed what. It is only ever appended to; an erasure takes out what an entry was about."""

from __future__ import annotations

import json
import time
from typing import Any

from pipeline.store.database import Database
from pipeline.store.records import AuditEntry


class Audit:
    """Entries name people by number (``identity:5``, ``sighting:77``), never by name or picture."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def log(self, actor: str, action: str, subject: str | None = None, **data: Any) -> int:
        """Write an entry. ``action``: a verb such as ``viewed``, ``searched``, ``exported``; ``data``: JSON values without personal data."""
        with self._db.writing() as db:
            return int(
                db.execute(
                    "INSERT INTO audit (time, actor, action, subject, data) VALUES (?, ?, ?, ?, ?)",
                    (time.time(), actor, action, subject, json.dumps(data)),
                ).lastrowid
                or 0
            )

    def query(
        self,
        start: float | None = None,
        end: float | None = None,
        actor: str | None = None,
        action: str | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[AuditEntry]:
        """Entries, newest first."""
        rows = self._db.rows(
            """SELECT id, time, actor, action, subject, data FROM audit WHERE (:start IS NULL OR time >= :start) AND (:end IS NULL OR time <= :end)
            AND (:actor IS NULL OR actor = :actor) AND (:action IS NULL OR action = :action) ORDER BY id DESC LIMIT :limit OFFSET :offset""",
            {"start": start, "end": end, "actor": actor, "action": action, "limit": limit, "offset": offset},
        )
        return [AuditEntry(one, at, who, what, subject, json.loads(more)) for one, at, who, what, subject, more in rows]
