"""Sightings: write tracklets, and find them by camera, time, zone and person."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.formats.tracklet import Tracklet
from pipeline.store.database import Database
from pipeline.store.records import Camera, ClockKind, Crop, Feed, Path, Sighting, Source, Visit, Where
from pipeline.store.schema import CAMERA_BITS, DAY, DAY_BITS, NUMBER_BITS, partition

COLUMNS = """s.id, s.source, c.name, s.track, s.session, s.start, s.end, s.identity, s.confidence, s.pinned, s.boxes, s.score, s.quality,
    s.embeddings, s.crops, f.epoch, f.clock, f.video"""
JOINED = "sightings s JOIN cameras c ON c.id = s.camera JOIN feeds f ON f.source = s.source AND f.camera = s.camera"
ORDERS = {"start": "s.start, s.id", "-start": "s.start DESC, s.id DESC"}
_COUNT = struct.Struct("<I")


class Sightings:
    """The sightings of a store. ``max_crops``: kept per sighting."""

    def __init__(self, db: Database, max_crops: int) -> None:
        self._db, self.max_crops = db, max_crops

    # what feeds the store

    def add_source(self, kind: str, folder: str | None, label: str, began: float) -> Source:
        """The source of a folder, new or known. ``kind``: ``run``, ``live`` or ``other``; ``began``: seconds since 1970."""
        with self._db.writing() as db:
            db.execute(
                "INSERT INTO sources (kind, folder, label, began) VALUES (?, ?, ?, ?) ON CONFLICT (folder) DO NOTHING",
                (kind, folder, label, began),
            )
            known = self._db.value("SELECT max(id) FROM sources WHERE folder IS ?", (folder,))
        return self.source(known)

    def source(self, source: int) -> Source:
        """Raises UsageError for an unknown number."""
        row = self._db.row("SELECT id, kind, folder, label, began FROM sources WHERE id = ?", (source,))
        if row is None:
            raise UsageError(f"no source {source} in {self._db.path}")
        return Source(*row)

    def sources(self) -> list[Source]:
        return [Source(*row) for row in self._db.rows("SELECT id, kind, folder, label, began FROM sources ORDER BY id")]

    def feed(
        self,
        source: int,
        camera: str,
        epoch: float,
        clock: ClockKind = "wall",
        video: str | None = None,
        size: tuple[int, int] | None = None,
    ) -> int:
        """Announce a camera of a source; returns the camera's number. ``epoch``: seconds since 1970 at second 0 of the source; 0 if its times are
        that already. ``video``: path below the source's folder; ``size``: width and height, px. Raises UsageError for too many cameras."""
        with self._db.writing() as db:
            width, height = size or (None, None)
            db.execute(
                """INSERT INTO cameras (name, width, height) VALUES (?, ?, ?)
                ON CONFLICT (name) DO UPDATE SET width = coalesce(excluded.width, width), height = coalesce(excluded.height, height)""",
                (camera, width, height),
            )
            number = int(self._db.value("SELECT id FROM cameras WHERE name = ?", (camera,)))
            if number >> CAMERA_BITS:
                raise UsageError(f"{self._db.path}: more than {1 << CAMERA_BITS} cameras; use another store")
            db.execute(
                """INSERT INTO feeds (source, camera, epoch, clock, video) VALUES (?, ?, ?, ?, ?)
                ON CONFLICT DO UPDATE SET epoch = excluded.epoch, clock = excluded.clock, video = excluded.video""",
                (source, number, epoch, clock, video),
            )
        return number

    def cameras(self) -> list[Camera]:
        """All cameras, by name."""
        rows = self._db.rows(
            """SELECT c.id, c.name, (SELECT count(*) FROM sightings s WHERE s.camera = c.id), min(p.first), max(p.last), c.width, c.height
            FROM cameras c LEFT JOIN partitions p ON p.camera = c.id AND p.last > -1e299 GROUP BY c.id ORDER BY c.name"""
        )
        return [
            Camera(one, name, count, first, last, None if wide is None else (wide, high))
            for one, name, count, first, last, wide, high in rows
        ]

    # writing

    def add(self, source: int, camera: int, tracklet: Tracklet, session: int = 0) -> int:
        """Write a tracklet; returns the sighting's id. ``camera``: as ``feed`` numbered it; the tracklet's times are seconds of the source.

        A further part of a track that is known extends its sighting; a part that is known replaces it. Within ``writing`` of the store it is on
        disk when that ends, else when this returns.
        """
        with self._db.writing() as db:
            epoch = self._db.value("SELECT epoch FROM feeds WHERE source = ? AND camera = ?", (source, camera))
            if epoch is None:
                raise UsageError(f"camera {camera} is not a feed of source {source}")
            start, end = float(tracklet.times[0]) + epoch, float(tracklet.times[-1]) + epoch
            known = self._db.row(
                "SELECT id, end FROM sightings WHERE source = ? AND camera = ? AND track = ?", (source, camera, tracklet.track)
            )
            sighting = self._new_id(camera, start, end) if known is None else int(known[0])
            db.execute(
                "INSERT OR REPLACE INTO paths (sighting, start, boxes, score, path) VALUES (?, ?, ?, ?, ?)",
                (sighting, start, len(tracklet.frames), float(np.sum(tracklet.scores)), pack_path(tracklet, epoch)),
            )
            if tracklet.embedding is not None and (known is None or end >= known[1]):
                vector = tracklet.embedding.astype("<f2").tobytes()
                db.execute("INSERT OR REPLACE INTO vectors (id, vector) VALUES (?, ?)", (sighting, vector))
            crops = self._keep_crops(sighting, tracklet.crops, [time + epoch for time in tracklet.crop_times], tracklet.best_crop)
            if known is None:
                db.execute(
                    """INSERT INTO sightings (id, source, camera, track, session, start, end, boxes, score, quality, embeddings, crops)
                    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                    (
                        sighting, source, camera, tracklet.track, session, start, end, len(tracklet.frames), float(np.mean(tracklet.scores)),
                        tracklet.quality, tracklet.embeddings_count, crops,
                    ),
                )  # fmt: skip
            else:
                db.execute(
                    """UPDATE sightings SET start = min(start, ?), end = max(end, ?), quality = ?, embeddings = max(embeddings, ?), crops = ?,
                    (boxes, score) = (SELECT sum(boxes), sum(score) / sum(boxes) FROM paths WHERE sighting = sightings.id) WHERE id = ?""",
                    (start, end, tracklet.quality, tracklet.embeddings_count, crops, sighting),
                )
                db.execute(
                    "UPDATE partitions SET first = min(first, ?), last = max(last, ?) WHERE camera = ? AND day = ?",
                    (start, end, camera, (sighting >> NUMBER_BITS) & ((1 << DAY_BITS) - 1)),
                )
        return sighting

    def _new_id(self, camera: int, start: float, end: float) -> int:
        day = int(min(max(start // DAY, 0), (1 << DAY_BITS) - 1))
        number = self._db.value(
            """INSERT INTO partitions (camera, day, next, first, last) VALUES (?, ?, 1, ?, ?)
            ON CONFLICT DO UPDATE SET next = next + 1, first = min(first, excluded.first), last = max(last, excluded.last) RETURNING next - 1""",
            (camera, day, start, end),
        )
        return partition(camera, day) | int(number)

    def add_crops(self, sighting: int, crops: Sequence[bytes], times: Sequence[float], best: int) -> None:
        """Keep pictures of a sighting: JPEG ``crops`` of ``times``, seconds since 1970; ``best``: the place of the best among them."""
        with self._db.writing() as db:
            kept = self._keep_crops(sighting, crops, times, best)
            db.execute("UPDATE sightings SET crops = ? WHERE id = ?", (kept, sighting))

    def _keep_crops(self, sighting: int, crops: Sequence[bytes], times: Sequence[float], best: int) -> int:
        """Keep the best crop and others spread over the sighting, ``max_crops`` in all; returns how many it has."""
        db = self._db.connection
        had = self._db.value("SELECT time FROM crops WHERE sighting = ? AND best", (sighting,))
        chosen = spread(len(crops), best, self.max_crops)
        for at in chosen:
            first = at == best and had in (None, times[at])
            db.execute(
                "INSERT OR REPLACE INTO crops (sighting, time, best, jpeg) VALUES (?, ?, ?, ?)", (sighting, times[at], first, crops[at])
            )
        if had is None:
            return len(chosen)
        rows = self._db.rows("SELECT rowid, best FROM crops WHERE sighting = ? ORDER BY time", (sighting,))
        kept = set(spread(len(rows), next((at for at, (_, best) in enumerate(rows) if best), 0), self.max_crops))
        db.executemany("DELETE FROM crops WHERE rowid = ?", ((row,) for at, (row, _) in enumerate(rows) if at not in kept))
        return len(kept)

    def visit(self, sighting: int, zone: str, entered: float, left: float | None = None) -> None:
        """Write or complete a stay in a zone; times in seconds since 1970."""
        with self._db.writing() as db:
            db.execute(
                "INSERT INTO visits (sighting, zone, entered, left) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET left = excluded.left",
                (sighting, zone, entered, left),
            )

    # reading

    def get(self, sighting: int) -> Sighting:
        """Raises UsageError for an unknown id."""
        row = self._db.row(f"SELECT {COLUMNS} FROM {JOINED} WHERE s.id = ?", (sighting,))
        if row is None:
            raise UsageError(f"no sighting {sighting} in {self._db.path}")
        return _sighting(row)

    def find(self, camera: str, track: int, source: int | None = None) -> list[Sighting]:
        """The sightings of ``camera:track``; of several sources, one each, latest first."""
        rows = self._db.rows(
            f"SELECT {COLUMNS} FROM {JOINED} WHERE c.name = ? AND s.track = ? AND (? IS NULL OR s.source = ?) ORDER BY s.start DESC",
            (camera, track, source, source),
        )
        return [_sighting(row) for row in rows]

    def known(self, source: int, camera: str, track: int) -> int | None:
        """The id of ``camera:track`` of a source, None if it is not written."""
        found = self._db.value(
            "SELECT s.id FROM sightings s JOIN cameras c ON c.id = s.camera WHERE s.source = ? AND c.name = ? AND s.track = ?",
            (source, camera, track),
        )
        return None if found is None else int(found)

    def of_source(self, source: int) -> list[int]:
        """The ids of all sightings of a source."""
        return [row[0] for row in self._db.rows("SELECT id FROM sightings WHERE source = ?", (source,))]

    def keys_of_source(self, source: int) -> dict[tuple[str, int], int]:
        """The ids of all sightings of a source, by camera and track."""
        rows = self._db.rows(
            "SELECT c.name, s.track, s.id FROM sightings s JOIN cameras c ON c.id = s.camera WHERE s.source = ?", (source,)
        )
        return {(name, track): one for name, track, one in rows}

    def query(self, where: Where | None = None, order: str = "start", limit: int | None = None, offset: int = 0) -> list[Sighting]:
        """Sightings by ``order``: ``start``, or ``-start`` for the latest first."""
        with self._choosing(where or Where()) as (condition, values):
            rows = self._db.rows(
                f"SELECT {COLUMNS} FROM {JOINED} WHERE {condition} ORDER BY {ORDERS[order]} LIMIT ? OFFSET ?",
                (*values, -1 if limit is None else limit, offset),
            )
        return [_sighting(row) for row in rows]

    def ids(self, where: Where | None = None) -> np.ndarray:
        """(n,) int64 ids, ascending."""
        with self._choosing(where or Where()) as (condition, values):
            rows = self._db.rows(f"SELECT s.id FROM sightings s WHERE {condition} ORDER BY s.id", values)
        return np.array([row[0] for row in rows], np.int64)

    def count(self, where: Where | None = None) -> int:
        with self._choosing(where or Where()) as (condition, values):
            return int(self._db.value(f"SELECT count(*) FROM sightings s WHERE {condition}", values))

    def path(self, sighting: int) -> Path:
        """All boxes of a sighting, in order of time; arrays of length 0 if they are no longer kept."""
        parts = [unpack_path(row[0]) for row in self._db.rows("SELECT path FROM paths WHERE sighting = ? ORDER BY start", (sighting,))]
        if not parts:
            return Path(np.zeros(0, np.int64), np.zeros(0), np.zeros((0, 4), np.float32), np.zeros(0, np.float32))
        return Path(*(np.concatenate([getattr(part, name) for part in parts]) for name in ("frames", "times", "boxes", "scores")))

    def crops(self, sighting: int) -> list[Crop]:
        """Pictures of a sighting, in order of time."""
        rows = self._db.rows("SELECT time, best, jpeg FROM crops WHERE sighting = ? ORDER BY time", (sighting,))
        return [Crop(number, time, bool(best), jpeg) for number, (time, best, jpeg) in enumerate(rows)]

    def best_crop(self, sighting: int) -> bytes | None:
        """JPEG of the best crop, None if none is kept."""
        found = self._db.value("SELECT jpeg FROM crops WHERE sighting = ? ORDER BY best DESC, time LIMIT 1", (sighting,))
        return None if found is None else bytes(found)

    def visits(self, sighting: int) -> list[Visit]:
        rows = self._db.rows("SELECT sighting, zone, entered, left FROM visits WHERE sighting = ? ORDER BY entered", (sighting,))
        return [Visit(*row) for row in rows]

    def zone_visits(self, zone: str | None = None, start: float | None = None, end: float | None = None) -> list[Visit]:
        """All stays in ``zone`` (None: in any) that touch ``start`` to ``end``, by time."""
        rows = self._db.rows(
            """SELECT sighting, zone, entered, left FROM visits WHERE (:zone IS NULL OR zone = :zone) AND (:end IS NULL OR entered <= :end)
            AND (:start IS NULL OR coalesce(left, entered) >= :start) ORDER BY entered""",
            {"zone": zone, "start": start, "end": end},
        )
        return [Visit(*row) for row in rows]

    @contextmanager
    def _choosing(self, where: Where) -> Iterator[tuple[str, list[Any]]]:
        """SQL for ``where`` over ``sightings s``, and its values. Raises UsageError for an unknown camera."""
        parts, values = ["1"], list[Any]()
        with ExitStack() as held:
            if where.cameras is not None:
                numbers = self.camera_numbers(where.cameras)
                parts.append(f"s.camera IN ({', '.join('?' * len(numbers))})")
                values += numbers
            if where.end is not None:
                parts.append("s.start <= ?")
                values.append(where.end)
            if where.start is not None:
                parts.append("s.end >= ? AND s.start >= ?")  # the second lets an index skip what began long before
                values += [where.start, where.start - self.longest()]
            if where.zone is not None:
                parts.append("s.id IN (SELECT sighting FROM visits WHERE zone = ?)")
                values.append(where.zone)
            if where.without_tag is not None:
                parts.append("(s.identity IS NULL OR s.identity NOT IN (SELECT identity FROM tags WHERE tag = ?))")
                values.append(where.without_tag)
            if where.unassigned:
                parts.append("s.identity IS NULL")
            for column, chosen in (("s.identity", where.identities), ("s.id", where.sightings)):
                if chosen is not None:
                    parts.append(f"{column} IN (SELECT id FROM {held.enter_context(self._db.chosen(chosen))})")
            yield " AND ".join(parts), values

    def longest(self) -> float:
        """No sighting is longer than this, seconds."""
        return float(self._db.value("SELECT max(last - max(first, day * 86400.0)) FROM partitions WHERE last > -1e299") or 0.0)

    def feeds(self, camera: str) -> list[Feed]:
        """What has fed a camera, latest first."""
        rows = self._db.rows(
            """SELECT f.source, f.epoch, f.clock, f.video, s.folder, (SELECT min(x.start) FROM sightings x WHERE x.source = f.source AND x.camera = c.id),
            (SELECT max(x.end) FROM sightings x WHERE x.source = f.source AND x.camera = c.id)
            FROM feeds f JOIN cameras c ON c.id = f.camera JOIN sources s ON s.id = f.source WHERE c.name = ? ORDER BY f.epoch DESC, f.source DESC""",
            (camera,),
        )
        return [Feed(source, camera, epoch, clock, video, folder, first, last) for source, epoch, clock, video, folder, first, last in rows]

    def camera_numbers(self, names: Iterable[str]) -> list[int]:
        """Raises UsageError for an unknown camera."""
        known = dict(self._db.rows("SELECT name, id FROM cameras"))
        for name in names:
            if name not in known:
                raise UsageError(f"no camera {name!r} in the store; its cameras: {', '.join(sorted(known)) or 'none'}")
        return [int(known[name]) for name in names]


def _sighting(row: Sequence[Any]) -> Sighting:
    values = list(row)
    values[9] = bool(values[9])
    return Sighting(*values)


def spread(count: int, best: int, most: int) -> list[int]:
    """Which of ``count`` to keep: ``best``, and others evenly spread, ``most`` in all."""
    if count <= most:
        return list(range(count))
    if most == 0:
        return []
    rest = [at for at in range(count) if at != best]
    chosen = {rest[int(at)] for at in np.linspace(0, len(rest) - 1, most - 1).round()} if most > 1 else set()
    return sorted(chosen | {best})


def pack_path(tracklet: Tracklet, epoch: float) -> bytes:
    """Frames (int64), times since 1970 (float64), boxes and scores (float32) behind their number, compressed."""
    count = len(tracklet.frames)
    parts = (
        tracklet.frames.astype("<i8"),
        (tracklet.times + epoch).astype("<f8"),
        np.asarray(tracklet.boxes).reshape(count, 4).astype("<f4"),
        tracklet.scores.astype("<f4"),
    )
    return zlib.compress(_COUNT.pack(count) + b"".join(part.tobytes() for part in parts), 1)


def unpack_path(data: bytes) -> Path:
    plain = zlib.decompress(data)
    count = _COUNT.unpack_from(plain)[0]
    at = _COUNT.size
    out = []
    for kind, width in (("<i8", 1), ("<f8", 1), ("<f4", 4), ("<f4", 1)):
        part = np.frombuffer(plain, kind, count * width, at)
        out.append(part.reshape(count, 4) if width == 4 else part)
        at += part.nbytes
    return Path(*out)
