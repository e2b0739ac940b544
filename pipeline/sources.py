"""Sources of frames: video files by PyAV, folders and globs of images, MOTChallenge sequence folders.

Time comes from presentation timestamps. Damage is survived and counted: ``Progress`` says at any moment how many frames were
given, skipped on request, and lost.
"""

from __future__ import annotations

import configparser
import glob
import io
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import av
import av.error
import cv2
import numpy as np

from pipeline.errors import SourceError

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}
REOPEN_AFTER = 8  # packets in a row that do not decode: in a transport stream the codec may have changed


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded image: ``index`` from 0 in the source, ``time`` in seconds from its start, ``image`` (h, w, 3) uint8 BGR."""

    index: int
    time: float
    image: np.ndarray


@dataclass(frozen=True)
class Selection:
    """Which frames to process: every ``every``-th one with ``start`` <= time < ``end`` (seconds; None: open)."""

    every: int = 1
    start: float | None = None
    end: float | None = None

    def wants(self, index: int, time: float) -> bool:
        return index % self.every == 0 and (self.start is None or time >= self.start)

    def past(self, time: float) -> bool:
        return self.end is not None and time >= self.end


@dataclass
class Progress:
    """Counts while a source is read: frames ``given``, ``skipped`` on request, ``failed``, and what went wrong.

    ``error`` is set where the source ended before its end; ``warnings`` are single events, each said once.
    """

    given: int = 0
    skipped: int = 0
    failed: int = 0
    error: str | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def frames_in(self) -> int:
        return self.given + self.skipped + self.failed

    def warn(self, text: str) -> None:
        if text not in self.warnings:
            self.warnings.append(text)


class Source(Protocol):
    """What the engine reads: facts known beforehand (``frames``: None where unknown), and the frames, once."""

    path: Path
    width: int
    height: int
    rate: float
    frames: int | None
    progress: Progress

    def read(self, selection: Selection) -> Iterator[Frame]: ...


class ImageSource:
    """Images in the order of their names, ``rate`` frames a second."""

    def __init__(self, path: Path, images: list[Path], rate: float) -> None:
        self.path, self.rate, self.images = path, rate, images
        self.progress = Progress()
        first = next((picture for image in images if (picture := cv2.imread(str(image))) is not None), None)
        if first is None:
            raise SourceError(f"{path}: none of its {len(images)} images can be read")
        self.height, self.width = first.shape[:2]
        self.frames: int | None = len(images)

    def read(self, selection: Selection) -> Iterator[Frame]:
        for index, path in enumerate(self.images):
            time = index / self.rate
            if selection.past(time):
                return
            if not selection.wants(index, time):
                self.progress.skipped += 1
                continue
            image = cv2.imread(str(path))
            if image is None:
                self.progress.failed += 1
                self.progress.warn(f"{path.name}: not a readable image")
                continue
            self.progress.given += 1
            yield Frame(index, time, image)


class _Tail(io.RawIOBase):
    """A file from ``offset`` on, for reopening a stream in its middle."""

    def __init__(self, path: Path, offset: int) -> None:
        self._file, self._offset = path.open("rb"), offset
        self._file.seek(offset)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)  # type: ignore[attr-defined]

    def seek(self, position: int, whence: int = 0) -> int:
        return self._file.seek(position + (self._offset if whence == 0 else 0), whence) - self._offset

    def tell(self) -> int:
        return self._file.tell() - self._offset

    def close(self) -> None:
        self._file.close()
        super().close()


def first_line(error: BaseException) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__


class VideoSource:
    """A video file: decoded packet by packet, so that a damaged one costs its own frames alone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.progress = Progress()
        try:
            with av.open(str(path)) as container:
                if not container.streams.video:
                    raise SourceError(f"{path}: no video stream in it")
                stream = container.streams.video[0]
                self.width, self.height = stream.width, stream.height
                rate = stream.average_rate or stream.guessed_rate
                self.rate = float(rate) if rate else 25.0
                self.format = container.format.name
                self.frames: int | None = stream.frames or None
                if self.frames is None and container.duration and self.rate:
                    self.frames = round(container.duration / av.time_base * self.rate)
                self.declared = stream.frames or None
        except av.error.FFmpegError as error:
            raise SourceError(f"{path}: not a video that can be opened ({error.strerror or first_line(error)})") from None
        if not self.width or not self.height:
            raise SourceError(f"{path}: its video stream has no picture size")

    def read(self, selection: Selection) -> Iterator[Frame]:
        clock = _Clock(self.rate)
        offset, index = 0, 0
        while offset is not None:
            index, offset = yield from self._read_from(offset, index, selection, clock)
        packets_lost = 0 if self.declared is None else self.declared - index
        if packets_lost > 0 and not self.progress.error and not (selection.end is not None):
            self.progress.error = f"{self.path}: it declares {self.declared} frames and ends after {index}; is it truncated?"

    def _read_from(self, offset: int, index: int, selection: Selection, clock: _Clock) -> Iterator[Frame]:
        """Read on from a byte ``offset``; returns (next frame index, offset to reopen at or None)."""
        progress = self.progress
        source: Any = str(self.path) if offset == 0 else io.BufferedReader(_Tail(self.path, offset))
        try:
            container = av.open(source, format="mpegts" if offset else None)
        except av.error.FFmpegError as error:
            progress.error = f"{self.path}: cannot be read on from byte {offset} ({error.strerror})"
            return index, None
        with container:
            stream = container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = 1 if self.width * self.height < 1_500_000 else 2
            sent = decoded = streak = 0
            streak_at: int | None = None
            base = index
            for packet in self._packets(container, stream):
                sent += bool(packet.size)
                try:
                    frames = packet.decode()
                    if frames:
                        streak, streak_at = 0, None
                except av.error.FFmpegError as error:
                    frames = []
                    if packet.size:
                        progress.warn(f"damaged packets were skipped, the first before frame {base + decoded + 1} ({error.strerror})")
                        streak += 1
                        streak_at = streak_at if streak_at is not None else packet.pos
                        if streak >= REOPEN_AFTER and self.format == "mpegts" and streak_at and decoded:
                            lost = max(0, sent - streak - decoded)
                            progress.failed += lost
                            progress.warn(f"the stream was opened anew at byte {offset + streak_at}: its codec changed")
                            return base + decoded + lost, offset + streak_at
                for frame in frames:
                    if not isinstance(frame, av.VideoFrame):
                        continue
                    index = base + decoded
                    decoded += 1
                    time = clock.time(frame.pts, frame.time_base or stream.time_base, progress)
                    if selection.past(time):
                        return index, None
                    if not selection.wants(index, time):
                        progress.skipped += 1
                        continue
                    image = self._picture(frame)
                    progress.given += 1
                    yield Frame(index, time, image)
            lost = max(0, sent - decoded)
            if lost:
                progress.failed += lost
                progress.warn(f"{lost} frames could not be decoded")
            if sent and not decoded and progress.given == 0 and not progress.skipped:
                progress.error = f"{self.path}: none of its {sent} packets could be decoded"
            return base + decoded + lost, None

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Packets until the end; an error of the container is kept as the source's error, unless reading can go on."""
        demuxer = container.demux(stream)
        errors = 0
        while True:
            try:
                yield next(demuxer)
            except StopIteration:
                return
            except av.error.EOFError:
                return
            except av.error.FFmpegError as error:
                errors += 1
                if errors > 100 or self.format != "mpegts":
                    self.progress.error = f"{self.path}: reading stopped in the middle ({error.strerror})"
                    return
                demuxer = container.demux(stream)

    def _picture(self, frame: av.VideoFrame) -> np.ndarray:
        if (frame.width, frame.height) != (self.width, self.height):
            self.progress.warn(f"the picture changes from {self.width}x{self.height} to {frame.width}x{frame.height}; boxes are in each frame's own pixels")
        image = frame.to_ndarray(format="bgr24")
        turns = round(getattr(frame, "rotation", 0) / 90) % 4  # degrees counter-clockwise
        return np.ascontiguousarray(np.rot90(image, turns)) if turns else image


