"""The file engine: several cameras in step through detector, tracker and sinks.

source -> frame -> detect (one batch over the cameras) -> associate, embedding what decides -> tracks -> sinks
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from detectors import Detector
from pipeline.config import Config
from pipeline.engine.camera_run import CameraResult, _CameraRun
from pipeline.engine.cameras import Camera
from pipeline.engine.journal import Journal, Step
from pipeline.engine.step import _detect, _embed
from pipeline.engine.stopwatch import Stopwatch
from pipeline.errors import OutputError
from pipeline.formats.tracklet_table import TrackletTable
from reid import Embedder


def reid_facts(embedder: Embedder) -> dict[str, str]:
    """What ``tracklets.parquet`` keeps of the model: whose embeddings they are, and how to read their distances."""
    calibration = embedder.facts.for_tracklets
    return {"reid": embedder.session.sha256, "slope": str(calibration.slope), "offset": str(calibration.offset)}


def run(
    cameras: list[Camera],
    config: Config,
    out: Path,
    detector: Detector | None,
    embedder: Embedder | None,
    journal: Journal,
    watch: Stopwatch,
    stopped: Callable[[], bool] = lambda: False,
    on_step: Callable[[], None] = lambda: None,
) -> list[CameraResult]:
    """Follow people through all cameras until each has ended or ``stopped()`` says so; outputs under ``out`` are complete so far.

    Raises OutputError where an output cannot be written; what could be finished is.
    """
    if embedder is not None and config.tracker.gate is None:
        config = config.model_copy(update={"tracker": replace(config.tracker, gate=embedder.facts.calibration.gate)})
    try:
        (out / "people").mkdir(parents=True, exist_ok=True)
        table = TrackletTable(out / "tracklets.parquet", reid_facts(embedder) if embedder else {})
        runs = [_CameraRun(camera, config, out) for camera in cameras]
        try:
            _steps(runs, detector, embedder, journal, table, watch, stopped, on_step)
        finally:
            with watch("finish"), contextlib.ExitStack() as stack:
                stack.callback(table.close)
                for one in runs:
                    stack.callback(one.close, table)
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None
    return [one.result for one in runs]


def _steps(
    runs: list[_CameraRun],
    detector: Detector | None,
    embedder: Embedder | None,
    journal: Journal,
    table: TrackletTable,
    watch: Stopwatch,
    stopped: Callable[[], bool],
    on_step: Callable[[], None],
) -> None:
    live = list(runs)
    while live and not stopped():
        with watch("read"):
            frames = {one.camera.name: frame for one in live if (frame := one.next()) is not None}
        live = [one for one in live if one.camera.name in frames]
        if not live:
            return
        with watch("journal"):
            known = journal.replay()
        if known is not None and known.frames != {name: frame.index for name, frame in frames.items()}:
            raise OutputError(f"{journal.path}: the sources give other frames than in the run to resume; run without --resume")
        step = known or Step({name: frame.index for name, frame in frames.items()})
        with watch("motion"):
            due = [one.camera.name for one in live if one.needs_detector(frames[one.camera.name])]
        if known is None:
            with watch("detect"):
                step.detections = _detect(live, frames, due, detector)
            if embedder is not None:
                step.embeddings = _embed(live, frames, step.detections, embedder, watch)
        for one in live:
            frame = frames[one.camera.name]
            found, looks = step.detections[one.camera.name], step.embeddings.get(one.camera.name, {})
            one.found = found
            one.result.offered += int((found.scores >= one.config.tracker.high).sum())
            with watch("track"):
                tracks = one.follow(frame, found, None if embedder is None else looks)
            one.result.embedded += len(looks)
            with watch("write"):
                one.take(frame, tracks, looks, table)
        if known is None:
            with watch("journal"):
                journal.write(step)
        on_step()
