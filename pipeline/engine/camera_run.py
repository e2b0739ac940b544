"""One camera of a run: its tracker, tracklets, counts and sinks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from detectors import Detections
from pipeline.config import Config
from pipeline.engine.areas import within
from pipeline.engine.cameras import Camera
from pipeline.engine.motion_gate import StillScene
from pipeline.engine.pixel_aspect import to_square, tracks_to_stored
from pipeline.engine.tracklet_builder import TrackletBuilder
from pipeline.sinks.sink import Sink
from pipeline.sources.frame import Frame, Progress
from tracker import DeepSort, Tracks
from tracker.following.perspective import Perspective

GAP_FRAMES = 5  # a gap has at least so many times the usual distance of frames: pictures may come once a minute


@dataclass
class CameraResult:
    """Counts of one camera.

    Frames: ``processed``, ``skipped`` (by ``every`` and ``start``), ``failed`` (not decodable), ``detected`` (processed by the detector).
    ``gaps``: times without frames that ended all tracks. Detections: ``confident`` (at or above the tracker's high threshold), ``embedded``. ``tracks``: finished tracks.
    ``outputs_failed``: why a file of its outputs is incomplete, by the file's name; ``video_cuts``: see ``AnnotatedVideo``. ``screened``: boxes
    that the perspective changed, by how; frames that a resumed run replays do not count.
    """

    camera: Camera
    processed: int = 0
    gaps: int = 0
    skipped: int = 0
    failed: int = 0
    ended: bool = False
    tracks: int = 0
    detected: int = 0
    embedded: int = 0
    confident: int = 0
    last_time: float = 0.0
    outputs_failed: dict[str, str] = field(default_factory=dict)
    video_cuts: list[tuple[float, float]] = field(default_factory=list)
    screened: dict[str, int] = field(default_factory=dict)

    @property
    def progress(self) -> Progress:
        return self.camera.source.progress

    def end(self) -> None:
        """The source has ended: take over its final counts. Until then, those of the last processed frame hold."""
        self.ended, self.skipped, self.failed = True, self.progress.skipped, self.progress.failed


class CameraRun:
    """The state of one camera between frames. The caller closes the ``sinks``."""

    def __init__(self, camera: Camera, config: Config, sinks: Sequence[Sink], first_id: int = 1) -> None:
        self.camera, self.sinks = camera, tuple(sinks)
        self.high = config.tracker.high_threshold
        self.result = CameraResult(camera)
        self.tracker = DeepSort(config.tracker, first_id)
        self.perspective = Perspective(config.perspective, self.high)
        self.result.screened = self.perspective.counts
        self.scene = StillScene(config.motion_gate)
        self.last_detections = Detections.empty()  # of the last frame that the detector processed
        self.builder = TrackletBuilder(camera.name, config.output.sheet_crops)
        self._forgotten: set[int] = set()
        frames = GAP_FRAMES * config.reading.every / (camera.source.rate or 25.0)
        self._longest_gap = max(config.tracker.max_lost, frames)

    def end_tracks_after_gap(self, frame: Frame) -> None:
        """End all tracks if ``frame`` comes so long after the last one that nobody can be followed over the gap."""
        if self.result.processed and self.camera.tracks is None and frame.time - self.result.last_time > self._longest_gap:
            self.result.gaps += 1
            self.restart()

    def needs_detector(self, frame: Frame) -> bool:
        """Whether the detector must process this frame. Call once per frame, also for frames that a resumed run replays."""
        if not self.camera.detected or not self.scene.needs_detector(frame.image):
            return False
        self.result.detected += 1
        return True

    def detections(self, frame: Frame, detected: Detections | None) -> Detections:
        """The given boxes or tracks of this frame, else ``detected``, as the perspective leaves them; None: the detector was skipped, so the last
        detections are reused.
        """
        camera, number = self.camera, frame.index + 1
        if camera.tracks is not None:  # used unchanged, also outside the areas
            return camera.tracks.detections(number)
        if camera.boxes is not None:
            return self.perspective.screen(within(camera.boxes.at(number), camera.area))
        return self.last_detections if detected is None else self.perspective.screen(within(detected, camera.area))

    def wanted(self, frame: Frame, detections: Detections) -> np.ndarray:
        """Rows of ``detections`` to embed."""
        given = self.camera.tracks
        return (
            self.tracker.wanted(to_square(detections, frame.aspect), frame.time)
            if given is None
            else given.wanted(frame.index + 1, frame.time)
        )

    def track(self, frame: Frame, detections: Detections, embeddings: dict[int, np.ndarray] | None) -> Tracks:
        """Update the tracker; returns this frame's tracks. ``embeddings``: by row of ``detections``; None without a re-ID model."""
        self.last_detections = detections
        self.result.confident += int((detections.scores >= self.high).sum())
        self.result.embedded += len(embeddings or ())
        given = self.camera.tracks
        if given is None:
            embed = None if embeddings is None else partial(_rows_of, embeddings)
            tracks = tracks_to_stored(self.tracker.update(to_square(detections, frame.aspect), frame.time, embed), frame.aspect)
            height, width = frame.image.shape[:2]
            self.perspective.learn(tracks.ids, tracks.boxes, tracks.scores, tracks.visibility, frame.time, width, height)
            self.perspective.forget(self.tracker.held)
            return tracks
        return given.tracks(frame.index + 1, frame.time, list(embeddings or ()))

    def forget(self, tracks: set[int]) -> None:
        """Drop what is held of ``tracks``, and pass nothing more of them to the sinks."""
        self._forgotten |= tracks
        self.builder.forget(tracks)

    def take(self, frame: Frame, tracks: Tracks, embeddings: dict[int, np.ndarray]) -> None:
        """Count the frame, extend the tracklets, and pass the frame to the sinks."""
        if self._forgotten:
            left = ~np.isin(tracks.ids, list(self._forgotten))
            tracks = Tracks(tracks.ids[left], tracks.boxes[left], tracks.scores[left], tracks.rows[left], tracks.visibility[left])
        self.builder.add(frame, tracks, embeddings)
        self.result.processed += 1
        self.result.skipped, self.result.failed = frame.skipped, frame.failed
        self.result.last_time = frame.time
        for sink in self.sinks:
            sink.take(frame, tracks)
        held = self.tracker.held if self.camera.tracks is None else self.camera.tracks.held(frame.index + 1)
        self._forgotten &= set(held.tolist()) if self._forgotten else set()
        self.finish(held)

    def restart(self) -> None:
        """The stream has restarted: end all tracks. Ids are not reused."""
        self.finish()
        self.tracker.restart()
        self.last_detections = Detections.empty()

    def cut(self, longest: float) -> None:
        """Pass to the sinks the parts so far of tracks longer than ``longest`` seconds."""
        for tracklet in self.builder.cut(longest):
            for sink in self.sinks:
                sink.finish(tracklet)

    def finish(self, held: np.ndarray | None = None) -> None:
        """Pass to the sinks the tracklets of tracks that are no longer ``held``; None: of all tracks."""
        for tracklet in self.builder.finish(held):
            self.result.tracks += 1
            for sink in self.sinks:
                sink.finish(tracklet)


def _rows_of(embeddings: dict[int, np.ndarray], rows: np.ndarray) -> np.ndarray:
    return np.stack([embeddings[row] for row in rows.tolist()])