class _Clock:
    """Seconds since the first frame from timestamps that may be missing or jump back."""

    def __init__(self, rate: float) -> None:
        self.step = 1 / rate
        self.last: float | None = None
        self.shift = 0.0

    def time(self, pts: int | None, base: Fraction | None, progress: Progress) -> float:
        if pts is None or base is None:
            raw = None
        else:
            raw = float(pts * base)
            if self.last is None:
                self.shift = -raw
        if raw is None or not math.isfinite(raw):
            now = 0.0 if self.last is None else self.last + self.step
        else:
            now = raw + self.shift
            if self.last is not None and now <= self.last:
                progress.warn(f"timestamps go back after {self.last:.2f} s; time goes on from there")
                self.shift += self.last + self.step - now
                now = self.last + self.step
        self.last = now
        return now


def open_source(path: Path | str, rate: float | None = None) -> Source:
    """Open a video file, a folder or glob of images, or a MOTChallenge sequence folder (``seqinfo.ini``, ``img1/``).

    ``rate``: frames a second of images, where no ``seqinfo.ini`` says it (default 25).
    Raises SourceError with one message a person can act on.
    """
    text = str(path)
    path = Path(path)
    if path.is_dir():
        return _open_folder(path, rate)
    if path.is_file():
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: the file is empty (0 bytes)")
        if path.suffix.lower() in IMAGES:
            return ImageSource(path, [path], rate or 25.0)
        return VideoSource(path)
    if glob.has_magic(text):
        images = sorted(Path(name) for name in glob.glob(text) if Path(name).suffix.lower() in IMAGES)
        if not images:
            raise SourceError(f"{text}: no image matches")
        return ImageSource(path, images, rate or 25.0)
    raise SourceError(f"{path}: no such file or folder")


def _open_folder(path: Path, rate: float | None) -> Source:
    folder = path
    if (path / "seqinfo.ini").is_file():
        parser = configparser.ConfigParser()
        try:
            parser.read(path / "seqinfo.ini")
            folder = path / parser["Sequence"].get("imDir", "img1")
            rate = rate or parser["Sequence"].getfloat("frameRate")
        except (configparser.Error, KeyError, ValueError) as error:
            raise SourceError(f"{path / 'seqinfo.ini'}: not a MOTChallenge description ({first_line(error)})") from None
    elif (path / "img1").is_dir():
        folder = path / "img1"
    images = sorted(image for image in folder.glob("*") if image.suffix.lower() in IMAGES)
    if not images:
        raise SourceError(f"{folder}: no images in this folder ({', '.join(sorted(IMAGES))})")
    return ImageSource(path, images, rate or 25.0)
