"""``run.json``: versions, models, configuration, sources, counts and timing of a run."""

from __future__ import annotations

import glob
import hashlib
import json
from dataclasses import asdict
from datetime import UTC, datetime, tzinfo
from importlib import metadata
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from detectors import Detector
from detectors.runtime.checkout import commit
from detectors.runtime.session import Session
from pipeline.address import redact
from pipeline.config import Config
from pipeline.engine.camera_run import CameraResult
from pipeline.engine.cameras import CameraSpec
from pipeline.engine.stopwatch import Stopwatch
from pipeline.formats.wall_clock import iso, time_zone
from pipeline.report.people import Counts
from reid import Embedder
from tracker import Site


class Record(BaseModel):
    """A part of ``run.json``: immutable, unknown keys are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRecord(Record):
    """A model: file name and SHA-256, execution providers, and the gate of a re-ID model (cosine distance).

    ``warm_up``: the comparison that chose the engine: its name, the median ms of a batch in each, whether it was remembered; None: no choice.
    """

    file: str
    sha256: str | None
    providers: list[str]
    gate: float | None = None
    warm_up: dict[str, Any] | None = None


class ModelRecords(Record):
    """The models of a run; None: not used."""

    detector: ModelRecord | None
    reid: ModelRecord | None


class SegmentsRecord(Record):
    """The files of a camera that was recorded into several: see ``pipeline.sources.frame.SegmentCounts``."""

    files: int
    unreadable: int
    gaps: int
    gap_seconds: float
    overlaps: int
    overlap_frames: int
    set_back: int


class CameraRecord(Record):
    """A camera: its source (size in px, rate in frames per second, duration in seconds) and its counts.

    ``frames_in`` = ``processed`` + ``skipped`` (by ``every`` and ``start``) + ``failed`` (not decodable). ``frames_detected``: frames that the
    detector processed. ``detections_confident``: detections at or above the tracker's high threshold. ``boxes_screened``: boxes that the learnt
    perspective dropped, split, or scored down. ``error``: why the source ended early.
    ``began``: wall-clock time of the source's time 0 (ISO 8601), and ``began_from`` what states it: option, file name or container; None:
    not known. ``gaps``: times without frames that ended all tracks. ``segments``: of a camera in several files. ``outputs_failed``: why a
    file of its outputs is incomplete, by the file's name. ``video_cuts``: pauses that the annotated video shortens: time of the frame after
    each, and seconds left out.
    """

    path: str
    width: int
    height: int
    rate: float
    duration: float
    frames_in: int
    processed: int
    skipped: int
    failed: int
    tracks: int
    frames_detected: int
    detections_confident: int
    detections_embedded: int
    error: str | None
    warnings: list[str]
    began: str | None = None
    began_from: str | None = None
    gaps: int = 0
    segments: SegmentsRecord | None = None
    outputs_failed: dict[str, str] = {}
    video_cuts: list[tuple[float, float]] = []
    boxes_screened: dict[str, int] = {}


class Timing(Record):
    """Wall time, frames per second over all cameras, and seconds by stage (of the main thread) and by model."""

    wall_seconds: float
    frames_per_second: float | None
    stages_seconds: dict[str, float]
    inference_seconds: dict[str, float]
    outside_inference_share: float | None


class RunRecord(Record):
    """The content of ``run.json``. ``not_opened``: error message by camera whose source could not be opened; ``people``: None without a
    re-ID model.
    """

    passerby: str
    commit: str | None
    began: str
    exit_code: int
    models: ModelRecords
    cameras: dict[str, CameraRecord]
    not_opened: dict[str, str]
    timing: Timing
    config: dict[str, Any]
    people: Counts | None = None

    def as_dict(self) -> dict[str, Any]:
        """The values as written to the file, with credentials redacted."""
        values: dict[str, Any] = redacted(self.model_dump(mode="json"))
        if values["models"]["detector"] is not None:
            del values["models"]["detector"]["gate"]
        return values

    def write(self, path: Path) -> None:
        """Write the file. Raises OSError if it cannot be written."""
        path.write_text(json.dumps(self.as_dict(), indent=1), encoding="utf-8")


def redacted(value: Any) -> Any:
    """JSON values with the credentials in all strings redacted."""
    if isinstance(value, dict):
        return {key: redacted(one) for key, one in value.items()}
    if isinstance(value, list):
        return [redacted(one) for one in value]
    return redact(value) if isinstance(value, str) else value


def version() -> str:
    try:
        return metadata.version("passerby")
    except metadata.PackageNotFoundError:
        return "unknown"


def model_records(detector: Detector | None, embedder: Embedder | None) -> ModelRecords:
    def of(session: Session, gate: float | None = None) -> ModelRecord:
        warm_up = None if session.choice is None else asdict(session.choice)
        return ModelRecord(file=session.path.name, sha256=session.sha256, providers=list(session.providers), gate=gate, warm_up=warm_up)

    session: Session | None = getattr(detector, "session", None)
    found = None if session is None else of(session)
    if detector is not None and session is None:  # an ultralytics model
        name = getattr(getattr(detector, "model", None), "ckpt_path", type(detector).__name__)
        found = ModelRecord(file=str(name), sha256=None, providers=["ultralytics"])
    return ModelRecords(detector=found, reid=None if embedder is None else of(embedder.session, embedder.facts.calibration.gate))


def run_key(specs: list[CameraSpec], config: Config, models: ModelRecords, site: Site) -> str:
    """A digest of everything that determines the tracks. A run can only be resumed with the same key."""
    untimed = {name: {"warm_up"} for name, model in models if model is not None}
    inputs = config.as_dict() | {"models": models.model_dump(mode="json", exclude=untimed)}
    inputs |= dict.fromkeys(("output", "association", "linker", "refine", "store"))  # applied to finished tracks, so they may change
    inputs["areas"] = {name: (place.only, place.ignore) for name, place in site.cameras.items() if place.only or place.ignore}
    inputs["sources"] = [(spec.name, spec.recorded_at, [(str(path.resolve()), _stamp(path)) for path in spec.inputs]) for spec in specs]
    return hashlib.sha256(json.dumps(inputs, sort_keys=True, default=str).encode()).hexdigest()


def _stamp(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and modification time of a file, of the files in a folder, or of those that a glob matches."""
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    else:
        files = [Path(name) for name in glob.glob(str(path))]
    return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.exists())


