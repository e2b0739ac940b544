"""One identity per person over cameras and runs: from ``tracklets.parquet`` to identities, their tracks and their sheets."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import OutputError, UsageError
from pipeline.sheets import crop_of, identity_sheet
from pipeline.table import facts_of, read_tracklets
from tracker import AssociationSettings, Identities, Site, Tracklets, associate
from tracker.evidence import probability
from tracker.refine import RefineSettings
from tracker.updates import Key

VERSION = 1
MOST_UNCERTAIN = 10_000
COLUMNS = ["camera", "track", "start_time", "end_time", "quality", "embeddings_count", "embedding", "frames", "times", "boxes", "best_crop"]
LOOKS = ["look_times", "looks"]


@dataclass(frozen=True, eq=False)
class Recorded:
    """Tracklets of runs: ``tracklets`` for association, ``runs`` (n,) the folder of each, ``names`` (n,) its camera's folder there.

    ``frames``, ``boxes``: per tracklet (k,) from 1 and (k, 4) x1, y1, x2, y2 px; ``weights``: the sum of its looks' qualities; ``best``: the
    best crop's place on its sheet; ``looks``: seconds (m,) and embeddings (m, d) of single ones, where asked for.
    """

    tracklets: Tracklets
    runs: tuple[Path, ...]
    names: tuple[str, ...]
    frames: tuple[np.ndarray, ...]
    boxes: tuple[np.ndarray, ...]
    calibration: dict[str, float]
    weights: tuple[float, ...]
    best: tuple[int, ...]
    looks: tuple[tuple[np.ndarray, np.ndarray], ...] = ()

    def sheet(self, row: int) -> Path:
        return self.runs[row] / "people" / f"{self.names[row]}-{int(self.tracklets.tracks[row]):05d}.jpg"

    def take(self, rows: np.ndarray) -> Recorded:
        def of(column: tuple) -> tuple:
            return tuple(column[row] for row in rows.tolist()) if column else ()

        return Recorded(
            self.tracklets.take(rows), of(self.runs), of(self.names), of(self.frames), of(self.boxes), self.calibration,
            of(self.weights), of(self.best), of(self.looks),
        )  # fmt: skip

    @property
    def keys(self) -> list[Key]:
        """(camera, track) of each row."""
        return list(zip(self.tracklets.cameras.tolist(), self.tracklets.tracks.tolist(), strict=True))


def read_runs(folders: Sequence[Path], looks: bool = False) -> Recorded:
    """All tracklets of run folders, single ``looks`` too if asked. A camera name that several runs have is written ``run/camera``.

    Raises UsageError for a folder without tracklets, and where the embeddings are of different models.
    """
    tables = []
    for folder in folders:
        path = folder / "tracklets.parquet"
        if not path.is_file():
            raise UsageError(f"{folder}: no tracklets.parquet there; give the output folder of passerby run")
        tables.append(read_tracklets(path, COLUMNS + LOOKS if looks else COLUMNS))
    facts = [facts_of(table) for table in tables]
    with_looks = [(folder, fact) for folder, fact in zip(folders, facts, strict=True) if "reid" in fact]
    for folder, fact in with_looks:
        if fact["reid"] != with_looks[0][1]["reid"]:
            raise UsageError(
                f"{folder}: its embeddings are of another re-ID model ({fact['reid'][:12]}) than those of {with_looks[0][0]} "
                f"({with_looks[0][1]['reid'][:12]}): run again with one --reid for all"
            )
    calibration: dict[str, float] = {
        key: float(with_looks[0][1][key]) for key in ("slope", "offset") if with_looks and key in with_looks[0][1]
    }
    cameras = [set(table["camera"].to_pylist()) for table in tables]
    seen = [name for names in cameras for name in names]
    columns: dict[str, list] = defaultdict(list)
    for folder, table in zip(folders, tables, strict=True):
        for row in (row for batch in table.to_batches(64) for row in batch.to_pylist()):
            name = row["camera"]
            columns["cameras"].append(f"{folder.name}/{name}" if seen.count(name) > 1 else name)
            columns["names"].append(name)
            columns["runs"].append(folder)
            columns["tracks"].append(row["track"])
            columns["start"].append(row["start_time"])
            columns["end"].append(row["end_time"])
            columns["embeddings"].append(row["embedding"])
            columns["weights"].append(float(row["quality"] * row["embeddings_count"]))
            columns["best"].append(row.get("best_crop") or 0)
            if looks:
                single = np.array(row.get("looks") or [], np.float32).reshape(len(row.get("looks") or []), -1 if row.get("looks") else 0)
                columns["looks"].append((np.array(row.get("look_times") or []), single))
            boxes = np.array(row["boxes"], np.float64).reshape(-1, 4)
            columns["frames"].append(np.array(row["frames"], np.int64))
            columns["boxes"].append(boxes)
            columns["paths"].append(np.c_[row["times"], (boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]])
    width = max((len(row) for row in columns["embeddings"] if row is not None), default=0)
    embeddings = np.zeros((len(columns["tracks"]), width), np.float32)
    for at, row in enumerate(columns["embeddings"]):
        if row is not None:
            embeddings[at] = row
    tracklets = Tracklets(
        np.array(columns["cameras"], object), np.array(columns["tracks"], np.int64), np.array(columns["start"], np.float64),
        np.array(columns["end"], np.float64), embeddings, tuple(columns["paths"]),
    )  # fmt: skip
    return Recorded(
        tracklets, tuple(columns["runs"]), tuple(columns["names"]), tuple(columns["frames"]), tuple(columns["boxes"]), calibration,
        tuple(columns["weights"]), tuple(columns["best"]), tuple(columns["looks"]),
    )  # fmt: skip


S = TypeVar("S", AssociationSettings, RefineSettings)


def calibrated(settings: S, facts: Mapping[str, float | str]) -> S:
    """``settings`` with the calibration (``slope``, ``offset``) that a run carries, where they name no other."""
    if settings.slope is not None or settings.offset is not None or "slope" not in facts:
        return settings
    return replace(settings, slope=float(facts["slope"]), offset=float(facts["offset"]))


def identify(recorded: Recorded, site: Site, settings: AssociationSettings) -> Identities:
    """Associate with the calibration that the runs carry, where the settings name no other."""
    return associate(recorded.tracklets, site, calibrated(settings, recorded.calibration))


def write_identities(out: Path, recorded: Recorded, identities: Identities) -> None:
    """``identities.parquet``, ``identities.csv``, ``uncertain.csv``, ``people/<identity>.jpg`` and ``<camera>/tracks.global.txt``.

    Raises OutputError where one cannot be written.
    """
    tracklets = recorded.tracklets
    order = np.lexsort((tracklets.start, identities.ids))
    columns = {
        "identity": identities.ids[order],
        "camera": tracklets.cameras[order].tolist(),
        "track": tracklets.tracks[order],
        "start_time": tracklets.start[order],
        "end_time": tracklets.end[order],
        "confidence": identities.confidence[order].astype(np.float32),
    }
    try:
        (out / "people").mkdir(parents=True, exist_ok=True)
        runs = [os.path.relpath(run, out) for run in dict.fromkeys(recorded.runs)]
        table = pa.table(columns).replace_schema_metadata({"passerby.identities": str(VERSION), "runs": json.dumps(runs)})
        pq.write_table(table, out / "identities.parquet", compression="zstd")
        with (out / "identities.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in table.to_pylist():
                row |= {
                    "start_time": f"{row['start_time']:.3f}",
                    "end_time": f"{row['end_time']:.3f}",
                    "confidence": f"{row['confidence']:.3f}",
                }
                writer.writerow(row.values())
        with (out / "uncertain.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["camera_a", "track_a", "identity_a", "camera_b", "track_b", "identity_b", "probability"])
            for (a, b), odds in zip(identities.uncertain[:MOST_UNCERTAIN].tolist(), identities.odds.tolist(), strict=False):
                both = [value for row in (a, b) for value in (tracklets.cameras[row], tracklets.tracks[row], identities.ids[row])]
                writer.writerow([*both, f"{probability(odds):.3f}"])
        for old in (out / "people").glob("[0-9][0-9][0-9][0-9][0-9].jpg"):
            old.unlink()
        for identity, rows in _groups(identities.ids):
            sheets = [sheet for row in rows if (sheet := recorded.sheet(row)).is_file()]
            if sheets:
                picture = identity_sheet(identity, sheets)
                (out / "people" / f"{identity:05d}.jpg").write_bytes(
                    cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
                )
        _write_tracks(out, recorded, identities)
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None


def read_identities(out: Path) -> tuple[Recorded, Identities]:
    """What ``write_identities`` wrote, with the tracklets of its runs that have an identity.

    Raises UsageError where there is none, or where the runs are not the ones it was made from.
    """
    path = out / "identities.parquet"
    if not path.is_file():
        raise UsageError(f"{out}: no identities.parquet there; give the output folder of passerby run or passerby associate")
    table = pq.read_table(path)
    runs = json.loads((table.schema.metadata or {}).get(b"runs", b"[]"))
    if not runs:
        raise UsageError(f"{path}: it does not say which runs it is of; make it again with passerby associate")
    recorded = read_runs([out / run for run in runs])
    said = {(row["camera"], row["track"]): (row["identity"], row["confidence"]) for row in table.to_pylist()}
    missing = sorted(set(said) - set(recorded.keys))
    if missing:
        raise UsageError(
            f"{path}: track {missing[0][1]} of camera {missing[0][0]} is not in its runs: make it again with passerby associate"
        )
    recorded = recorded.take(np.array([row for row, key in enumerate(recorded.keys) if key in said], np.int64))
    place = {key: row for row, key in enumerate(recorded.keys)}
    with (out / "uncertain.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            (place[r["camera_a"], int(r["track_a"])], place[r["camera_b"], int(r["track_b"])], float(r["probability"]))
            for r in csv.DictReader(file)
        ]
    chance = np.clip([row[2] for row in rows], 1e-6, 1 - 1e-6)
    return recorded, Identities(
        np.array([said[key][0] for key in recorded.keys], np.int64), np.array([said[key][1] for key in recorded.keys], np.float64),
        np.array([row[:2] for row in rows], np.int64).reshape(-1, 2), np.log(chance / (1 - chance)),
    )  # fmt: skip


def _write_tracks(out: Path, recorded: Recorded, identities: Identities) -> None:
    """Each camera's ``tracks.txt`` with identities instead of track ids."""
    cameras: dict[str, dict[int, int]] = defaultdict(dict)
    source = {}
    for row, camera in enumerate(recorded.tracklets.cameras.tolist()):
        cameras[camera][int(recorded.tracklets.tracks[row])] = int(identities.ids[row])
        source[camera] = recorded.runs[row] / recorded.names[row] / "tracks.txt"
    for camera, who in cameras.items():
        if not source[camera].is_file():
            continue
        folder = out / camera
        folder.mkdir(parents=True, exist_ok=True)
        with source[camera].open(encoding="utf-8") as lines, (folder / "tracks.global.txt").open("w", encoding="utf-8") as file:
            for line in lines:
                frame, track, rest = line.split(",", 2)
                if int(track) in who:
                    file.write(f"{frame},{who[int(track)]},{rest}")


