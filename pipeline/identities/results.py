"""Files of identities: ``identities.parquet``, ``identities.csv``, ``uncertain.csv``, tracks with identities, contact sheets."""

from __future__ import annotations

import csv
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError, writing
from pipeline.formats.contact_sheet import identity_sheet
from pipeline.formats.grouping import grouped
from pipeline.formats.paths import inside, local
from pipeline.formats.wall_clock import iso, time_zone
from pipeline.identities.recorded import RecordedTracklets, read_runs
from tracker import Identities
from tracker.linking.evidence import probability

VERSION = 1
MAX_UNCERTAIN = 10_000  # rows of uncertain.csv


def write_identities(out: Path, recorded: RecordedTracklets, identities: Identities, runs: Sequence[Path] | None = None) -> None:
    """Write ``identities.parquet``, ``identities.csv``, ``uncertain.csv``, ``people/<identity>.jpg`` and ``<camera>/tracks.global.txt``.

    ``runs``: the runs that they are about, if not only those of ``recorded``. Raises OutputError if one cannot be written.
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
        "start_wall": _wall(recorded, tracklets.start)[order],
        "end_wall": _wall(recorded, tracklets.end)[order],
    }
    zone = time_zone(recorded.time_zone)
    with writing(out):
        (out / "people").mkdir(parents=True, exist_ok=True)
        places = [os.path.relpath(run, out) for run in runs or recorded.folders]
        times = {name: pa.array(columns[name].astype("datetime64[us]"), pa.timestamp("us", "UTC")) for name in ("start_wall", "end_wall")}
        table = pa.table(columns | times).replace_schema_metadata({"passerby.identities": str(VERSION), "runs": json.dumps(places)})
        pq.write_table(table, local(out / "identities.parquet"), compression="zstd")
        with (out / "identities.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(columns)
            for row in table.to_pylist():
                walls = {
                    name: "" if (moment := row[name]) is None else iso(moment.timestamp(), zone) for name in ("start_wall", "end_wall")
                }
                row |= walls | {
                    "start_time": f"{row['start_time']:.3f}",
                    "end_time": f"{row['end_time']:.3f}",
                    "confidence": f"{row['confidence']:.3f}",
                }
                writer.writerow(row.values())
        with (out / "uncertain.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["camera_a", "track_a", "identity_a", "camera_b", "track_b", "identity_b", "probability"])
            for (a, b), odds in zip(identities.uncertain[:MAX_UNCERTAIN].tolist(), identities.odds.tolist(), strict=False):
                both = [value for row in (a, b) for value in (tracklets.cameras[row], tracklets.tracks[row], identities.ids[row])]
                writer.writerow([*both, f"{probability(odds):.3f}"])
        for old in (out / "people").glob("[0-9][0-9][0-9][0-9][0-9].jpg"):
            old.unlink()
        for identity, rows in by_identity(identities.ids):
            sheets = [sheet for row in rows if (sheet := recorded.sheet(row)).is_file()]
            if sheets:
                sheet_image = identity_sheet(identity, sheets)
                (out / "people" / f"{identity:05d}.jpg").write_bytes(
                    cv2.imencode(".jpg", sheet_image, [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes()
                )
        _write_tracks(out, recorded, identities)


def _wall(recorded: RecordedTracklets, seconds: np.ndarray) -> np.ndarray:
    """(n,) datetime64 UTC of times (n,); NaT where the wall-clock time is not known."""
    epochs = recorded.epochs if len(recorded.epochs) else np.full(len(seconds), np.nan)
    known = ~np.isnan(epochs)
    out = np.full(len(seconds), np.datetime64("NaT", "us"))
    out[known] = np.round((epochs[known] + seconds[known]) * 1e6).astype("int64").astype("datetime64[us]")
    return out


def runs_of(out: Path) -> list[Path]:
    """The runs that the identities in ``out`` are about. Raises UsageError if there are none."""
    path = out / "identities.parquet"
    if not path.is_file():
        raise UsageError(f"{out}: no identities.parquet; expected the output folder of passerby run or passerby associate")
    runs = json.loads((pq.read_schema(local(path)).metadata or {}).get(b"runs", b"[]"))
    if not runs:
        raise UsageError(f"{path}: does not name its runs; recreate it with passerby associate")
    return [out / run for run in runs]


def read_identities(out: Path, missing_ok: bool = False) -> tuple[RecordedTracklets, Identities]:
    """Read what ``write_identities`` wrote, with the tracklets of its runs that have an identity.

    Raises UsageError if there are no identities, or if the runs have changed since; ``missing_ok``: what is no longer in them is left out.
    """
    path = out / "identities.parquet"
    recorded = read_runs(runs_of(out))
    table = pq.read_table(local(path))
    assigned = {(row["camera"], row["track"]): (row["identity"], row["confidence"]) for row in table.to_pylist()}
    missing = sorted(set(assigned) - set(recorded.keys))
    if missing and not missing_ok:
        raise UsageError(f"{path}: track {missing[0][1]} of camera {missing[0][0]} is not in its runs; recreate it with passerby associate")
    recorded = recorded.take(np.array([row for row, key in enumerate(recorded.keys) if key in assigned], np.int64))
    place = {key: row for row, key in enumerate(recorded.keys)}
    with (out / "uncertain.csv").open(newline="", encoding="utf-8") as file:
        rows = [
            (place[r["camera_a"], int(r["track_a"])], place[r["camera_b"], int(r["track_b"])], float(r["probability"]))
            for r in csv.DictReader(file)
            if (r["camera_a"], int(r["track_a"])) in place and (r["camera_b"], int(r["track_b"])) in place
        ]
    chance = np.clip([row[2] for row in rows], 1e-6, 1 - 1e-6)
    return recorded, Identities(
        np.array([assigned[key][0] for key in recorded.keys], np.int64), np.array([assigned[key][1] for key in recorded.keys], np.float64),
        np.array([row[:2] for row in rows], np.int64).reshape(-1, 2), np.log(chance / (1 - chance)),
    )  # fmt: skip


def _write_tracks(out: Path, recorded: RecordedTracklets, identities: Identities) -> None:
    """Write each camera's ``tracks.txt`` with identities instead of track ids."""
    cameras: dict[str, dict[int, int]] = defaultdict(dict)
    for row, camera in enumerate(recorded.tracklets.cameras.tolist()):
        cameras[camera][int(recorded.tracklets.tracks[row])] = int(identities.ids[row])
    for camera, identity_of in cameras.items():
        sources = [path for path in recorded.texts.get(camera, ()) if path.is_file()]
        if not sources:
            continue
        folder = inside(out, camera)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "tracks.global.txt").open("w", encoding="utf-8") as file:
            for source in sources:
                with source.open(encoding="utf-8") as lines:
                    for line in lines:
                        frame, track, rest = line.split(",", 2)
                        if int(track) in identity_of:
                            file.write(f"{frame},{identity_of[int(track)]},{rest}")


def by_identity(ids: np.ndarray) -> list[tuple[int, list[int]]]:
    """Each identity of ``ids`` (n,), in ascending order, with its rows."""
    return [(identity, rows.tolist()) for identity, rows in grouped(ids)]
