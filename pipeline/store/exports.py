"""Exports: what left the store, so that an erasure reaches it; and the pseudonymous export, tables without names, pictures or embeddings."""

from __future__ import annotations

import csv
import hmac
import os
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UsageError, writing
from pipeline.formats.shred import rewritten, shred
from pipeline.store.records import Sighting, Where
from pipeline.store.store import Store

PSEUDONYMOUS = "pseudonymous"
SIGHTINGS = ("sighting", "person", "camera", "start", "end", "clock", "boxes", "quality", "confidence")
VISITS = ("sighting", "person", "zone", "entered", "left")


@dataclass(frozen=True)
class Export:
    """An export: ``kind`` and absolute ``path``, a file or a folder; ``key``: of its pseudonyms."""

    id: int
    kind: str
    path: Path
    key: bytes


def register(store: Store, kind: str, path: Path) -> Export:
    """Note an export at ``path``, so that an erasure deletes or rewrites it: a ``pseudonymous`` one loses the rows, any other kind is deleted."""
    key = secrets.token_bytes(32)
    with store.db.writing() as db:
        place = str(path.resolve())
        number = db.execute(
            "INSERT OR REPLACE INTO exports (time, kind, path, key) VALUES (?, ?, ?, ?) RETURNING id", (time.time(), kind, place, key)
        ).fetchone()[0]
    return Export(number, kind, path.resolve(), key)


def exports(store: Store) -> list[Export]:
    return [
        Export(one, kind, Path(path), key) for one, kind, path, key in store.db.rows("SELECT id, kind, path, key FROM exports ORDER BY id")
    ]


def pseudonym(key: bytes, what: str, number: int) -> str:
    """A name that tells nothing without ``key``: HMAC-SHA-256 (RFC 2104), the first 64 bits."""
    return hmac.new(key, f"{what}:{number}".encode(), "sha256").hexdigest()[:16]


def export_pseudonymous(store: Store, folder: Path, where: Where, actor: str) -> list[Sighting]:
    """Write ``sightings.csv`` and ``visits.csv`` into an empty ``folder``; returns the sightings in them.

    Raises UsageError for a folder that holds something, OutputError if it cannot be written.
    """
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder}: not empty; choose a new folder for the export")
        chosen = store.sightings.query(where)
        key = register(store, PSEUDONYMOUS, folder).key

        def names(sighting: Sighting) -> list[str]:
            person = "" if sighting.identity is None else pseudonym(key, "person", sighting.identity)
            return [pseudonym(key, "sighting", sighting.id), person]

        with (folder / "sightings.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(SIGHTINGS)
            for one in chosen:
                sure = "" if one.confidence is None else f"{one.confidence:.3f}"
                rows.writerow(
                    [*names(one), one.camera, f"{one.start:.3f}", f"{one.end:.3f}", one.clock, one.boxes, f"{one.quality:.3f}", sure]
                )
        by_id = {one.id: one for one in chosen}
        with (folder / "visits.csv").open("w", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            rows.writerow(VISITS)
            for visit in store.sightings.zone_visits():
                if visit.sighting in by_id:
                    left = "" if visit.left is None else f"{visit.left:.3f}"
                    rows.writerow([*names(by_id[visit.sighting]), visit.zone, f"{visit.entered:.3f}", left])
        store.audit.log(actor, "exported", kind=PSEUDONYMOUS, sightings=len(chosen))
    return chosen


def erase_from_exports(store: Store, sightings: Sequence[int]) -> list[str]:
    """Take sightings out of all exports that are still where they were made; returns what their user should know."""
    notes = []
    for export in exports(store):
        if not export.path.exists():
            notes.append(f"{export.path}: this export is not there any more; copies of it were not reached")
        elif export.kind == PSEUDONYMOUS:
            gone = {pseudonym(export.key, "sighting", one) for one in sightings}
            for name in ("sightings.csv", "visits.csv"):
                _filter(export.path / name, gone)
        else:
            delete(export.path)
            with store.db.writing() as db:
                db.execute("DELETE FROM exports WHERE id = ?", (export.id,))
            notes.append(f"{export.path}: this export may show the erased person and is deleted; make it again")
    return notes


def _filter(path: Path, gone: set[str]) -> None:
    if not path.is_file():
        return
    with (
        writing(path),
        rewritten(path) as scratch,
        path.open(newline="", encoding="utf-8") as old,
        scratch.open("w", newline="", encoding="utf-8") as new,
    ):
        out = csv.writer(new)
        out.writerows(row for row in csv.reader(old) if row and row[0] not in gone)


def delete(path: Path) -> None:
    """Shred a file, or all files of a folder and the folder. Symbolic links are removed, not followed."""
    with writing(path):
        if path.is_file() and not path.is_symlink():
            shred(path)
            return
        for top, folders, files in os.walk(path, topdown=False):
            for name in files:
                one = Path(top) / name
                if one.is_symlink():
                    one.unlink()
                else:
                    shred(one)
            for name in folders:
                one = Path(top) / name
                if one.is_symlink():
                    one.unlink()
                else:
                    one.rmdir()
        path.rmdir()