def segments_line(segments: SegmentsRecord) -> str:
    """What is to be said of a camera's files."""
    parts = [f"{segments.files} files"]
    if segments.unreadable:
        parts.append(f"{segments.unreadable} not readable")
    if segments.gaps:
        parts.append(f"{segments.gaps} gaps of {segments.gap_seconds:.0f} s in all")
    if segments.overlaps:
        parts.append(f"{segments.overlaps} overlaps, {segments.overlap_frames} repeated frames left out")
    if segments.set_back:
        parts.append(f"{segments.set_back} with the clock set back")
    return ", ".join(parts)


def camera_record(result: CameraResult, zone: tzinfo | None) -> CameraRecord:
    """``zone``: of wall-clock times; None: this computer's."""
    source, progress, began = result.camera.source, result.progress, result.camera.source.began
    segments = None
    if source.segments is not None:
        counts = asdict(source.segments)
        segments = SegmentsRecord(**counts | {"gap_seconds": round(counts["gap_seconds"], 3)})
    return CameraRecord(
        path=str(source.path),
        width=source.width,
        height=source.height,
        rate=source.rate,
        duration=round(result.last_time + 1 / source.rate, 3) if result.processed else 0.0,
        frames_in=result.processed + result.skipped + result.failed,
        processed=result.processed,
        skipped=result.skipped,
        failed=result.failed,
        tracks=result.tracks,
        frames_detected=result.detected,
        detections_confident=result.confident,
        detections_embedded=result.embedded,
        boxes_screened=dict(result.screened),
        error=progress.error if result.ended else None,
        warnings=progress.warnings,
        began=None if began is None else iso(began.time, zone),
        began_from=None if began is None else began.origin,
        gaps=result.gaps,
        segments=segments,
        outputs_failed=result.outputs_failed,
        video_cuts=[(round(time, 3), round(cut, 3)) for time, cut in result.video_cuts],
    )


def timing(results: list[CameraResult], watch: Stopwatch, inference: dict[str, float], wall: float) -> Timing:
    """``inference``: seconds in each model; ``wall``: seconds of the whole run."""
    frames, outside = sum(result.processed for result in results), max(0.0, wall - sum(inference.values()))
    return Timing(
        wall_seconds=round(wall, 3),
        frames_per_second=round(frames / wall, 2) if wall else None,
        stages_seconds={name: round(seconds, 3) for name, seconds in watch.seconds.items()},
        inference_seconds={name: round(seconds, 3) for name, seconds in inference.items()},
        outside_inference_share=round(outside / wall, 4) if wall else None,
    )


def run_record(
    results: list[CameraResult],
    refused: dict[str, str],
    config: Config,
    models: ModelRecords,
    timing: Timing,
    began: datetime,
    exit_code: int,
    people: Counts | None,
) -> RunRecord:
    return RunRecord(
        passerby=version(),
        commit=commit(),
        began=began.astimezone(UTC).isoformat(timespec="seconds"),
        exit_code=exit_code,
        models=models,
        cameras={result.camera.name: camera_record(result, time_zone(config.reading.time_zone)) for result in results},
        not_opened=refused,
        timing=timing,
        config=config.as_dict(),
        people=people,
    )
