"""``passerby run``: from what the user asked for to a folder of results."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import detectors
from detectors import Detector
from pipeline.cli.progress import Watcher
from pipeline.config import Config
from pipeline.engine import file_run as engine
from pipeline.engine.areas import area
from pipeline.engine.cameras import Camera, CameraSpec, open_cameras
from pipeline.engine.journal import Journal
from pipeline.errors import OK, SOURCE_FAILED, OutputError, SourceError, UsageError
from pipeline.identities.corrections import read_log, respect
from pipeline.identities.recorded import identify, read_runs
from pipeline.identities.results import write_identities
from pipeline.jobs.signals import stop_on_signals
from pipeline.report.page import read_cards, write_page
from pipeline.report.people import Person, people, summary
from pipeline.report.run_record import model_facts, run_key, run_record
from reid import Embedder
from tracker import Site


@dataclass(frozen=True)
class Request:
    """A run: its cameras, its configuration, its output folder, and whether it goes on where an earlier one ended."""

    specs: list[CameraSpec]
    config: Config
    out: Path
    resume: bool = False
    site: Site = field(default_factory=Site)
    began: float = field(default_factory=time.perf_counter)


def open_models(config: Config, cameras: list[Camera]) -> tuple[Detector | None, Embedder | None]:
    """The models a run needs: no detector where every camera brings its boxes or tracks, no embedder for ``reid.model`` none."""
    detector = detectors.load_detector(settings=config.detector) if any(camera.detected for camera in cameras) else None
    embedder = None if config.reid.model == "none" else Embedder(settings=config.reid)
    return detector, embedder


def open_or_fail(request: Request) -> tuple[list[Camera], dict[str, str]]:
    """Open the cameras. Raises SourceError where none can be opened."""
    cameras, refused = open_cameras(request.specs, request.config.reading.rate, request.config.tracker)
    if not cameras:
        raise SourceError("no source could be opened:\n" + "\n".join(f"  {message}" for message in refused.values()))
    return cameras, refused


def refuse_own_inputs(request: Request) -> None:
    """Raise UsageError where a run would write over what it reads."""
    written = [(request.out / folder).resolve() for folder in ("people", *(spec.name for spec in request.specs))]
    for spec in request.specs:
        for path in spec.inputs:
            place = path.resolve()
            if any(place == folder or folder in place.parents for folder in written):
                raise UsageError(f"{path}: the run would write into this input's folder ({request.out}); choose another output folder")


def dry_run(request: Request) -> dict[str, Any]:
    """Open each source and model and say what would be done."""
    cameras, refused = open_or_fail(request)
    models = model_facts(*open_models(request.config, cameras))
    facts = {
        camera.name: {
            "path": str(camera.source.path),
            "width": camera.source.width,
            "height": camera.source.height,
            "rate": camera.source.rate,
            "frames": camera.source.frames,
        }
        for camera in cameras
    }
    return {"cameras": facts, "not_opened": refused, "models": models, "config": request.config.as_dict(), "out": str(request.out)}


def execute(request: Request, watcher: Watcher = lambda _: lambda: None) -> dict[str, Any]:
    """Run and write everything below ``request.out``; returns the content of ``run.json``, with its ``exit_code``.

    Raises SourceError where no source opens, ModelError for a model that does not fit, OutputError where nothing can be written.
    """
    config, out, watch, began = request.config, request.out, engine.Stopwatch(), datetime.now(UTC)
    with watch("open"):
        opened, refused = open_or_fail(request)
        places = request.site.cameras
        cameras = [replace(one, area=area(places.get(one.name), one.source.width, one.source.height)) for one in opened]
        detector, embedder = open_models(config, cameras)
    models = model_facts(detector, embedder)
    refuse_own_inputs(request)
    try:
        out.mkdir(parents=True, exist_ok=True)
        journal = Journal(out / "journal.bin", run_key(request.specs, config, models, request.site), request.resume)
        for spec in request.specs:  # sheets of an earlier run into the same folder
            for sheet in (out / "people").glob(f"{spec.name}-[0-9][0-9][0-9][0-9][0-9]*.jpg"):
                sheet.unlink()
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror or error})") from None
    done = False
    with stop_on_signals() as stop:
        try:
            results = engine.run(cameras, config, out, detector, embedder, journal, watch, stop, watcher(cameras))
            done = not stop()
        finally:
            journal.close(remove=done)
    failed = bool(refused) or any(result.progress.error for result in results)
    exit_code = stop.exit_code if stop() else SOURCE_FAILED if failed else OK
    inference = {
        "detector": getattr(getattr(detector, "session", None), "seconds", 0.0),
        "reid": embedder.session.seconds if embedder else 0.0,
    }
    rows: tuple[list[Person], int] = ([], 0)
    counts = None
    if embedder is not None:
        with watch("associate"):
            recorded = read_runs([out])
            recorded, found = respect(recorded, identify(recorded, request.site, config.association), read_log(out))
            write_identities(out, recorded, found)
            rows, counts = people(recorded, found), summary(recorded, found)
    record = run_record(results, refused, config, models, watch, inference, began, time.perf_counter() - request.began, exit_code)
    record["people"] = counts
    _write_record(out, record, *rows)
    return record


def _write_record(out: Path, record: dict[str, Any], rows: list[Person], hidden: int) -> None:
    """The page and ``run.json``. Raises OutputError."""
    try:
        _write_page(out, record, rows, hidden)
        (out / "run.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None


def _write_page(out: Path, record: dict[str, Any], rows: list[Person], hidden: int) -> None:
    cameras, cards = [], read_cards(out)
    for name, facts in record["cameras"].items():
        video = f"{name}/video.mp4" if (out / name / "video.mp4").exists() and record["config"]["output"]["video"] else None
        cameras.append({"name": name, "cards": cards.get(name, []), "video": video} | facts)
    models = record["models"]
    facts = {
        "passerby": record["passerby"],
        "began": record["began"],
        "took": f"{record['timing']['wall_seconds']} s ({record['timing']['frames_per_second']} frames per second)",
        "detector": models["detector"]["file"] if models["detector"] else "boxes given",
        "re-ID": models["reid"]["file"] if models["reid"] else "none",
    }
    if record["not_opened"]:
        facts["not opened"] = "; ".join(record["not_opened"].values())
    if record["exit_code"] >= 128:
        facts["ended"] = "stopped by a signal before the end"
    write_page(out / "index.html", cameras, facts, rows, hidden)
