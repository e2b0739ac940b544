"""``passerby reid collect``: a re-ID training set of a user's own from the people that a run found."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from pipeline.errors import UsageError, writing
from pipeline.formats.crop_table import Key, read_crops
from pipeline.identities.recorded import RecordedTracklets
from pipeline.identities.results import read_identities

LEAST_PICTURES = 2  # of a person who is to teach anything


def file_names(cameras: list[str]) -> dict[str, str]:
    """Each camera's name as a file's name can begin with, without ``_``, which ends it there; different cameras' differ."""
    names: dict[str, str] = {}
    for camera in sorted(set(cameras)):
        name = re.sub(r"[^\w.]+|_+", "-", camera)
        while name in names.values():
            name += "-"
        names[camera] = name
    return names


def crops_of(recorded: RecordedTracklets) -> dict[int, list[bytes]]:
    """By row the crops of its tracklet, JPEG, in order of time."""
    row_of: dict[tuple[Path, Key], int] = {}
    for row, (run, name, track) in enumerate(zip(recorded.runs, recorded.names, recorded.tracklets.tracks.tolist(), strict=True)):
        row_of[run, (name, track)] = row
    crops: dict[int, list[bytes]] = {}
    for run in dict.fromkeys(recorded.runs):
        for key, _, jpeg in read_crops(run / "crops.parquet"):
            if (run, key) in row_of:
                crops.setdefault(row_of[run, key], []).append(jpeg)
    return crops


def collect(run: Path, out: Path, sure: float, across: bool) -> dict[str, int]:
    """Write ``out/PERSON/CAMERA_TRACK_NUMBER.jpg`` from the crops of a folder with identities; returns counts.

    People of whom association is less than ``sure``, 0..1, are left out; with ``across`` those too whom one camera alone has seen.
    Raises UsageError where there are no identities or ``out`` holds files, OutputError where it cannot be written.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is there already and not empty; choose another folder for the training set")
    recorded, found = read_identities(run)
    crops = crops_of(recorded)
    called = file_names(recorded.tracklets.cameras.tolist())
    counts = {"people": 0, "pictures": 0, "left_out": 0}
    for identity in np.unique(found.ids).tolist():
        rows = np.flatnonzero(found.ids == identity)
        cameras = recorded.tracklets.cameras[rows]
        pictures = [
            (f"{called[camera]}_{int(recorded.tracklets.tracks[row]):05d}_{number:02d}.jpg", jpeg)
            for row, camera in zip(rows.tolist(), cameras.tolist(), strict=True)
            for number, jpeg in enumerate(crops.get(row, ()), 1)
        ]
        unsure = float(found.confidence[rows].min()) < sure or (across and len(set(cameras.tolist())) < 2)
        if unsure or len(pictures) < LEAST_PICTURES:
            counts["left_out"] += 1
            continue
        with writing(out):
            folder = out / f"{identity:05d}"
            folder.mkdir(parents=True)
            for name, jpeg in pictures:
                (folder / name).write_bytes(jpeg)
        counts["people"] += 1
        counts["pictures"] += len(pictures)
    if not counts["people"]:
        raise UsageError(f"{run}: nobody of whom association is {sure} sure and who has {LEAST_PICTURES} pictures; lower --sure")
    return counts
