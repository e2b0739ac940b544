"""``passerby reid collect``: a re-ID training set from the identities of a run."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError, writing
from pipeline.formats.crop_table import Key, read_crops
from pipeline.identities.recorded import RecordedTracklets
from pipeline.identities.results import read_identities

MIN_IMAGES = 2  # per person; one image gives no positive pair


def file_names(cameras: list[str]) -> dict[str, str]:
    """Each camera's name as the unique prefix of file names, without ``_``, which separates it from the rest."""
    names: dict[str, str] = {}
    for camera in sorted(set(cameras)):
        name = re.sub(r"[^\w.]+|_+", "-", camera)
        while name in names.values():
            name += "-"
        names[camera] = name
    return names


def crops_of(recorded: RecordedTracklets) -> dict[int, list[bytes]]:
    """The JPEG crops of each row's tracklet, in time order."""
    row_of: dict[tuple[Path, Key], int] = {}
    for row, (run, name, track) in enumerate(zip(recorded.runs, recorded.names, recorded.tracklets.tracks.tolist(), strict=True)):
        row_of[run, (name, track)] = row
    crops: dict[int, list[bytes]] = {}
    for run in dict.fromkeys(recorded.runs):
        for key, _, jpeg in read_crops(run / "crops.parquet"):
            if (run, key) in row_of:
                crops.setdefault(row_of[run, key], []).append(jpeg)
    return crops


def collect(run: Path, out: Path, min_confidence: float, across: bool) -> dict[str, int]:
    """Write ``out/PERSON/CAMERA_TRACK_NUMBER.jpg`` from the crops of a folder with identities; returns counts.

    Identities with a confidence below ``min_confidence``, 0..1, are left out; with ``across`` also those seen by only one camera.
    Raises UsageError if there are no identities or ``out`` is not empty, OutputError if it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: already exists and is not empty; choose another folder for the training set")
    recorded, found = read_identities(run)
    crops = crops_of(recorded)
    prefixes = file_names(recorded.tracklets.cameras.tolist())
    counts = {"people": 0, "pictures": 0, "left_out": 0}
    for identity in np.unique(found.ids).tolist():
        rows = np.flatnonzero(found.ids == identity)
        cameras = recorded.tracklets.cameras[rows]
        images = [
            (f"{prefixes[camera]}_{int(recorded.tracklets.tracks[row]):05d}_{number:02d}.jpg", jpeg)
            for row, camera in zip(rows.tolist(), cameras.tolist(), strict=True)
            for number, jpeg in enumerate(crops.get(row, ()), 1)
        ]
        uncertain = float(found.confidence[rows].min()) < min_confidence
        if uncertain or (across and len(set(cameras.tolist())) < 2) or len(images) < MIN_IMAGES:
            counts["left_out"] += 1
            continue
        with writing(out):
            folder = out / f"{identity:05d}"
            folder.mkdir(parents=True)
            for name, jpeg in images:
                (folder / name).write_bytes(jpeg)
        counts["people"] += 1
        counts["pictures"] += len(images)
    if not counts["people"]:
        raise UsageError(
            f"{run}: no identity has a confidence of {min_confidence} and {MIN_IMAGES} images"
            f"{' from several cameras' if across else ''}; lower --min-confidence{' or drop --across' if across else ''}"
        )
    return counts
