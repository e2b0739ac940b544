"""One step over any set of cameras: detections, then embeddings, one batch each."""

from __future__ import annotations

import numpy as np

from detectors import Detections, Detector
from pipeline.engine.areas import within
from pipeline.engine.camera_run import _CameraRun
from pipeline.engine.stopwatch import Stopwatch
from pipeline.sources.frame import Frame
from reid import Embedder
from reid.embedder import crop_boxes


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
