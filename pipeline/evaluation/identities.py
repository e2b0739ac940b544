"""Evaluate identities across cameras: multi-camera IDF1 and HOTA, and precision and recall of tracklet pairs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from pipeline.errors import UsageError
from pipeline.evaluation.tracks import Scores, prepared, score
from pipeline.formats.grouping import grouped
from pipeline.formats.mot import read_mot, read_tracks
from pipeline.formats.paths import local
from pipeline.formats.rows import MotRows, concatenated
from pipeline.identities.corrections import read_log
from pipeline.identities.recorded import RecordedTracklets, identify
from tracker import AssociationSettings, Site
from tracker.following.costs import iou


@dataclass(frozen=True)
class PairScores:
    """Precision, recall and F1, in 0..1, of the pairs of tracklets that have the same identity."""

    precision: float
    recall: float
    f1: float


def pair_scores(found: np.ndarray, truth: np.ndarray) -> PairScores:
    """Score identities ``found`` (n,) against ``truth`` (n,), in which an unmatched tracklet has a unique negative identity."""

    def pairs(labels: np.ndarray) -> int:
        count = np.unique(labels, return_counts=True)[1]
        return int((count * (count - 1) // 2).sum())

    both = np.unique(np.stack([found, truth], 1), axis=0, return_counts=True)[1] if len(found) else np.zeros(0, int)
    correct, predicted, actual = int((both * (both - 1) // 2).sum()), pairs(found), pairs(truth)
    precision, recall = correct / predicted if predicted else 1.0, correct / actual if actual else 1.0
    return PairScores(precision, recall, 2 * precision * recall / (precision + recall) if correct else 0.0)


def merged(truth: Mapping[str, Path], tracks: Mapping[str, Path]) -> Scores:
    """TrackEval on all cameras: their frames one after another, identities shared. Raises UsageError for an invalid file."""
    every_truth, every_track, first = list[MotRows](), list[MotRows](), 0
    for camera, path in sorted(truth.items()):
        rows = read_mot(path)
        rows, found = prepared(rows, read_tracks(tracks[camera]) if camera in tracks else rows.take(np.zeros(0, np.int64)))
        every_truth.append(rows.shifted(first))
        every_track.append(found.shifted(first))
        first += max(rows.last_frame, found.last_frame)
    return score({"cameras": (concatenated(every_truth), concatenated(every_track))})


def true_identities(recorded: RecordedTracklets, truth: Mapping[str, Path]) -> np.ndarray:
    """(n,) the true identity that the majority of a tracklet's boxes match (IoU at least 0.5), or a unique negative number."""
    out = -np.arange(1, len(recorded.names) + 1)
    boxes_at = {}
    for camera, path in truth.items():
        rows = read_mot(path).people()
        rows = rows.take(np.flatnonzero(rows.scores != 0))  # rows that do not count are nobody
        boxes_at[camera] = {frame: (rows.ids[mine], rows.boxes[mine]) for frame, mine in grouped(rows.frames)}
    for row, camera in enumerate(recorded.tracklets.cameras.tolist()):
        votes = []
        for frame, box in zip(recorded.frames[row].tolist(), recorded.boxes[row], strict=True):
            ids, boxes = boxes_at.get(camera, {}).get(frame, (None, None))
            if ids is None:
                continue
            overlap = iou(box[None], boxes)[0]
            if overlap.max() >= 0.5:
                votes.append(int(ids[overlap.argmax()]))
        if len(votes) * 2 > len(recorded.frames[row]):
            values, counts = np.unique(votes, return_counts=True)
            out[row] = values[counts.argmax()]
    return out


def identities_of(recorded: RecordedTracklets, out: Path) -> np.ndarray:
    """(n,) the identity of each tracklet in ``out``/identities.parquet; a forgotten tracklet gets a unique negative one.

    Raises UsageError if a tracklet has no identity there.
    """
    path = out / "identities.parquet"
    if not path.is_file():
        raise UsageError(f"{out}: no identities.parquet; expected the output folder of passerby run or passerby associate")
    table = {(row["camera"], row["track"]): row["identity"] for row in pq.read_table(local(path)).to_pylist()}
    for correction in read_log(out):
        if correction.kind == "forget":
            table = {key: -1 - at for at, key in enumerate(correction.tracklets)} | table
    keys = recorded.keys
    missing = [key for key in keys if key not in table]
    if missing:
        raise UsageError(f"{path}: no identity for track {missing[0][1]} of camera {missing[0][0]}: written for other runs")
    return np.array([table[key] for key in keys], np.int64)


def curve(recorded: RecordedTracklets, truth: np.ndarray, site: Site, settings: AssociationSettings) -> list[tuple[float, PairScores]]:
    """Pair scores at thresholds from 6 nats below the configured one to 10 above."""
    thresholds = settings.threshold + np.arange(-6.0, 10.5, 1.0)
    return [(float(t), pair_scores(identify(recorded, site, settings.changed(threshold=float(t))).ids, truth)) for t in thresholds]


def plot_curve(points: list[tuple[float, PairScores]], chosen: PairScores, path: Path) -> None:
    """Write the precision-recall curve as an image, with the configured threshold marked."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(5, 5))
    axes.plot([score.recall for _, score in points], [score.precision for _, score in points], marker=".")
    axes.plot(chosen.recall, chosen.precision, "o", label=f"configured: F1 {chosen.f1:.2f}")
    axes.set(
        xlabel="pair recall", ylabel="pair precision", xlim=(0, 1.02), ylim=(0, 1.02), title="Tracklet pairs, by association threshold"
    )
    axes.grid(alpha=0.3)
    axes.legend(loc="lower left")
    figure.savefig(path, dpi=120, bbox_inches="tight")
    pyplot.close(figure)
