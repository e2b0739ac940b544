"""Retention: what is older than the settings allow leaves the store, kind by kind."""

from __future__ import annotations

import time

from pipeline.store.schema import DAY
from pipeline.store.store import Store


def purge(store: Store, now: float | None = None) -> dict[str, int]:
    """Delete what is too old; returns how much of each kind that has a limit. It is logged, and its bytes leave the disk.

    The files of runs are not touched: ``passerby forget STORE --to TIME`` reaches them too.
    """
    now, keep, done = time.time() if now is None else now, store.settings, dict[str, int]()

    def limit(days: float) -> float:
        return now - days * DAY

    with store.db.writing() as db:
        if keep.keep_sightings is not None:
            old = [row[0] for row in db.execute("SELECT id FROM sightings WHERE end < ?", (limit(keep.keep_sightings),))]
            done["sightings"] = store.remove(old)
        for kind, days, query in (
            ("vectors", keep.keep_vectors, "DELETE FROM vectors WHERE id IN (SELECT id FROM sightings WHERE end < ?)"),
            ("crops", keep.keep_crops, "DELETE FROM crops WHERE sighting IN (SELECT id FROM sightings WHERE end < ?)"),
            ("paths", keep.keep_paths, "DELETE FROM paths WHERE sighting IN (SELECT id FROM sightings WHERE end < ?)"),
            ("events", keep.keep_events, "DELETE FROM events WHERE time < ?"),
            ("audit", keep.keep_audit, "DELETE FROM audit WHERE time < ?"),
        ):
            if days is not None:
                done[kind] = db.execute(query, (limit(days),)).rowcount
        if done.get("crops"):
            db.execute("UPDATE sightings SET crops = 0 WHERE crops > 0 AND NOT EXISTS (SELECT 1 FROM crops WHERE sighting = sightings.id)")
        if done.get("vectors"):
            db.execute("DELETE FROM measured")
        gone = db.execute("DELETE FROM watched WHERE expires < ?", (now,)).rowcount
        if gone:
            done["watch list"] = gone
        if any(done.values()):
            store.audit.log("program", "purged", deleted={key: value for key, value in done.items() if value})
    if any(done.values()):
        store.scrub()
    return done
