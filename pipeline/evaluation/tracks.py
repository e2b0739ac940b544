"""Evaluate MOTChallenge tracks against ground truth with TrackEval (Luiten et al., IJCV 2021)."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.formats.grouping import grouped
from pipeline.formats.mot import IGNORED, read_mot, read_tracks
from pipeline.formats.rows import MotRows

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Scores:
    """HOTA, DetA, AssA, IDF1 and MOTA in percent; numbers of identity switches, fragmentations and sequences."""

    hota: float
    det_a: float
    ass_a: float
    idf1: float
    mota: float
    switches: int
    fragments: int
    sequences: int


def evaluate(files: dict[str, tuple[Path, Path]], classes: Sequence[int | str] | None = None) -> Scores:
    """Evaluate sequences ``name -> (ground truth, tracks)``, combined over their frames.

    Ground truth without classes is all people; ``classes``: which are people where there are any, see ``MotRows.person_classes``. Raises
    UsageError naming file and line for a file that cannot be read.
    """
    return score({name: prepared(read_mot(truth), read_tracks(tracks, classes), classes) for name, (truth, tracks) in files.items()})


def prepared(truth: MotRows, tracks: MotRows, classes: Sequence[int | str] | None = None) -> tuple[MotRows, MotRows]:
    """Ground truth in MOTChallenge's classes, 1 for people, and the tracks that count: of VisDrone's ignored regions and objects, the boxes
    of tracks that lie in them by half or more are left out, as its benchmark does.
    """
    if tracks.note is not None:
        log.warning("%s", tracks.note)
    persons = truth.person_classes(classes)
    if persons is None or (persons == {1} and not truth.visdrone and not truth.names):
        return truth, tracks  # TrackEval knows MOTChallenge's classes
    person = np.isin(truth.classes, list(persons))
    kept = truth.take(np.flatnonzero(person))
    log.info("%s: classes %s are people: %d of %d rows", truth.path, sorted(persons), len(kept), len(truth))
    if truth.visdrone:
        regions = truth.take(np.flatnonzero(np.isin(truth.classes, IGNORED) & ~person))
        tracks = tracks.take(np.flatnonzero(~_inside(tracks, regions)))
    return replace(kept, classes=np.ones(len(kept), np.int64)), tracks


def _inside(rows: MotRows, regions: MotRows) -> np.ndarray:
    """(n,) bool: boxes of which half or more lies in one region of their frame."""
    out = np.zeros(len(rows), bool)
    region_of = dict(grouped(regions.frames))
    for frame, mine in grouped(rows.frames):
        if frame in region_of:
            a, b = rows.boxes[mine][:, None], regions.boxes[region_of[frame]][None]
            size = (np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])).clip(0)
            area = np.prod(a[..., 2:] - a[..., :2], axis=-1)
            out[mine] = (np.prod(size, axis=-1) >= 0.5 * np.maximum(area, 1e-9)).any(1)
    return out


def score(sequences: dict[str, tuple[MotRows, MotRows]]) -> Scores:
    """As ``evaluate``, on rows instead of files."""
    import trackeval

    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        root = Path(scratch)
        lengths = {}
        for name, (truth, tracks) in sequences.items():
            if not len(truth):
                raise UsageError(f"{truth.path}: nothing to score: no ground truth rows of people")
            if not ((truth.scores != 0) & (truth.classes <= 1)).any():
                raise UsageError(f"{truth.path}: nothing to score: no row is a pedestrian that counts (score not 0, class 1)")
            lengths[name] = max(truth.last_frame, tracks.last_frame, 1)
            (root / "gt" / name / "gt").mkdir(parents=True)
            (root / "tracks/run/data").mkdir(parents=True, exist_ok=True)
            _write_truth(root / "gt" / name / "gt/gt.txt", truth)
            _write_tracks(root / "tracks/run/data" / f"{name}.txt", tracks)
        config = trackeval.Evaluator.get_default_eval_config()
        quiet = (
            "PRINT_RESULTS",
            "PRINT_CONFIG",
            "TIME_PROGRESS",
            "OUTPUT_SUMMARY",
            "OUTPUT_DETAILED",
            "PLOT_CURVES",
            "USE_PARALLEL",
            "OUTPUT_EMPTY_CLASSES",
        )
        config.update(dict.fromkeys(quiet, False), BREAK_ON_ERROR=True, LOG_ON_ERROR=None)
        dataset = trackeval.datasets.MotChallenge2DBox(
            trackeval.datasets.MotChallenge2DBox.get_default_dataset_config()
            | {"GT_FOLDER": str(root / "gt"), "TRACKERS_FOLDER": str(root / "tracks"), "TRACKERS_TO_EVAL": ["run"], "SKIP_SPLIT_FOL": True}
            | {"SEQ_INFO": lengths, "PRINT_CONFIG": False, "CLASSES_TO_EVAL": ["pedestrian"], "BENCHMARK": "MOT17"}
        )
        metrics = [
            trackeval.metrics.HOTA(),
            trackeval.metrics.CLEAR({"PRINT_CONFIG": False}),
            trackeval.metrics.Identity({"PRINT_CONFIG": False}),
        ]
        try:
            results, _ = trackeval.Evaluator(config).evaluate([dataset], metrics)
        except trackeval.utils.TrackEvalException as error:
            raise UsageError(f"TrackEval rejected the input: {error}") from None
    found = results["MotChallenge2DBox"]["run"]["COMBINED_SEQ"]["pedestrian"]
    hota, clear, identity = found["HOTA"], found["CLEAR"], found["Identity"]
    return Scores(
        hota=_percent(hota["HOTA"]),
        det_a=_percent(hota["DetA"]),
        ass_a=_percent(hota["AssA"]),
        idf1=_percent(identity["IDF1"]),
        mota=_percent(clear["MOTA"]),
        switches=int(clear["IDSW"]),
        fragments=int(clear["Frag"]),
        sequences=len(sequences),
    )


def _percent(values: Any) -> float:
    """Mean over the thresholds, if there are several, in percent."""
    return 100 * float(np.mean(values))


def _write_truth(path: Path, rows: MotRows) -> None:
    """Columns: frame, id, box, whether the row counts, class (1 if unknown), visibility."""
    classes = rows.classes if (rows.classes > 0).all() else np.ones(len(rows))
    _write(path, rows, (rows.scores != 0).astype(float), classes, rows.visibility)


def _write_tracks(path: Path, rows: MotRows) -> None:
    nothing = np.full(len(rows), -1)
    _write(path, rows, rows.known_scores, nothing, nothing)


def _write(path: Path, rows: MotRows, *more: np.ndarray) -> None:
    sizes = rows.boxes[:, 2:] - rows.boxes[:, :2]
    table = np.column_stack([rows.frames, rows.ids, rows.boxes[:, :2], sizes, *more])
    np.savetxt(path, table, delimiter=",", fmt="%.10g")
