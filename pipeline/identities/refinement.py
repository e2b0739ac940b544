"""``passerby refine``: post-process the tracks of a run or of any tracker's MOTChallenge text with its video."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from pipeline.errors import UsageError, writing
from pipeline.formats.crop_table import copy_crops
from pipeline.formats.grouping import grouped
from pipeline.formats.mot import read_tracks, write_rows
from pipeline.formats.rows import MotRows
from pipeline.formats.tracklet import MAX_EMBEDDINGS, MIN_VISIBILITY, Tracklet
from pipeline.formats.tracklet_table import TrackletTable, began_of, facts_of, read_tracklets
from pipeline.identities.recorded import calibrated, check_cameras
from pipeline.sources.frame import Selection
from pipeline.sources.open import open_source
from reid import Embedder
from tracker.following.costs import visibility
from tracker.refine import RefineSettings, Track, pooled, refine

log = logging.getLogger(__name__)


def refine_run(run: Path, out: Path, settings: RefineSettings) -> dict[str, dict[str, int]]:
    """Refine every camera of a run into ``out``, a folder like a run's: tracks.txt, tracklets.parquet, and crops and sheets of kept ids.

    Returns per camera the number of tracks before and after. Raises UsageError if ``run`` has no tracklets or is ``out``.
    """
    if run.resolve() == out.resolve():
        raise UsageError(f"{out}: the output folder must not be the run's own; choose another one")
    path = run / "tracklets.parquet"
    if not path.is_file():
        raise UsageError(f"{run}: no tracklets.parquet; expected the output folder of passerby run")
    table = read_tracklets(path)
    facts = facts_of(table)
    settings = calibrated(settings, facts)
    rows: dict[str, list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        rows.setdefault(row["camera"], []).append(row)
    check_cameras(path, rows)
    counts, kept = {}, set()
    with writing(out):
        (out / "people").mkdir(parents=True, exist_ok=True)
        written = TrackletTable(out / "tracklets.parquet", facts, began=began_of(table))
        for camera, every in sorted(rows.items()):
            tracks = [_track(row) for row in every]
            refined = refine(tracks, _times(tracks), settings)
            before = {row["track"]: row for row in every}
            (out / camera).mkdir(exist_ok=True)
            with (out / camera / "tracks.txt").open("w", encoding="utf-8") as file:
                write_tracks(file, refined)
            for track in refined:
                written.add(_tracklet(camera, track, before.get(track.id)))
                sheet = run / "people" / f"{camera}-{track.id:05d}.jpg"
                if sheet.is_file():
                    shutil.copy(sheet, out / "people" / sheet.name)
                kept.add((camera, track.id))
            counts[camera] = {"before": len(tracks), "after": len(refined)}
        written.close()
        copy_crops(run / "crops.parquet", out / "crops.parquet", kept)
    return counts


def refine_text(tracks: Path, video: Path | None, out: Path, settings: RefineSettings, embedder: Embedder | None) -> dict[str, int]:
    """Refine MOTChallenge text, with embeddings from ``video`` (None: by motion alone, at 25 frames per second).

    Raises UsageError for a file that is not MOTChallenge text, or that has frames beyond the end of the video.
    """
    rows = read_tracks(tracks)
    if rows.note is not None:
        log.warning("%s", rows.note)
    times = np.arange(rows.last_frame) / 25.0
    embeddings: dict[int, list[tuple[float, np.ndarray]]] = {}
    if video is not None:
        times, embeddings = _embed(rows, video, embedder)
        if rows.last_frame > len(times):
            raise UsageError(f"{tracks}: has a row in frame {rows.last_frame}, but {video} has {len(times)} frames")
    if embedder is not None and settings.slope is None and settings.offset is None:
        calibration = embedder.facts.for_tracklets
        settings = settings.changed(slope=calibration.slope, offset=calibration.offset)
    given = []
    scores = rows.known_scores.clip(0, 1)
    for track_id, mine in grouped(rows.ids):
        frames, found = rows.frames[mine], embeddings.get(track_id, [])
        stacked = np.array([row for _, row in found], np.float32).reshape(len(found), -1 if found else 0)
        boxes = rows.boxes[mine].astype(np.float32)
        given.append(Track(track_id, frames, times[frames - 1], boxes, scores[mine], np.array([time for time, _ in found]), stacked))
    refined = refine(given, times, settings)
    with writing(out), out.open("w", encoding="utf-8") as file:
        write_tracks(file, refined)
    return {"before": len(given), "after": len(refined)}


def write_tracks(file: TextIO, tracks: list[Track]) -> None:
    """Write MOTChallenge rows, sorted by frame and id."""
    if not tracks:
        return
    frames = np.concatenate([track.frames for track in tracks])
    ids = np.concatenate([np.full(len(track.frames), track.id) for track in tracks])
    boxes = np.concatenate([track.boxes for track in tracks])
    scores = np.concatenate([track.scores for track in tracks])
    order = np.lexsort((ids, frames))
    write_rows(file, frames[order], ids[order], boxes[order], scores[order])


def _embed(rows: MotRows, video: Path, embedder: Embedder | None) -> tuple[np.ndarray, dict[int, list[tuple[float, np.ndarray]]]]:
    """Seconds of each frame, and per track up to ``MAX_EMBEDDINGS`` embeddings of uncovered boxes."""
    at_frame = dict(grouped(rows.frames))
    wanted = np.zeros(len(rows), bool)
    for _, mine in grouped(rows.ids):
        wanted[mine[np.linspace(0, len(mine) - 1, min(len(mine), MAX_EMBEDDINGS)).round().astype(int)]] = True
    times: list[float] = []
    embeddings: dict[int, list[tuple[float, np.ndarray]]] = {}
    for frame in open_source(video).read(Selection(1, None, None)):
        times += [frame.time] * (frame.index + 1 - len(times))
        there = at_frame.get(frame.index + 1, np.zeros(0, int))
        boxes = rows.boxes[there]
        chosen = np.flatnonzero(wanted[there] & (visibility(boxes) >= MIN_VISIBILITY))
        if embedder is not None and len(chosen):
            for row, embedding in zip(there[chosen].tolist(), embedder.embed_boxes(frame.image, boxes[chosen]), strict=True):
                embeddings.setdefault(int(rows.ids[row]), []).append((frame.time, embedding))
    return np.array(times), embeddings


def _track(row: dict[str, Any]) -> Track:
    embeddings = [np.array(one, np.float32) for one in row.get("embeddings") or []]
    columns = (np.array(row[name]) for name in ("frames", "times", "boxes", "scores"))
    frames, times, boxes, scores = columns
    stacked = np.stack(embeddings) if embeddings else np.zeros((0, 0), np.float32)
    return Track(
        row["track"], frames, times, boxes.astype(np.float32).reshape(-1, 4), scores, np.array(row.get("embedding_times") or []), stacked
    )


def _times(tracks: list[Track]) -> np.ndarray:
    """Seconds of frame 1, 2, ... up to the last frame of any track; interpolated linearly for frames without a box."""
    frames, first = np.unique(np.concatenate([track.frames for track in tracks]), return_index=True)
    return np.interp(np.arange(1, frames[-1] + 1), frames, np.concatenate([track.times for track in tracks])[first])


def _tracklet(camera: str, track: Track, before: dict[str, Any] | None) -> Tracklet:
    """A refined track as a tracklet. It keeps the original pooled embedding if its single embeddings are unchanged."""
    embedding, count = None, len(track.embeddings)
    if before is not None and before["embedding"] is not None and track.embedding_times.tolist() == (before.get("embedding_times") or []):
        embedding, count = np.array(before["embedding"], np.float32), before["embeddings_count"]
    elif count:
        embedding = pooled(track.embeddings)
    best = (before or {}).get("best_crop") or 0
    quality = before["quality"] if before is not None else float(track.scores.mean())
    return Tracklet(
        camera, track.id, track.frames, track.times, track.boxes, track.scores, embedding, count, quality, (), (), best,
        track.embedding_times, track.embeddings,
    )  # fmt: skip
