"""One step of the engine: from frames of any set of cameras to detections, embeddings, tracks and sinks.

Detector and re-ID model run once, on one batch over all cameras. The intake decides which frames form a step: files in step, or the newest
frame of each stream. A step never waits for a camera.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from detectors import Detections, Detector
from pipeline.engine.camera_run import CameraRun
from pipeline.engine.pixel_aspect import squared, to_stored
from pipeline.engine.stopwatch import Stopwatch
from pipeline.sources.frame import Frame
from reid import Embedder
from reid.embedder import crop_boxes


@dataclass
class Step:
    """Per camera name: the frame's index, its detections, and the embeddings by detection row."""

    frames: dict[str, int] = field(default_factory=dict)
    detections: dict[str, Detections] = field(default_factory=dict)
    embeddings: dict[str, dict[int, np.ndarray]] = field(default_factory=dict)


def run_step(
    cameras: Mapping[str, CameraRun],
    frames: Mapping[str, Frame],
    detector: Detector | None,
    embedder: Embedder | None,
    watch: Stopwatch,
    known: Step | None = None,
) -> Step:
    """Process ``frames`` (by camera name) and return the output of the models.

    ``known``: their recorded output of an interrupted run; no model runs then, and the tracks are the same.
    """
    for name, frame in frames.items():
        cameras[name].end_tracks_after_gap(frame)
    with watch("motion"):
        due = [name for name, frame in frames.items() if cameras[name].needs_detector(frame)]
    if known is None:
        with watch("detect"):
            detections = _detect(cameras, frames, due, detector)
        embeddings = _embed(cameras, frames, detections, embedder, watch) if embedder is not None else {}
        step = Step({name: frame.index for name, frame in frames.items()}, detections, embeddings)
    else:
        step = known
    for name, frame in frames.items():
        camera, embedded = cameras[name], step.embeddings.get(name, {})
        with watch("track"):
            tracks = camera.track(frame, step.detections[name], None if embedder is None else embedded)
        with watch("write"):
            camera.take(frame, tracks, embedded)
    return step


def _detect(
    cameras: Mapping[str, CameraRun], frames: Mapping[str, Frame], due: list[str], detector: Detector | None
) -> dict[str, Detections]:
    """Detections of every camera; the detector processes the frames of the cameras in ``due``."""
    found: dict[str, Detections] = {}
    if detector is not None and due:
        images = [squared(frames[name].image, frames[name].aspect) for name in due]
        found = {name: to_stored(one, frames[name].aspect) for name, one in zip(due, detector.detect(images), strict=True)}
    return {name: cameras[name].detections(frame, found.get(name)) for name, frame in frames.items()}


def _embed(
    cameras: Mapping[str, CameraRun],
    frames: Mapping[str, Frame],
    detections: dict[str, Detections],
    embedder: Embedder,
    watch: Stopwatch,
) -> dict[str, dict[int, np.ndarray]]:
    """Embeddings of the rows that each camera's tracker requests, by row."""
    requested, crops = [], []
    for name, frame in frames.items():
        with watch("track"):
            rows = cameras[name].wanted(frame, detections[name])
        requested.append((name, rows.tolist()))
        with watch("embed"):
            crops += crop_boxes(frame.image, detections[name].boxes[rows])
    with watch("embed"):
        embeddings = iter(embedder.embed(crops))
    return {name: {row: next(embeddings) for row in rows} for name, rows in requested}
