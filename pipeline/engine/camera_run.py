"""One camera of a run: its frames ahead, its tracker, its sinks, its counts."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from detectors import Detections
from pipeline.config import Config
from pipeline.engine.cameras import Camera
from pipeline.engine.motion_gate import StillScene
from pipeline.engine.tracklet_builder import Collector
from pipeline.errors import PasserbyError
from pipeline.formats.contact_sheet import write_sheet
from pipeline.formats.tracklet import Tracklet
from pipeline.formats.tracklet_table import TrackletTable
from pipeline.sinks.annotated_video import VideoWriter
from pipeline.sinks.tracks_text import TracksWriter
from pipeline.sources.frame import Frame, Progress, Selection
from pipeline.sources.prefetch import Prefetch
from tracker import DeepSort, Tracks


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


def _look_up(looks: dict[int, np.ndarray], rows: np.ndarray) -> np.ndarray:
    return np.stack([looks[row] for row in rows.tolist()])
