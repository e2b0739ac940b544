"""``run.json``: what ran, on what, and what came of it."""

from __future__ import annotations

import glob
import hashlib
import json
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from detectors import Detector
from detectors.runtime.checkout import commit
from detectors.runtime.session import Session
from pipeline.config import Config
from pipeline.engine.camera_run import CameraResult
from pipeline.engine.cameras import CameraSpec
from pipeline.engine.stopwatch import Stopwatch
from reid import Embedder
from tracker import Site


def version() -> str:
    try:
        return metadata.version("passerby")
    except metadata.PackageNotFoundError:
        return "unknown"


def model_facts(detector: Detector | None, embedder: Embedder | None) -> dict[str, Any]:
    """Per model: its file's name, SHA-256 and where it runs; None for a model that is not used."""

    def of(session: Session | None) -> dict[str, Any] | None:
        return None if session is None else {"file": session.path.name, "sha256": session.sha256, "providers": list(session.providers)}

    own: Session | None = getattr(detector, "session", None)
    facts = {"detector": of(own), "reid": of(embedder.session if embedder else None)}
    if detector is not None and own is None:
        facts["detector"] = {
            "file": str(getattr(getattr(detector, "model", None), "ckpt_path", type(detector).__name__)),
            "sha256": None,
            "providers": ["ultralytics"],
        }
    if embedder is not None and facts["reid"] is not None:
        facts["reid"]["gate"] = embedder.facts.calibration.gate
    return facts


def run_key(specs: list[CameraSpec], config: Config, models: dict[str, Any], site: Site) -> str:
    """A digest of everything that decides the tracks: a run may be resumed under the same key only."""
    decides = config.as_dict() | {"models": models}
    decides |= {"output": None, "association": None, "linker": None, "refine": None}  # what is made of it may change, not what is seen
    decides["areas"] = {name: (place.only, place.ignore) for name, place in site.cameras.items() if place.only or place.ignore}
    decides["sources"] = [(spec.name, [(str(path.resolve()), _stamp(path)) for path in spec.inputs]) for spec in specs]
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()


def _stamp(path: Path) -> list[tuple[str, int, int]]:
    """Name, size and time of change of a file, of the files in a folder, or of those that a glob matches."""
    if path.is_file():
        files = [path]
    elif path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file()]
    else:
        files = [Path(name) for name in glob.glob(str(path))]
    return sorted((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)


def camera_record(result: CameraResult) -> dict[str, Any]:
    source, progress = result.camera.source, result.progress
    return {
        "path": str(source.path),
        "width": source.width,
        "height": source.height,
        "rate": source.rate,
        "duration": round(result.last_time + 1 / source.rate, 3) if result.processed else 0.0,
        "frames_in": result.processed + result.skipped + result.failed,
        "processed": result.processed,
        "skipped": result.skipped,
        "failed": result.failed,
        "tracks": result.tracks,
        "frames_detected": result.detected,
        "detections_confident": result.offered,
        "detections_embedded": result.embedded,
        "error": progress.error if result.ended else None,
        "warnings": progress.warnings,
    }


def run_record(
    results: list[CameraResult],
    refused: dict[str, str],
    config: Config,
    models: dict[str, Any],
    watch: Stopwatch,
    inference: dict[str, float],
    began: datetime,
    wall: float,
    exit_code: int,
) -> dict[str, Any]:
    frames = sum(result.processed for result in results)
    outside = max(0.0, wall - sum(inference.values()))
    return {
        "passerby": version(),
        "commit": commit(),
        "began": began.astimezone(UTC).isoformat(timespec="seconds"),
        "exit_code": exit_code,
        "models": models,
        "cameras": {result.camera.name: camera_record(result) for result in results},
        "not_opened": refused,
        "timing": {
            "wall_seconds": round(wall, 3),
            "frames_per_second": round(frames / wall, 2) if wall else None,
            "stages_seconds": {name: round(seconds, 3) for name, seconds in watch.seconds.items()},
            "inference_seconds": {name: round(seconds, 3) for name, seconds in inference.items()},
            "outside_inference_share": round(outside / wall, 4) if wall else None,
        },
        "config": config.as_dict(),
    }
