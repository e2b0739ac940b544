"""``passerby refine``: tracks made better after the fact, of a run or of any tracker's MOTChallenge text with its video."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TextIO

import numpy as np

from pipeline.engine.tracklet_builder import CLEAR, MOST_LOOKS
from pipeline.errors import OutputError, UsageError
from pipeline.formats.mot import read_rows, write_frame
from pipeline.formats.tracklet import Tracklet
from pipeline.formats.tracklet_table import TrackletTable, facts_of, read_tracklets
from pipeline.identities.recorded import calibrated
from pipeline.sources.frame import Selection
from pipeline.sources.open import open_source
from reid import Embedder
from tracker.following.costs import visibility
from tracker.refine import RefineSettings, Track, pooled, refine


def refine_run(run: Path, out: Path, settings: RefineSettings) -> dict[str, dict[str, int]]:
    """Refine every camera of a run into ``out``, a folder like a run's: tracks.txt, tracklets.parquet and the sheets that still hold.

    Returns per camera the number of tracks before and after. Raises UsageError where ``run`` has no tracklets or is ``out``.
    """
    if run.resolve() == out.resolve():
        raise UsageError(f"{out}: refining writes a new folder; choose another than the run's")
    path = run / "tracklets.parquet"
    if not path.is_file():
        raise UsageError(f"{run}: no tracklets.parquet there; give the output folder of passerby run")
    table = read_tracklets(path)
    facts = facts_of(table)
    settings = calibrated(settings, facts)
    rows: dict[str, list[dict]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["camera"], []).append(row)
    counts = {}
    try:
        (out / "people").mkdir(parents=True, exist_ok=True)
        written = TrackletTable(out / "tracklets.parquet", facts)
        for camera, every in sorted(rows.items()):
            tracks = [_track(row) for row in every]
            whole = refine(tracks, _times(tracks), settings)
            before = {row["track"]: row for row in every}
            (out / camera).mkdir(exist_ok=True)
            with (out / camera / "tracks.txt").open("w", encoding="utf-8") as file:
                write_tracks(file, whole)
            for track in whole:
                written.add(_tracklet(camera, track, before.get(track.id)))
                sheet = run / "people" / f"{camera}-{track.id:05d}.jpg"
                if sheet.is_file():
                    shutil.copy(sheet, out / "people" / sheet.name)
            counts[camera] = {"before": len(tracks), "after": len(whole)}
        written.close()
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None
    return counts


def refine_text(tracks: Path, video: Path | None, out: Path, settings: RefineSettings, embedder: Embedder | None) -> dict[str, int]:
    """Refine MOTChallenge text, looks taken from ``video`` (None: by motion alone, at 25 frames per second).

    Raises UsageError for a file that is not MOTChallenge text or names frames that the video has not.
    """
    rows = read_rows(tracks)
    last = int(rows[:, 0].max(initial=0))
    times = np.arange(last) / 25.0
    looks: dict[int, list[tuple[float, np.ndarray]]] = {}
    if video is not None:
        times, looks = _look(rows, video, embedder)
        if last > len(times):
            raise UsageError(f"{tracks}: a row of frame {last}, but {video} has {len(times)} frames")
    if embedder is not None and settings.slope is None and settings.offset is None:
        calibration = embedder.facts.for_tracklets
        settings = replace(settings, slope=calibration.slope, offset=calibration.offset)
    given = []
    for who in np.unique(rows[:, 1]).tolist():
        mine = rows[rows[:, 1] == who]
        mine = mine[np.unique(mine[:, 0], return_index=True)[1]]
        boxes = np.c_[mine[:, 2:4], mine[:, 2:4] + mine[:, 4:6]].astype(np.float32)
        scores = mine[:, 6].clip(0, 1) if mine.shape[1] > 6 else np.ones(len(mine))
        seen = looks.get(int(who), [])
        frames = mine[:, 0].astype(np.int64)
        look_rows = np.array([row for _, row in seen], np.float32).reshape(len(seen), -1 if seen else 0)
        given.append(Track(int(who), frames, times[frames - 1], boxes, scores, np.array([time for time, _ in seen]), look_rows))
    whole = refine(given, times, settings)
    try:
        with out.open("w", encoding="utf-8") as file:
            write_tracks(file, whole)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
    return {"before": len(given), "after": len(whole)}


def write_tracks(file: TextIO, tracks: list[Track]) -> None:
    """MOTChallenge rows in the order of frames and ids."""
    if not tracks:
        return
    frames = np.concatenate([track.frames for track in tracks])
    ids = np.concatenate([np.full(len(track.frames), track.id) for track in tracks])
    boxes = np.concatenate([track.boxes for track in tracks])
    scores = np.concatenate([track.scores for track in tracks])
    for row in np.lexsort((ids, frames)).tolist():
        write_frame(file, int(frames[row]), ids[row : row + 1], boxes[row : row + 1], scores[row : row + 1])


def _look(rows: np.ndarray, video: Path, embedder: Embedder | None) -> tuple[np.ndarray, dict[int, list[tuple[float, np.ndarray]]]]:
    """Seconds of each frame, and per track up to ``MOST_LOOKS`` embeddings of boxes that nobody covers."""
    at_frame = {int(frame): np.flatnonzero(rows[:, 0] == frame) for frame in np.unique(rows[:, 0])}
    wanted: set[int] = set()
    for who in np.unique(rows[:, 1]):
        mine = np.flatnonzero(rows[:, 1] == who)
        wanted |= set(mine[np.linspace(0, len(mine) - 1, min(len(mine), MOST_LOOKS)).round().astype(int)].tolist())
    times: list[float] = []
    looks: dict[int, list[tuple[float, np.ndarray]]] = {}
    for frame in open_source(video).read(Selection(1, None, None)):
        times += [frame.time] * (frame.index + 1 - len(times))
        there = at_frame.get(frame.index + 1, np.zeros(0, int))
        boxes = np.c_[rows[there, 2:4], rows[there, 2:4] + rows[there, 4:6]].astype(np.float64)
        clear = visibility(boxes)
        chosen = [k for k, row in enumerate(there.tolist()) if row in wanted and clear[k] >= CLEAR]
        if embedder is not None and chosen:
            for k, look in zip(chosen, embedder.embed_boxes(frame.image, boxes[chosen]), strict=True):
                looks.setdefault(int(rows[there[k], 1]), []).append((frame.time, look))
    return np.array(times), looks


def _track(row: dict) -> Track:
    looks = [np.array(look, np.float32) for look in row.get("looks") or []]
    columns = (np.array(row[name]) for name in ("frames", "times", "boxes", "scores"))
    frames, times, boxes, scores = columns
    stacked = np.stack(looks) if looks else np.zeros((0, 0), np.float32)
    return Track(
        row["track"], frames, times, boxes.astype(np.float32).reshape(-1, 4), scores, np.array(row.get("look_times") or []), stacked
    )


def _times(tracks: list[Track]) -> np.ndarray:
    """Seconds of frame 1, 2, ... as far as any track goes; between the frames that tracks know, linear."""
    frames, first = np.unique(np.concatenate([track.frames for track in tracks]), return_index=True)
    return np.interp(np.arange(1, frames[-1] + 1), frames, np.concatenate([track.times for track in tracks])[first])


def _tracklet(camera: str, track: Track, before: dict | None) -> Tracklet:
    """A refined track as a row; an embedding of many crops is kept where the track's looks are still the same ones."""
    embedding, count = None, len(track.looks)
    if before is not None and before["embedding"] is not None and track.look_times.tolist() == (before.get("look_times") or []):
        embedding, count = np.array(before["embedding"], np.float32), before["embeddings_count"]
    elif count:
        embedding = pooled(track.looks)
    best = (before or {}).get("best_crop") or 0
    quality = before["quality"] if before is not None else float(track.scores.mean())
    return Tracklet(
        camera, track.id, track.frames, track.times, track.boxes, track.scores, embedding, count, quality, (), (), best,
        track.look_times, track.looks,
    )  # fmt: skip