def _groups(ids: np.ndarray) -> Iterable[tuple[int, list[int]]]:
    if not len(ids):
        return
    order = np.argsort(ids, kind="stable")
    values, first = np.unique(ids[order], return_index=True)
    for value, rows in zip(values.tolist(), np.split(order, first[1:]), strict=True):
        yield value, rows.tolist()


@dataclass(frozen=True)
class Visit:
    """A tracklet of a person on the page; ``sheet`` is a path below the page's folder, or None."""

    camera: str
    track: int
    start: float
    end: float
    thumbnail: str | None


@dataclass(frozen=True)
class Person:
    """A row of the page: an identity, how sure, and its visits in order of time."""

    identity: int
    confidence: float
    visits: tuple[Visit, ...]
    sheet: str

    @property
    def cameras(self) -> list[str]:
        return sorted({visit.camera for visit in self.visits})


def people(recorded: Recorded, identities: Identities, most: int = 300, thumbnails: int = 6) -> tuple[list[Person], int]:
    """Rows for the page, those seen most often first where there are over ``most``; and how many are left out."""
    every = sorted(_groups(identities.ids), key=lambda item: (-len(item[1]), item[0]))
    rows = []
    for identity, members in sorted(every[:most]):
        members = sorted(members, key=lambda row: (recorded.tracklets.start[row], recorded.tracklets.cameras[row]))
        visits = []
        for at, row in enumerate(members):
            sheet = recorded.sheet(row)
            visits.append(
                Visit(
                    str(recorded.tracklets.cameras[row]), int(recorded.tracklets.tracks[row]),
                    float(recorded.tracklets.start[row]), float(recorded.tracklets.end[row]),
                    crop_of(sheet, recorded.best[row]) if at < thumbnails else None,
                )
            )  # fmt: skip
        rows.append(Person(identity, float(identities.confidence[members].min()), tuple(visits), f"people/{identity:05d}.jpg"))
    return rows, max(0, len(every) - most)


def summary(recorded: Recorded, identities: Identities) -> dict[str, object]:
    """Counts for ``run.json`` and the command's last lines."""
    cameras = [len(set(recorded.tracklets.cameras[rows].tolist())) for _, rows in _groups(identities.ids)]
    return {
        "tracklets": len(identities.ids),
        "identities": len(cameras),
        "in_several_cameras": sum(count > 1 for count in cameras),
        "uncertain_pairs": len(identities.uncertain),
    }
