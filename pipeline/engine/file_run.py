"""A run over files: cameras in step through the engine, each step recorded in the journal, all outputs closed on any exit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from detectors import Detector
from pipeline.config import Config
from pipeline.engine.camera_run import CameraResult, CameraRun
from pipeline.engine.cameras import Camera
from pipeline.engine.intake import FilesInStep
from pipeline.engine.journal import Journal
from pipeline.engine.step import run_step
from pipeline.engine.stopwatch import Stopwatch
from pipeline.errors import OutputError, writing
from pipeline.sinks.annotated_video import AnnotatedVideo
from pipeline.sinks.guarded import Guarded
from pipeline.sinks.tracklets import TrackletFiles
from pipeline.sinks.tracks_text import TracksText
from reid import Embedder


def reid_facts(embedder: Embedder | None) -> dict[str, str]:
    """Metadata of ``tracklets.parquet`` on the re-ID model: SHA-256 of the file, calibration of its distances."""
    if embedder is None:
        return {}
    calibration = embedder.facts.for_tracklets
    weights = embedder.facts.evidence
    return {
        "reid": embedder.session.sha256, "slope": str(calibration.slope), "offset": str(calibration.offset),
        **({} if weights is None else {"evidence": weights.model_dump_json()}),
    }  # fmt: skip


def with_gate(config: Config, embedder: Embedder | None) -> Config:
    """``config`` with the gate of the re-ID model, unless it sets its own."""
    if embedder is None or config.tracker.gate is not None:
        return config
    return config.changed(tracker=config.tracker.changed(gate=embedder.facts.calibration.gate))


@dataclass(frozen=True)
class CameraSinks:
    """The sinks of one camera below ``out/<camera>``, each of which may fail without ending the run."""

    sinks: tuple[Guarded, ...]
    video: AnnotatedVideo | None

    def report(self, result: CameraResult) -> None:
        """After they are closed: say what failed, and what was cut from the video."""
        result.outputs_failed = {sink.name: sink.failed for sink in self.sinks if sink.failed is not None}
        if self.video is not None:
            result.video_cuts = self.video.cuts


def camera_sinks(camera: Camera, config: Config, out: Path, opened: ExitStack) -> CameraSinks:
    """The sinks of one camera; ``opened`` closes them."""
    folder, source = out / camera.name, camera.source
    folder.mkdir(parents=True, exist_ok=True)
    fill = 0.0 if camera.tracks else config.output.max_fill_gap  # given tracks are not changed
    sinks, video = [Guarded("tracks.txt", TracksText(folder / "tracks.txt", fill))], None
    opened.callback(sinks[0].close)
    if config.output.video:
        video = AnnotatedVideo(folder / "video.mp4", source.width, source.height, source.rate, config.output)
        sinks.append(Guarded("video.mp4", video))
        opened.callback(sinks[1].close)
    return CameraSinks(tuple(sinks), video)


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
    """Process all cameras until each has ended or ``stopped()`` is true. The outputs below ``out`` are then complete up to that point.

    Raises OutputError if the tracklets or the journal cannot be written; the other outputs are still finished. Another output that fails
    is closed and named in the camera's result.
    """
    config = with_gate(config, embedder)
    opened, runs, sinks = ExitStack(), dict[str, CameraRun](), dict[str, CameraSinks]()
    with writing(out):
        try:
            began = {camera.name: camera.source.began.time for camera in cameras if camera.source.began is not None}
            zone = {"time_zone": config.reading.time_zone} if config.reading.time_zone else {}
            tracklets = TrackletFiles(out, reid_facts(embedder) | zone, began)
            opened.callback(tracklets.close)
            for camera in cameras:
                sinks[camera.name] = camera_sinks(camera, config, out, opened)
                runs[camera.name] = CameraRun(camera, config, [*sinks[camera.name].sinks, tracklets])
            for one in runs.values():
                opened.callback(one.finish)
            intake = FilesInStep(list(runs.values()), config.reading)
            opened.callback(intake.close)
            _steps(runs, intake, detector, embedder, journal, watch, stopped, on_step)
        finally:
            with watch("finish"):
                opened.close()
    for name, one in runs.items():
        sinks[name].report(one.result)
    return [one.result for one in runs.values()]


def _steps(
    runs: dict[str, CameraRun],
    intake: FilesInStep,
    detector: Detector | None,
    embedder: Embedder | None,
    journal: Journal,
    watch: Stopwatch,
    stopped: Callable[[], bool],
    on_step: Callable[[], None],
) -> None:
    while not stopped():
        with watch("read"):
            frames = intake.next()
        if not frames:
            return
        with watch("journal"):
            known = journal.replay()
        if known is not None and known.frames != {name: frame.index for name, frame in frames.items()}:
            raise OutputError(f"{journal.path}: the sources give different frames than in the interrupted run; run without --resume")
        step = run_step(runs, frames, detector, embedder, watch, known)
        if known is None:
            with watch("journal"):
                journal.write(step)
        on_step()
