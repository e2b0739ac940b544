"""What people say about identities: pairs to review, corrections with history, each of which can be taken back."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pipeline.errors import UsageError, writing
from pipeline.store.database import Database
from pipeline.store.people import People
from pipeline.store.records import Answer, Correction, UncertainPair

PAIR = "a, b, probability, answer, answered, actor"


class Corrections:
    """Corrections move sightings and pin them: association leaves them where somebody put them. Of live cameras they also go into ``corrections.jsonl`` in
    their folder, from where the process that runs takes them (``pipeline.identities.corrections``)."""

    def __init__(self, db: Database, people: People) -> None:
        self._db, self._people = db, people

    # pairs to review

    def suspect(self, pairs: Iterable[tuple[int, int, float]]) -> None:
        """Pairs of sightings (a, b, probability) that may be one person; one that is known gets the new probability and keeps its answer."""
        with self._db.writing() as db:
            db.executemany(
                """INSERT INTO pairs (a, b, probability) VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET probability = excluded.probability""",
                [(min(a, b), max(a, b), float(probability)) for a, b, probability in pairs],
            )

    def queue(self, limit: int = 50, offset: int = 0, identity: int | None = None) -> list[UncertainPair]:
        """Pairs without an answer, the least certain first; only those of ``identity`` if given. Pairs that are one person by now are left out."""
        rows = self._db.rows(
            f"""SELECT {PAIR} FROM pairs JOIN sightings x ON x.id = a JOIN sightings y ON y.id = b
            WHERE answer IS NULL AND x.identity IS NOT y.identity AND (:who IS NULL OR x.identity = :who OR y.identity = :who)
            ORDER BY abs(probability - 0.5), a, b LIMIT :limit OFFSET :offset""".replace("actor", "pairs.actor"),
            {"who": identity, "limit": limit, "offset": offset},
        )
        return [UncertainPair(*row) for row in rows]

    def open_pairs(self) -> int:
        """How many pairs wait for an answer."""
        return int(
            self._db.value(
                """SELECT count(*) FROM pairs JOIN sightings x ON x.id = a JOIN sightings y ON y.id = b
                WHERE answer IS NULL AND x.identity IS NOT y.identity"""
            )
        )

    def answer(self, a: int, b: int, answer: Answer, actor: str) -> Correction:
        """Answer a pair, one of the queue or any other. ``same`` merges the identities of both; ``different`` moves ``b`` out if both have the same.

        Raises UsageError for unknown sightings.
        """
        a, b = min(a, b), max(a, b)
        with self._db.writing() as db:
            one, other = self._identity(a), self._identity(b)
            correction = self._log(db, actor, answer, [(a, 0, one), (b, 1, other)])
            db.execute(
                """INSERT INTO pairs (a, b, probability, answer, answered, actor) VALUES (?, ?, 0.5, ?, ?, ?)
                ON CONFLICT DO UPDATE SET answer = excluded.answer, answered = excluded.answered, actor = excluded.actor""",
                (a, b, answer, time.time(), actor),
            )
            if answer == "same" and (one is None or one != other):
                if one is not None and other is not None:
                    self._merge(db, correction, [one, other], actor)
                else:
                    self._put(db, [a, b], one or other or self._people.new(db), actor, "same")
            elif answer == "different" and one is not None and one == other:
                self._put(db, [b], self._people.new(db), actor, "moved")
            self._people._summarise(db)
        if answer != "unsure":
            self._tell("merge" if answer == "same" else "split", [b], [a])
        return self.get(correction)

    # identities

    def merge(self, identities: Sequence[int], actor: str) -> Correction:
        """Make ``identities`` one, the one with the lowest number. Raises UsageError for unknown ones and for fewer than two."""
        every = sorted(set(identities))
        if len(every) < 2:
            raise UsageError("expected at least two identities to merge")
        with self._db.writing() as db:
            for identity in every:
                self._people._check(identity)
            correction = self._log(db, actor, "same", [])
            self._merge(db, correction, every, actor)
            self._people._summarise(db)
        done = self.get(correction)
        self._tell("merge", done.sightings, done.others)
        return done

    def split(self, identity: int, sightings: Sequence[int], actor: str) -> Correction:
        """Move ``sightings`` out of an identity, into a new one. Raises UsageError if one is not of it, and if none would be left."""
        chosen = sorted(set(sightings))
        mine = {row[0] for row in self._db.rows("SELECT id FROM sightings WHERE identity = ?", (identity,))}
        if not mine:
            self._people.get(identity)
        for sighting in chosen:
            if sighting not in mine:
                raise UsageError(f"sighting {sighting} is not of identity {identity}")
        if not chosen or len(chosen) == len(mine):
            raise UsageError(f"identity {identity} has no other sightings: nothing to split")
        with self._db.writing() as db:
            rest = sorted(mine - set(chosen))
            correction = self._log(db, actor, "moved", [*((one, 0, identity) for one in chosen), *((one, 1, identity) for one in rest)])
            self._put(db, chosen, self._people.new(db), actor, "moved")
            db.executemany("UPDATE sightings SET pinned = 1 WHERE id = ?", [(one,) for one in rest])
            self._people._summarise(db)
        self._tell("split", chosen, rest)
        return self.get(correction)

    def undo(self, correction: int, actor: str) -> None:
        """Take a correction back: what it moved returns to where it was. Raises UsageError if there is nothing to take back."""
        found = self.get(correction)
        if found.undone is not None:
            raise UsageError(f"correction {correction} was taken back before")
        with self._db.writing() as db:
            db.execute("UPDATE corrections SET undone = ? WHERE id = ?", (time.time(), correction))
            rows = db.execute("SELECT sighting, before FROM corrected WHERE correction = ?", (correction,)).fetchall()
            for sighting, before in rows:
                now = db.execute("SELECT identity FROM sightings WHERE id = ?", (sighting,)).fetchone()
                if now is None:
                    continue
                earlier = db.execute(
                    "SELECT 1 FROM corrected JOIN corrections ON id = correction WHERE sighting = ? AND undone IS NULL AND kind != 'unsure'",
                    (sighting,),
                ).fetchone()
                db.execute("UPDATE sightings SET identity = ?, pinned = ? WHERE id = ?", (before, earlier is not None, sighting))
                if now[0] != before and before is not None:
                    self._people._changed(db, time.time(), "undone", before, sighting, now[0], actor, None)
                self._people.touch(db, now[0], before)
            if len(rows) == 2 and found.kind in ("same", "different", "unsure"):
                a, b = sorted(row[0] for row in rows)
                db.execute("UPDATE pairs SET answer = NULL, answered = NULL, actor = NULL WHERE a = ? AND b = ?", (a, b))
            self._people._summarise(db)
        if found.kind != "unsure":
            self._tell("split" if found.kind == "same" else "merge", found.others, found.sightings)

    def get(self, correction: int) -> Correction:
        """Raises UsageError for an unknown number."""
        found = self._read("WHERE id = ?", (correction,))
        if not found:
            raise UsageError(f"no correction {correction} in {self._db.path}")
        return found[0]

    def all(self, sighting: int | None = None) -> list[Correction]:
        """All corrections, oldest first; those about a sighting if given."""
        if sighting is None:
            return self._read("", ())
        return self._read("WHERE id IN (SELECT correction FROM corrected WHERE sighting = ?)", (sighting,))

    def different(self) -> set[tuple[int, int]]:
        """Pairs (a < b) that somebody called two people."""
        return {(a, b) for a, b in self._db.rows("SELECT a, b FROM pairs WHERE answer = 'different'")}

    def _read(self, condition: str, values: Sequence[object]) -> list[Correction]:
        out = []
        for number, at, actor, kind, undone in self._db.rows(
            f"SELECT id, time, actor, kind, undone FROM corrections {condition} ORDER BY id", values
        ):
            sides = self._db.rows("SELECT sighting, side FROM corrected WHERE correction = ? ORDER BY sighting", (number,))
            mine, others = (tuple(one for one, side in sides if side == number_of_side) for number_of_side in (0, 1))
            out.append(Correction(number, at, actor, kind, mine, others, undone))
        return out

    def _tell(self, kind: str, sightings: Sequence[int], others: Sequence[int]) -> None:
        """Say it to the live cameras whose tracks these are. Raises OutputError if their folder cannot be written."""
        sides: list[dict[str, list[tuple[str, int]]]] = []
        for side in (sightings, others):
            by_folder: dict[str, list[tuple[str, int]]] = {}
            with self._db.chosen(side) as chosen:
                rows = self._db.rows(
                    f"""SELECT o.folder, c.name, s.track FROM {chosen} x JOIN sightings s ON s.id = x.id JOIN cameras c ON c.id = s.camera
                    JOIN sources o ON o.id = s.source AND o.kind = 'live' ORDER BY s.id"""
                )
            for folder, camera, track in rows:
                by_folder.setdefault(folder, []).append((camera, track))
            sides.append(by_folder)
        for folder, mine in sides[0].items():
            if not (theirs := sides[1].get(folder)) or not Path(folder).is_dir():
                continue
            tracklets, left = ([*mine, *theirs], []) if kind == "merge" else (mine, theirs)
            line = json.dumps({"kind": kind, "at": datetime.now(UTC).isoformat(), "tracklets": tracklets, "others": left})
            path = Path(folder) / "corrections.jsonl"
            with writing(path), path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")

    def _identity(self, sighting: int) -> int | None:
        row = self._db.row("SELECT identity FROM sightings WHERE id = ?", (sighting,))
        if row is None:
            raise UsageError(f"no sighting {sighting} in {self._db.path}")
        return None if row[0] is None else int(row[0])

    def _log(self, db: sqlite3.Connection, actor: str, kind: str, about: Sequence[tuple[int, int, int | None]]) -> int:
        number = int(db.execute("INSERT INTO corrections (time, actor, kind) VALUES (?, ?, ?)", (time.time(), actor, kind)).lastrowid or 0)
        db.executemany(
            "INSERT INTO corrected (correction, sighting, side, before) VALUES (?, ?, ?, ?)",
            [(number, one, side, before) for one, side, before in about],
        )
        return number

    def _merge(self, db: sqlite3.Connection, correction: int, identities: Sequence[int], actor: str) -> None:
        into, *gone = sorted(identities)
        for identity in [into, *gone]:
            db.execute(
                "INSERT OR IGNORE INTO corrected (correction, sighting, side, before) SELECT ?, id, ?, identity FROM sightings WHERE identity = ?",
                (correction, int(identity != into), identity),
            )
        for identity in gone:
            self._people._keep_name(db, identity, into)
            db.execute("UPDATE numbers SET identity = ? WHERE identity = ?", (into, identity))
            db.execute("UPDATE sightings SET identity = ? WHERE identity = ?", (into, identity))
            self._people._changed(db, time.time(), "same", into, None, identity, actor, None)
        db.execute("UPDATE sightings SET pinned = 1 WHERE identity = ?", (into,))
        self._people.touch(db, into, *gone)

    def _put(self, db: sqlite3.Connection, sightings: Sequence[int], identity: int, actor: str, kind: str) -> None:
        for sighting in sightings:
            before = self._identity(sighting)
            db.execute("UPDATE sightings SET identity = ?, pinned = 1 WHERE id = ?", (identity, sighting))
            if before != identity:
                self._people._changed(db, time.time(), kind, identity, sighting, before, actor, None)
            self._people.touch(db, before, identity)
