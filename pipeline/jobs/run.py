"""``passerby run``: from a request to a folder of results."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import detectors
from detectors import Detector
from pipeline.config import Config
from pipeline.engine import file_run
from pipeline.engine.areas import area
from pipeline.engine.cameras import Camera, CameraSpec, open_cameras, specify
from pipeline.engine.journal import Journal
from pipeline.engine.stopwatch import Stopwatch
from pipeline.engine.without_effect import check_settings, check_site
from pipeline.errors import OK, OUTPUT, SOURCE_FAILED, SourceError, UsageError, writing
from pipeline.identities.corrections import apply_corrections
from pipeline.identities.recorded import identify, read_runs
from pipeline.identities.results import write_identities
from pipeline.identities.zone_visits import write_zones
from pipeline.jobs.signals import StopFlag
from pipeline.jobs.store import said_so_far, store_results
from pipeline.report.page import write_run_page
from pipeline.report.people import People, counts, people
from pipeline.report.run_record import RunRecord, model_records, run_key, run_record, timing
from pipeline.sources.wall import WallRules
from pipeline.zones.watch import Visit
from reid import Embedder
from tracker import Site

log = logging.getLogger(__name__)

Watcher = Callable[[list[Camera]], Callable[[], None]]  # takes the cameras, returns a callback for the end of every step


@dataclass(frozen=True)
class Request:
    """A run to do: cameras, configuration, output folder, and whether to resume an interrupted run. ``began``: for its wall time."""

    specs: list[CameraSpec]
    config: Config
    out: Path
    resume: bool = False
    site: Site = field(default_factory=Site)
    began: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, videos: Iterable[str | Path], out: str | Path, config: Config | None = None, site: Site | None = None) -> Request:
        """A request with one camera per video file, image folder or glob. Raises UsageError for an invalid or duplicate camera name."""
        if isinstance(videos, str | Path):
            raise UsageError(f"{videos}: expected a list of videos, such as [{str(videos)!r}]")
        config = config or Config()
        return cls(specify(map(str, videos), rules=WallRules.of(config.reading)), config, Path(out), site=site or Site())


def _warn_of_leftovers(request: Request) -> None:
    """An earlier run into this folder may have had cameras that this one lacks: their files stay, and no correction reaches them."""
    try:
        cameras = json.loads((request.out / "run.json").read_text(encoding="utf-8"))["cameras"]
    except (OSError, ValueError, KeyError, TypeError):
        return
    left = sorted(set(cameras) - {spec.name for spec in request.specs})
    if left:
        log.warning(
            "%s: holds files of an earlier run's cameras (%s), which are not part of this run; delete them", request.out, ", ".join(left)
        )


def open_models(config: Config, cameras: list[Camera]) -> tuple[Detector | None, Embedder | None]:
    """Open the models that the run needs: no detector if all cameras have given boxes or tracks, no embedder if ``reid.model`` is none."""
    detector = detectors.load_detector(settings=config.detector) if any(camera.detected for camera in cameras) else None
    embedder = None if config.reid.model == "none" else Embedder(settings=config.reid)
    return detector, embedder


def open_or_fail(request: Request) -> tuple[list[Camera], dict[str, str]]:
    """Open the cameras. Raises SourceError if none can be opened."""
    cameras, refused = open_cameras(request.specs, request.config)
    if not cameras:
        raise SourceError("no source could be opened:\n" + "\n".join(f"  {message}" for message in refused.values()))
    return cameras, refused


def reject_overwriting_inputs(request: Request) -> None:
    """Raise UsageError if the run would overwrite its own inputs."""
    written = [(request.out / folder).resolve() for folder in ("people", *(spec.name for spec in request.specs))]
    for spec in request.specs:
        for path in spec.inputs:
            place = path.resolve()
            if any(place == folder or folder in place.parents for folder in written):
                raise UsageError(f"{path}: the run would write into this input's folder ({request.out}); choose another output folder")


def dry_run(request: Request) -> dict[str, Any]:
    """Open each source and model, and return the resolved configuration as ``--dry-run`` prints it."""
    cameras, refused = open_or_fail(request)
    models = model_records(*open_models(request.config, cameras))
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
    config = request.config.as_dict()
    return {"cameras": facts, "not_opened": refused, "models": models.model_dump(), "config": config, "out": str(request.out)}


def run(request: Request, watcher: Watcher = lambda _: lambda: None, stop: StopFlag | None = None) -> RunRecord:
    """Run, write all results below ``request.out``, and return the content of ``run.json``. May be called from any thread.

    ``watcher``: takes the cameras and returns a callback for the end of every step. ``stop``: ends the run after the current step. Raises
    SourceError if no source can be opened, UsageError for invalid given files or an unsafe output folder, ModelError for an unusable model,
    OutputError if an output cannot be written.
    """
    config, out, watch, began, stop = request.config, request.out, Stopwatch(), datetime.now(UTC), stop or StopFlag()
    with watch("open"):
        opened, refused = open_or_fail(request)
        places = request.site.cameras
        cameras = [replace(one, area=area(places.get(one.name), one.source.width, one.source.height)) for one in opened]
        detector, embedder = open_models(config, cameras)
    for text in (*check_site(request.site, (spec.name for spec in request.specs)), *check_settings(config, cameras)):
        log.warning("%s", text)
    models = model_records(detector, embedder)
    reject_overwriting_inputs(request)
    _warn_of_leftovers(request)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        journal = Journal(out / "journal.bin", run_key(request.specs, config, models, request.site), request.resume)
        for spec in request.specs:  # contact sheets of an earlier run into this folder
            for sheet in (out / "people").glob(f"{spec.name}-[0-9][0-9][0-9][0-9][0-9]*.jpg"):
                sheet.unlink()
    done = False
    try:
        results = file_run.run(cameras, config, out, detector, embedder, journal, watch, stop, watcher(cameras))
        done = not stop()
        if (first := getattr(detector, "first", None)) is not None:
            first.finish()  # a short run has fewer pictures than the detector's self-check waits for
    finally:
        journal.close(remove=done)
    for result in results:
        if result.ended and not result.processed and not result.progress.error:
            result.progress.warn(f"no frame was processed of {result.progress.frames_in} (reading.start {config.reading.start})")
    failed = bool(refused) or any(result.progress.error for result in results)
    incomplete = any(result.outputs_failed for result in results)
    exit_code = stop.exit_code if stop() else OUTPUT if incomplete else SOURCE_FAILED if failed else OK
    inference = {
        "detector": getattr(getattr(detector, "session", None), "seconds", 0.0),
        "reid": embedder.session.seconds if embedder else 0.0,
    }
    rows, numbers, associated = People(), None, None
    visits: Sequence[Visit] = ()
    if embedder is not None:
        with watch("associate"):
            recorded = read_runs([out])
            recorded, found = apply_corrections(
                recorded, identify(recorded, request.site, config.association), said_so_far(out, config.store, recorded)
            )
            write_identities(out, recorded, found)
            sizes = {one.name: (one.source.width, one.source.height) for one in cameras}
            visits = write_zones(out, recorded, found, request.site, sizes)
            rows, numbers, associated = people(recorded, found), counts(found, recorded), (recorded, found)
    elif any(place.zones or place.lines for place in places.values()):
        log.warning("no zone visits: they count people, and without a re-ID model (reid.model none) there are no identities")
    took = timing(results, watch, inference, time.perf_counter() - request.began)
    record = run_record(results, refused, config, models, took, began, exit_code, numbers)
    write_record(out, record, rows)
    store_results(out, config.store, [out], associated, visits, request.site)
    return record


def write_record(out: Path, record: RunRecord, rows: People) -> None:
    """Write the page and ``run.json``. Raises OutputError."""
    with writing(out):
        write_run_page(out, record, rows)
        record.write(out / "run.json")
