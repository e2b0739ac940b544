"""Read the tracklets of finished runs, for association."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pipeline.errors import UsageError
from pipeline.formats.paths import is_safe_name, run_labels
from pipeline.formats.tracklet import Growth, feet_path
from pipeline.formats.tracklet_table import facts_of, read_tracklets
from tracker import AssociationSettings, Identities, Site, Tracklets, associate
from tracker.linking.evidence import EvidenceWeights
from tracker.linking.updates import Key
from tracker.refine import RefineSettings

COLUMNS = ["camera", "track", "start_time", "end_time", "quality", "embeddings_count", "embedding", "frames", "times", "boxes", "best_crop"]


GROWTH = ["embedding_times", "embeddings", "growth_times", "growth_weights", "growth_embeddings"]


@dataclass(frozen=True, eq=False)
class RecordedTracklets:
    """The tracklets of runs.

    ``tracklets``: the columns for association. Per tracklet: ``runs``: its run's folder; ``names``: its camera's folder there; ``frames``
    (k,) from 1; ``boxes`` (k, 4) x1, y1, x2, y2 px; ``weights``: the sum of its crops' qualities; ``best``: the number of its best crop;
    ``growth``: of its pooled embedding, if requested. ``calibration``: of the re-ID model, empty if unknown.
    """

    tracklets: Tracklets
    runs: tuple[Path, ...]
    names: tuple[str, ...]
    frames: tuple[np.ndarray, ...]
    boxes: tuple[np.ndarray, ...]
    calibration: dict[str, str]
    weights: tuple[float, ...]
    best: tuple[int, ...]
    growth: tuple[Growth, ...] = ()

    def sheet(self, row: int) -> Path:
        return self.runs[row] / "people" / f"{self.names[row]}-{int(self.tracklets.tracks[row]):05d}.jpg"

    def take(self, rows: np.ndarray) -> RecordedTracklets:
        def of(column: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(column[row] for row in rows.tolist()) if column else ()

        return RecordedTracklets(
            self.tracklets.take(rows), of(self.runs), of(self.names), of(self.frames), of(self.boxes), self.calibration,
            of(self.weights), of(self.best), of(self.growth),
        )  # fmt: skip

    @property
    def keys(self) -> list[Key]:
        """(camera, track) of each row."""
        return list(zip(self.tracklets.cameras.tolist(), self.tracklets.tracks.tolist(), strict=True))


def read_runs(folders: Sequence[Path], growth: bool = False) -> RecordedTracklets:
    """Read all tracklets of run folders, with their ``growth`` if requested. A camera name that several runs share becomes
    ``run/camera``, where ``run`` is the folder's name, with as many of its parents as make it unique.

    Raises UsageError for a folder without tracklets, and if the embeddings come from different models.
    """
    tables = []
    for folder in folders:
        path = folder / "tracklets.parquet"
        if not path.is_file():
            raise UsageError(f"{folder}: no tracklets.parquet; expected the output folder of passerby run")
        tables.append(read_tracklets(path, COLUMNS + GROWTH if growth else COLUMNS))
    facts = [facts_of(table) for table in tables]
    with_model = [(folder, fact) for folder, fact in zip(folders, facts, strict=True) if "reid" in fact]
    for folder, fact in with_model:
        if fact["reid"] != with_model[0][1]["reid"]:
            raise UsageError(
                f"{folder}: embeddings of another re-ID model ({fact['reid'][:12]}) than those of {with_model[0][0]} "
                f"({with_model[0][1]['reid'][:12]}): rerun with the same --reid"
            )
    calibration = with_model[0][1] if with_model else {}
    cameras = [set(table["camera"].to_pylist()) for table in tables]
    for folder, names in zip(folders, cameras, strict=True):
        check_cameras(folder / "tracklets.parquet", names)
    labels = run_labels(folders)
    seen = [name for names in cameras for name in names]
    columns: dict[str, list[Any]] = defaultdict(list)
    for folder, label, table in zip(folders, labels, tables, strict=True):
        for row in (row for batch in table.to_batches(64) for row in batch.to_pylist()):
            name = row["camera"]
            columns["cameras"].append(f"{label}/{name}" if seen.count(name) > 1 else name)
            columns["names"].append(name)
            columns["runs"].append(folder)
            columns["tracks"].append(row["track"])
            columns["start"].append(row["start_time"])
            columns["end"].append(row["end_time"])
            columns["embeddings"].append(row["embedding"])
            columns["weights"].append(float(row["quality"] * row["embeddings_count"]))
            columns["best"].append(row.get("best_crop") or 0)
            if growth:
                columns["growth"].append(_growth(row))
            boxes = np.array(row["boxes"], np.float64).reshape(-1, 4)
            columns["frames"].append(np.array(row["frames"], np.int64))
            columns["boxes"].append(boxes)
            columns["paths"].append(feet_path(row["times"], boxes))
    width = max((len(row) for row in columns["embeddings"] if row is not None), default=0)
    pooled = np.zeros((len(columns["tracks"]), width), np.float32)
    for at, row in enumerate(columns["embeddings"]):
        if row is not None:
            pooled[at] = row
    tracklets = Tracklets(
        np.array(columns["cameras"], object), np.array(columns["tracks"], np.int64), np.array(columns["start"], np.float64),
        np.array(columns["end"], np.float64), pooled, tuple(columns["paths"]),
    )  # fmt: skip
    return RecordedTracklets(
        tracklets, tuple(columns["runs"]), tuple(columns["names"]), tuple(columns["frames"]), tuple(columns["boxes"]), calibration,
        tuple(columns["weights"]), tuple(columns["best"]), tuple(columns["growth"]),
    )  # fmt: skip


def _growth(row: dict[str, Any]) -> Growth:
    """As recorded, or, of a file that has none, as its single embeddings tell."""
    if row.get("growth_times"):
        return Growth(row["growth_times"], row["growth_weights"], [np.array(one, np.float16) for one in row["growth_embeddings"]])
    if row["embedding"] is None:
        return Growth()
    weight, single = float(row["quality"] * row["embeddings_count"]), np.array(row.get("embeddings") or [], np.float64)
    times = list(row.get("embedding_times") or [])[: len(single)]
    pooled = [*np.cumsum(single, 0)] if len(single) else []
    pooled = [one / max(float(np.linalg.norm(one)), 1e-9) for one in pooled]
    weights = [weight * (number + 1) / (len(times) + 1) for number in range(len(times))]
    embeddings = [one.astype(np.float16) for one in [*pooled, np.array(row["embedding"])]]
    return Growth([*times, max(row["end_time"], *times)] if times else [row["end_time"]], [*weights, weight], embeddings)


def check_cameras(path: Path, names: Iterable[str]) -> None:
    """Raises UsageError for a camera name in ``path`` that is not safe as a file name: results are written under these names."""
    for name in sorted(names):
        if not is_safe_name(name):
            raise UsageError(f"{path}: camera name {name[:60]!r} is not safe as a file name; expected letters, digits, '_', '-' and '.'")


S = TypeVar("S", AssociationSettings, RefineSettings)


def calibrated(settings: S, facts: Mapping[str, str]) -> S:
    """``settings`` with what a run carries of its re-ID model, ``slope`` and ``offset`` or ``evidence``, where they name no other."""
    if isinstance(settings, AssociationSettings):
        if settings.evidence is not None or "evidence" not in facts:
            return settings
        return settings.changed(evidence=EvidenceWeights.model_validate_json(facts["evidence"]))
    if settings.slope is not None or settings.offset is not None or "slope" not in facts:
        return settings
    return settings.changed(slope=float(facts["slope"]), offset=float(facts["offset"]))


def identify(recorded: RecordedTracklets, site: Site, settings: AssociationSettings) -> Identities:
    """Associate with the evidence weights of the runs, unless ``settings`` set their own."""
    return associate(recorded.tracklets, site, calibrated(settings, recorded.calibration))
