"""``passerby run``: from what the user asked for to a folder of results."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import detectors
from detectors import Detector
from pipeline import engine
from pipeline.areas import area
from pipeline.cameras import Camera, CameraSpec, open_cameras
from pipeline.config import Config
from pipeline.corrections import Correction, Key, append, read_log, respect
from pipeline.errors import OK, SOURCE_FAILED, OutputError, SourceError, UsageError
from pipeline.identities import Person, Recorded, identify, people, read_identities, read_runs, summary, write_identities
from pipeline.journal import Journal
from pipeline.linking import link, write_events
from pipeline.page import read_cards, write_page
from pipeline.progress import Watcher
from pipeline.record import model_facts, run_key, run_record
from reid import Embedder
from tracker import Event, Identities, Site


@dataclass
class StopFlag:
    """Set by SIGINT or SIGTERM: the run ends after the step it is in, with valid outputs."""

    signal: int | None = None

    def __call__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        return 128 + (self.signal or 0)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """Turn the first SIGINT or SIGTERM into a flag; a second one ends the program at once."""
    flag = StopFlag()

    def handle(number: int, _: Any) -> None:
        if flag.signal is not None:
            raise SystemExit(128 + number)
        flag.signal = number

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, old in before.items():
            signal.signal(number, old)


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


def associate_runs(runs: list[Path], out: Path, site: Site, config: Config, online: bool = False) -> dict[str, Any]:
    """``passerby associate``: identities over the tracklets of runs, written to ``out``; returns their counts.

    ``online``: as the linker says while the cameras run, its events in ``events.jsonl``. Raises UsageError where a run has no
    tracklets or another re-ID model, OutputError where ``out`` cannot be written.
    """
    log, recorded = read_log(out), read_runs(runs, looks=online)
    events: list[Event] = []
    if online:
        found, events = link(recorded, site, config.linker, config.association)
    else:
        found = identify(recorded, site, config.association)
    recorded, found = respect(recorded, found, log)
    write_identities(out, recorded, found)
    if online:
        write_events(out / "events.jsonl", events)
    return _finish_association(out, recorded, found)


def given_run(specs: list[CameraSpec], config: Config, out: Path, site: Site) -> dict[str, Any]:
    """A run of tracks that are there already, without annotated video, for association with others; returns its record."""
    return execute(Request(specs, config.model_copy(update={"output": config.output.model_copy(update={"video": False})}), out, site=site))


def _finish_association(out: Path, recorded: Recorded, found: Identities) -> dict[str, Any]:
    counts = summary(recorded, found)
    runs = ", ".join(dict.fromkeys(str(run) for run in recorded.runs))
    try:
        write_page(out / "index.html", [], {"runs": runs, **counts}, *people(recorded, found))
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None
    return counts


def correct(out: Path, say: Callable[[list[Key], np.ndarray], Correction]) -> dict[str, Any]:
    """``passerby identities``: log the correction that ``say`` makes of (tracklets, identities), and write ``out`` anew; returns counts.

    Raises UsageError where ``out`` has no identities or the correction does not fit them, OutputError where it cannot be written.
    """
    recorded, found = read_identities(out)
    correction = say(recorded.keys, found.ids)
    append(out, correction)
    recorded, found = respect(recorded, found, [correction])
    write_identities(out, recorded, found)
    if not (out / "run.json").is_file():
        return _finish_association(out, recorded, found)
    counts = summary(recorded, found)
    try:
        record = json.loads((out / "run.json").read_text(encoding="utf-8")) | {"people": counts}
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be read ({error.strerror or error})") from None
    _write_record(out, record, *people(recorded, found))
    return counts
