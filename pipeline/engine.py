"""The file engine: several cameras in step through detector, tracker and sinks.

source -> frame -> detect (one batch over the cameras) -> associate, embedding what decides -> tracks -> sinks
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from detectors import Detections, Detector
from pipeline.areas import within
from pipeline.cameras import Camera
from pipeline.config import Config
from pipeline.errors import OutputError, PasserbyError
from pipeline.filling import TracksWriter
from pipeline.journal import Journal, Step
from pipeline.motion import StillScene
from pipeline.prefetch import Prefetch
from pipeline.sheets import write_sheet
from pipeline.sources import Frame, Progress, Selection
from pipeline.table import TrackletTable
from pipeline.tracklets import Collector, Tracklet
from pipeline.video import VideoWriter
from reid import Embedder
from reid.embedder import crop_boxes
from tracker import DeepSort, Tracks


class Stopwatch:
    """Seconds of the main thread by stage; a stage within another one counts for itself alone."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._inner = 0.0

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        began, outer, self._inner = time.perf_counter(), self._inner, 0.0
        try:
            yield
        finally:
            took = time.perf_counter() - began
            self.seconds[stage] += took - self._inner
            self._inner = outer + took


@dataclass
class CameraResult:
    """What came of one camera: its counts (``detected``: frames that a detector saw), and how many tracks."""

    camera: Camera
    processed: int = 0
    skipped: int = 0
    failed: int = 0
    ended: bool = False
    tracks: int = 0
    detected: int = 0
    embedded: int = 0
    offered: int = 0
    last_time: float = 0.0

    @property
    def progress(self) -> Progress:
        return self.camera.source.progress

    def end(self) -> None:
        """The source has ended: what it counted last holds; before that, what it had counted at the last frame taken."""
        self.ended, self.skipped, self.failed = True, self.progress.skipped, self.progress.failed


class _CameraRun:
    """One camera on its way through a run: its frames ahead, its tracker, its outputs."""

    def __init__(self, camera: Camera, config: Config, out: Path) -> None:
        self.camera, self.config = camera, config
        self.folder, self.people = out / camera.name, out / "people"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.result = CameraResult(camera)
        self.tracker = DeepSort(config.tracker)
        self.scene = StillScene(config.motion_gate)
        self.found = Detections.empty()  # of the last frame that was looked at
        self.collector = Collector(camera.name, config.output.sheet_crops)
        fill = 0.0 if camera.tracks else config.output.fill  # another tracker's gaps are its own
        self.text = TracksWriter((self.folder / "tracks.txt").open("w", encoding="utf-8"), fill)
        source = camera.source
        self.video = None
        if config.output.video:
            self.video = VideoWriter(self.folder / "video.mp4", source.width, source.height, source.rate, config.output)
        reading = config.reading
        self.frames = Prefetch(source.read(Selection(reading.every, reading.start, reading.end)), reading.ahead)
        self.iterator = iter(self.frames)

    def next(self) -> Frame | None:
        """The next frame; None at the end. A source that breaks ends here, with its error in its progress."""
        try:
            frame = next(self.iterator, None)
            if frame is None:
                self.result.end()
                self._compare_lengths()
            return frame
        except PasserbyError as error:
            self.camera.source.progress.error = str(error)
        except Exception as error:  # a decoder's surprise must not take the other cameras down
            self.camera.source.progress.error = f"{self.camera.source.path}: reading failed ({type(error).__name__}: {error})"
        self.result.end()
        return None

    def _compare_lengths(self) -> None:
        given, progress = self.camera.tracks, self.camera.source.progress
        if given is not None and self.config.reading.end is None and given.last > progress.frames_in:
            progress.warn(
                f"{given.path}: has rows up to frame {given.last}, the source {progress.frames_in} frames: are they of the same video?"
            )

    def needs_detector(self, frame: Frame) -> bool:
        """Whether this frame is to be looked at; asked once a frame, also of those that a resumed run has behind it."""
        if not self.camera.detected or not self.scene.needs_detector(frame.image):
            return False
        self.result.detected += 1
        return True

    def wanted(self, frame: Frame, found: Detections) -> np.ndarray:
        """Rows of ``found`` to be embedded."""
        given = self.camera.tracks
        return self.tracker.wanted(found, frame.time) if given is None else given.wanted(frame.index + 1, frame.time)

    def follow(self, frame: Frame, found: Detections, looks: dict[int, np.ndarray] | None) -> Tracks:
        given = self.camera.tracks
        if given is None:
            return self.tracker.update(found, frame.time, None if looks is None else partial(_look_up, looks))
        return given.tracks(frame.index + 1, frame.time, list(looks or ()))

    def held(self, frame: Frame) -> np.ndarray:
        """Ids of the tracks that may go on."""
        return self.tracker.held if self.camera.tracks is None else self.camera.tracks.held(frame.index + 1)

    def take(self, frame: Frame, tracks: Tracks, embeddings: dict[int, np.ndarray], table: TrackletTable) -> None:
        self.text.add(frame, tracks)
        self.collector.add(frame, tracks, embeddings)
        self.result.processed += 1
        self.result.skipped, self.result.failed = frame.skipped, frame.failed
        self.result.last_time = frame.time
        if self.video is not None:
            self.video.write(frame, tracks)
        for tracklet in self.collector.finish(self.held(frame)):
            self.keep(tracklet, table)

    def keep(self, tracklet: Tracklet, table: TrackletTable) -> None:
        table.add(tracklet)
        write_sheet(self.people, tracklet)
        self.result.tracks += 1

    def close(self, table: TrackletTable) -> None:
        """Finish every output, each as far as it goes; raises the first error after the last attempt."""
        self.frames.close()
        with contextlib.ExitStack() as stack:
            if self.video is not None:
                stack.callback(self.video.close)
            stack.callback(self.text.close)
            for tracklet in self.collector.finish():
                self.keep(tracklet, table)


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


def _embed(
    live: list[_CameraRun], frames: dict[str, Frame], detections: dict[str, Detections], embedder: Embedder, watch: Stopwatch
) -> dict[str, dict[int, np.ndarray]]:
    """Embeddings of the rows that each camera's tracker asks for, by row: one batch over the cameras."""
    asked, crops = [], []
    for one in live:
        name = one.camera.name
        with watch("track"):
            rows = one.wanted(frames[name], detections[name])
        asked.append((name, rows.tolist()))
        with watch("embed"):
            crops += crop_boxes(frames[name].image, detections[name].boxes[rows])
    with watch("embed"):
        embeddings = iter(embedder.embed(crops))
    return {name: {row: next(embeddings) for row in rows} for name, rows in asked}


def _look_up(looks: dict[int, np.ndarray], rows: np.ndarray) -> np.ndarray:
    return np.stack([looks[row] for row in rows.tolist()])


def _detect(live: list[_CameraRun], frames: dict[str, Frame], due: list[str], detector: Detector | None) -> dict[str, Detections]:
    """Detections of every camera: given ones, or of the detector where its picture is ``due``, or else those of its last picture."""
    seen = {} if detector is None or not due else dict(zip(due, detector.detect([frames[name].image for name in due]), strict=True))
    out = {}
    for one in live:
        camera, number = one.camera, frames[one.camera.name].index + 1
        if camera.tracks is not None:  # taken as they are, wherever they stand
            out[camera.name] = camera.tracks.detections(number)
        elif camera.boxes is not None:
            out[camera.name] = within(camera.boxes.get(number, Detections.empty()), camera.area)
        else:
            out[camera.name] = within(seen[camera.name], camera.area) if camera.name in seen else one.found
    return out
