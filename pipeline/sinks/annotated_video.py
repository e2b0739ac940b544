"""The annotated video of one camera: drawn by supervision, encoded by PyAV, in a separate thread."""

from __future__ import annotations

import queue
import threading
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import av.error
import cv2
import numpy as np

from pipeline.config import Output
from pipeline.errors import OutputError
from pipeline.formats.colours import PALETTE
from pipeline.formats.paths import for_ffmpeg
from pipeline.sinks.sink import Sink
from pipeline.sources.frame import Frame
from tracker import Tracks

TIME_BASE = Fraction(1, 90_000)
LONGEST_PAUSE = 2.0  # s between frames of the video; containers cannot hold hours
PAUSE_FRAMES = 5  # a pause has at least so many times the usual distance of frames


@dataclass(frozen=True)
class Encoder:
    """A codec that browsers play (H.264), or MPEG-4 if this build of FFmpeg has no H.264 encoder."""

    name: str
    options: dict[str, str]


def encoder(crf: int) -> Encoder:
    if "libx264" in av.codecs_available:
        return Encoder("libx264", {"crf": str(crf), "preset": "superfast", "tune": "fastdecode"})
    if "libopenh264" in av.codecs_available:
        return Encoder("libopenh264", {})
    return Encoder("mpeg4", {"q": "5"})


class AnnotatedVideo(Sink):
    """Writes frames with their tracks to ``path`` (.mp4). ``take`` queues a frame; ``close`` waits for the queue and finishes the file.

    Frames that are not ``width`` x ``height`` px are scaled to that size. Pauses of more than a few seconds are shortened; ``cuts`` lists
    them: the time of the frame after each, and by how many seconds it was shortened, ready after ``close``. ``take`` and ``close`` raise OutputError if the file cannot be
    written.
    """

    def __init__(self, path: Path, width: int, height: int, rate: float, settings: Output) -> None:
        self.path, self.settings, self.rate = path, settings, rate
        self.size = (width - width % 2, height - height % 2)  # 4:2:0 needs even sides
        self.codec = encoder(settings.video_crf)
        self._queue: queue.Queue[tuple[Frame, Tracks] | None] = queue.Queue(16)
        self._error: Exception | None = None
        self.cuts: list[tuple[float, float]] = []
        self._longest_pause = max(LONGEST_PAUSE, PAUSE_FRAMES / rate)
        self._ended = False  # the end marker has been taken from the queue
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def take(self, frame: Frame, tracks: Tracks) -> None:
        """Queue one frame; the thread draws on a copy."""
        self._raise()
        self._queue.put((frame, tracks))

    def close(self) -> None:
        self._queue.put(None)
        self._thread.join()
        self._raise()

    def _raise(self) -> None:
        if self._error is not None:
            error, self._error = self._error, None
            raise OutputError(f"{self.path}: the video cannot be written ({error})")

    def _run(self) -> None:
        try:
            self._encode()
        except Exception as error:  # raised later, in the caller's thread
            self._error = error
            while not self._ended:
                self._ended = self._queue.get() is None

    def _encode(self) -> None:
        draw = Annotator(self.settings.trail, self.rate)
        with av.open(for_ffmpeg(self.path), "w", options={"movflags": "+faststart"}) as container:
            stream: Any = container.add_stream(
                self.codec.name, rate=Fraction(self.rate).limit_denominator(1000), options=self.codec.options
            )
            stream.width, stream.height, stream.pix_fmt = *self.size, "yuv420p"
            stream.codec_context.time_base = TIME_BASE
            stream.codec_context.thread_count = 1
            last, before, cut = -1, None, 0.0
            while (item := self._queue.get()) is not None:
                frame, tracks = item
                if last < 0 and frame.aspect != 1.0:
                    stream.codec_context.sample_aspect_ratio = Fraction(frame.aspect).limit_denominator(1000)
                image = draw(frame.image.copy(), tracks)
                if (image.shape[1], image.shape[0]) != self.size:
                    odd = image.shape[1] - image.shape[1] % 2, image.shape[0] - image.shape[0] % 2
                    image = (
                        np.ascontiguousarray(image[: self.size[1], : self.size[0]]) if odd == self.size else cv2.resize(image, self.size)
                    )
                converted = av.VideoFrame.from_ndarray(image, format="bgr24")
                if before is not None and (pause := frame.time - before - self._longest_pause) > 0:
                    cut += pause
                    self.cuts.append((frame.time, pause))
                before = frame.time
                last = max(last + 1, round((frame.time - cut) / TIME_BASE))
                converted.pts, converted.time_base = last, TIME_BASE
                for packet in stream.encode(converted):
                    container.mux(packet)
            self._ended = True
            if last < 0:  # no frames: one black frame keeps the file playable
                converted = av.VideoFrame.from_ndarray(np.zeros((self.size[1], self.size[0], 3), np.uint8), format="bgr24")
                converted.pts, converted.time_base = 0, TIME_BASE
                for packet in stream.encode(converted):
                    container.mux(packet)
            for packet in stream.encode(None):
                container.mux(packet)


class Annotator:
    """Draws boxes, ids and trails into frames, in place, with supervision's annotators."""

    def __init__(self, trail: float, rate: float) -> None:
        import supervision as sv  # takes over a second to import, so only if something is drawn

        self._detections = sv.Detections
        colour = {"color": sv.ColorPalette.from_hex(list(PALETTE)), "color_lookup": sv.ColorLookup.TRACK}
        self._trail = sv.TraceAnnotator(position=sv.Position.BOTTOM_CENTER, trace_length=max(2, round(trail * rate)), thickness=2, **colour)
        self._box = sv.BoxAnnotator(thickness=2, **colour)
        self._label = sv.LabelAnnotator(text_scale=0.4, text_padding=3, **colour)

    def __call__(self, image: np.ndarray, tracks: Tracks) -> np.ndarray:
        if not len(tracks):
            return image
        found = self._detections(xyxy=tracks.boxes, confidence=tracks.scores, tracker_id=tracks.ids.astype(int))
        self._trail.annotate(image, found)
        self._box.annotate(image, found)
        return self._label.annotate(image, found, labels=[str(track_id) for track_id in tracks.ids])
