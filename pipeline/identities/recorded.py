"""Read the tracklets of finished runs, for association."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import UsageError
from pipeline.formats.paths import is_safe_name, run_labels
from pipeline.formats.tracklet import Growth, feet_path
from pipeline.formats.tracklet_table import began_of, facts_of, read_tracklets
from pipeline.formats.wall_clock import LIVE
from tracker import AssociationSettings, Identities, Site, Tracklets, associate
from tracker.linking.evidence import EvidenceWeights
from tracker.linking.updates import Key
from tracker.refine import RefineSettings

COLUMNS = ["camera", "track", "start_time", "end_time", "quality", "embeddings_count", "embedding", "frames", "times", "boxes", "best_crop"]
GROWTH = ["embedding_times", "embeddings", "growth_times", "growth_weights", "growth_embeddings"]
log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RecordedTracklets:
    """The tracklets of runs.

    ``tracklets``: the columns for association. Per tracklet: ``runs``: its run's folder; ``names``: its camera's folder there; ``frames``
    (k,) from 1; ``boxes`` (k, 4) x1, y1, x2, y2 px; ``weights``: the sum of its crops' qualities; ``best``: the number of its best crop;
    ``growth``: of its pooled embedding, if requested. ``calibration``: of the re-ID model, empty if unknown.
    ``epochs`` (n,): seconds since 1970 of the time 0 that the row's times count from, NaN if unknown; ``time_zone``: of the runs; ``texts``:
    by camera, its files of tracks, in order.
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
    epochs: np.ndarray = field(default_factory=lambda: np.zeros(0))
    time_zone: str | None = None
    texts: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def epoch(self) -> float | None:
        """Seconds since 1970 of time 0, if it is known."""
        known = self.epochs[~np.isnan(self.epochs)]
        return float(known[0]) if len(known) else None

    def sheet(self, row: int) -> Path:
        return self.runs[row] / "people" / f"{self.names[row]}-{int(self.tracklets.tracks[row]):05d}.jpg"

    def places(self, row: int) -> list[tuple[Path, str]]:
        """The runs that hold parts of the row's track, each with the camera's folder there: one, but for live cameras."""
        texts = self.texts.get(str(self.tracklets.cameras[row]), ())
        return [(text.parent.parent, text.parent.name) for text in texts] or [(self.runs[row], self.names[row])]

    @property
    def folders(self) -> list[Path]:
        """All runs that hold parts of the tracks, each once: those of ``runs``, and other segments of live cameras."""
        segments = {camera: [text.parent.parent for text in texts] for camera, texts in self.texts.items()}
        cameras = self.tracklets.cameras.tolist()
        found = dict.fromkeys(run for camera, run in zip(cameras, self.runs, strict=True) if camera not in segments)
        return list(dict.fromkeys([folder for camera in dict.fromkeys(cameras) for folder in segments.get(camera, ())]) | found)

    def take(self, rows: np.ndarray) -> RecordedTracklets:
        def of(column: tuple[Any, ...]) -> tuple[Any, ...]:
            return tuple(column[row] for row in rows.tolist()) if column else ()

        return RecordedTracklets(
            self.tracklets.take(rows), of(self.runs), of(self.names), of(self.frames), of(self.boxes), self.calibration,
            of(self.weights), of(self.best), of(self.growth), self.epochs[rows] if len(self.epochs) else self.epochs, self.time_zone,
            self.texts,
        )  # fmt: skip

    @property
    def keys(self) -> list[Key]:
        """(camera, track) of each row."""
        return list(zip(self.tracklets.cameras.tolist(), self.tracklets.tracks.tolist(), strict=True))


def run_folders(folders: Sequence[Path]) -> list[Path]:
    """``folders``, with the runs in it in place of each that is none itself: those of a folder of runs, and the closed segments that live
    cameras wrote. A warning names segments that were left out.
    """
    found = []
    for folder in folders:
        if (folder / "tracklets.parquet").is_file():
            found.append(folder)
            continue
        place = folder / "segments" if (folder / "segments").is_dir() else folder
        runs = sorted(path.parent for path in place.glob("*/tracklets.parquet"))
        open_ones = [run for run in runs if run.suffix in (".open", ".interrupted")]
        if open_ones:
            log.warning("%s: left out, not closed: %s", place, ", ".join(run.name for run in open_ones))
        found += [run for run in runs if run not in open_ones] or [folder]
    return found


