"""Score MOTChallenge tracks against ground truth with TrackEval (Luiten et al., IJCV 2021)."""

from __future__ import annotations

import contextlib
import io
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.formats.mot import read_rows


@dataclass(frozen=True)
class Scores:
    """HOTA, DetA, AssA, IDF1, MOTA in percent; identity switches and fragmentations counted."""

    hota: float
    det_a: float
    ass_a: float
    idf1: float
    mota: float
    switches: int
    fragments: int
    sequences: int


def evaluate(pairs: dict[str, tuple[Path, Path]]) -> Scores:
    """Score sequences ``name -> (ground truth, tracks)``, combined over their frames.

    Ground truth has MOTChallenge's columns; without class columns every row is a pedestrian that counts.
    Raises UsageError naming file and line for a file that is not MOTChallenge text.
    """
    import trackeval

    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        root = Path(scratch)
        lengths = {}
        for name, (truth_path, tracks_path) in pairs.items():
            truth, tracks = read_rows(truth_path), read_rows(tracks_path)
            if not len(truth):
                raise UsageError(f"{truth_path}: no rows of ground truth")
            lengths[name] = int(max(truth[:, 0].max(), tracks[:, 0].max(initial=1)))
            (root / "gt" / name / "gt").mkdir(parents=True)
            (root / "tracks/run/data").mkdir(parents=True, exist_ok=True)
            _write(root / "gt" / name / "gt/gt.txt", truth, truth=True)
            _write(root / "tracks/run/data" / f"{name}.txt", tracks, truth=False)
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
            raise UsageError(f"TrackEval refuses the input: {error}") from None
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
        sequences=len(pairs),
    )


def _percent(values: Any) -> float:
    """Mean over the thresholds, where there are several."""
    return 100 * float(np.mean(values))


def _write(path: Path, rows: np.ndarray, truth: bool) -> None:
    columns = rows.shape[1]
    if truth:  # frame, id, box, counts?, class, visibility
        counts = (rows[:, 6] != 0).astype(float) if columns > 6 else np.ones(len(rows))
        classes = rows[:, 7] if columns > 7 and (rows[:, 7] > 0).all() else np.ones(len(rows))
        seen = rows[:, 8] if columns > 8 else np.ones(len(rows))
        table = np.column_stack([rows[:, :6], counts, classes, seen])
    else:
        scores = rows[:, 6] if columns > 6 else np.ones(len(rows))
        table = np.column_stack([rows[:, :6], scores, np.full((len(rows), 3), -1)])
    path.write_text("".join(",".join(f"{value:.10g}" for value in row) + "\n" for row in table))