def read_runs(folders: Sequence[Path], growth: bool = False) -> RecordedTracklets:
    """Read all tracklets of run folders, with their ``growth`` if requested. A camera name that several runs share becomes
    ``run/camera``, where ``run`` is the folder's name, with as many of its parents as make it unique. The segments of live cameras, in one
    folder, are runs of the same cameras: their names stay, and the parts of a track are joined.

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
    names_of = _camera_names(folders, tables, cameras)
    columns: dict[str, list[Any]] = defaultdict(list)
    texts: dict[str, dict[Path, None]] = defaultdict(dict)
    for folder, table, camera_of in zip(folders, tables, names_of, strict=True):
        began = began_of(table)
        for row in (row for batch in table.to_batches(64) for row in batch.to_pylist()):
            name = row["camera"]
            columns["cameras"].append(camera_of[name])
            texts[camera_of[name]][folder / name / "tracks.txt"] = None
            columns["names"].append(name)
            columns["runs"].append(folder)
            columns["tracks"].append(row["track"])
            columns["start"].append(row["start_time"])
            columns["end"].append(row["end_time"])
            columns["epochs"].append(0.0 if row["start_time"] >= LIVE else began.get(name, np.nan))
            columns["embeddings"].append(row["embedding"])
            columns["weights"].append(float(row["quality"] * row["embeddings_count"]))
            columns["best"].append(row.get("best_crop") or 0)
            columns["growth"].append(_growth(row) if growth else Growth())
            boxes = np.array(row["boxes"], np.float64).reshape(-1, 4)
            columns["frames"].append(np.array(row["frames"], np.int64))
            columns["boxes"].append(boxes)
            columns["paths"].append(feet_path(row["times"], boxes))
    columns = _joined(columns)
    _align(columns, [time for table in tables for time in began_of(table).values()])
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
        tuple(columns["weights"]), tuple(columns["best"]), tuple(columns["growth"]) if growth else (),
        np.array(columns["epochs"], np.float64), next((fact["time_zone"] for fact in facts if "time_zone" in fact), None),
        {camera: tuple(paths) for camera, paths in texts.items()},
    )  # fmt: skip


def _camera_names(folders: Sequence[Path], tables: Sequence[pa.Table], cameras: Sequence[set[str]]) -> list[dict[str, str]]:
    """Per run, the name of each of its cameras among all runs. The segments of live cameras, in one folder, are runs of the same cameras."""
    run_labels(folders)  # each run once
    live = [len(table) > 0 and pc.min(table["start_time"]).as_py() >= LIVE for table in tables]
    places = [folder.resolve().parent if alive else folder.resolve() for folder, alive in zip(folders, live, strict=True)]
    sources = list(dict.fromkeys(places))
    label_of = dict(zip(sources, run_labels(sources), strict=True))
    seen = {name: {place for place, names in zip(places, cameras, strict=True) if name in names} for name in set().union(*cameras)}
    return [
        {name: f"{label_of[place]}/{name}" if len(seen[name]) > 1 else name for name in names}
        for place, names in zip(places, cameras, strict=True)
    ]


def _joined(columns: dict[str, list[Any]]) -> dict[str, list[Any]]:
    """One row per track: live cameras write a long track in parts, the last of which has the pooled embedding of all."""
    parts: dict[Key, list[int]] = defaultdict(list)
    for row, key in enumerate(zip(columns["cameras"], columns["tracks"], strict=True)):
        parts[key].append(row)
    if len(parts) == len(columns["tracks"]):
        return columns
    out: dict[str, list[Any]] = defaultdict(list)
    for rows in parts.values():
        rows.sort(key=lambda row: columns["start"][row])
        longest = max(rows, key=lambda row: len(columns["frames"][row]))
        with_embedding = [row for row in rows if columns["embeddings"][row] is not None]
        for name, column in columns.items():
            if name in ("frames", "boxes", "paths"):
                out[name].append(np.concatenate([column[row] for row in rows]))
            elif name == "growth":
                out[name].append(_one_growth([column[row] for row in rows]))
            elif name in ("embeddings", "weights"):
                out[name].append(column[(with_embedding or rows)[-1]])
            elif name in ("runs", "names", "best"):  # of its pictures
                out[name].append(column[longest])
            else:
                out[name].append(max(column[row] for row in rows) if name == "end" else column[rows[0]])
    return out


def _one_growth(parts: Sequence[Growth]) -> Growth:
    """That of a track from those of its parts: the pooled embedding of each goes on from the one before."""
    return Growth(
        [time for part in parts for time in part.times],
        [weight for part in parts for weight in part.weights],
        [embedding for part in parts for embedding in part.embeddings],
    )


def _align(columns: dict[str, list[Any]], began: Sequence[float]) -> None:
    """Bring all times onto one clock, in place: seconds from the start of the earliest recording. ``epochs`` become that start.

    Cameras whose wall-clock time is not known are taken to start with the earliest one, and a warning says so.
    """
    epochs = np.array(columns["epochs"], np.float64)
    starts = [*began, *(start for start, epoch in zip(columns["start"], epochs.tolist(), strict=True) if epoch == 0)]
    if not starts or np.isnan(epochs).all():
        return
    zero = min(starts)
    if unknown := sorted({camera for camera, epoch in zip(columns["cameras"], epochs.tolist(), strict=True) if np.isnan(epoch)}):
        log.warning("no wall-clock time of %s: taken to start with the earliest other camera", ", ".join(unknown))
    for row, shift in enumerate(np.where(np.isnan(epochs), 0.0, epochs - zero).tolist()):
        if shift:
            columns["start"][row] += shift
            columns["end"][row] += shift
            columns["paths"][row][:, 0] += shift
            grown = columns["growth"][row]
            columns["growth"][row] = replace(grown, times=[time + shift for time in grown.times])
    columns["epochs"] = np.where(np.isnan(epochs), np.nan, zero).tolist()


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
