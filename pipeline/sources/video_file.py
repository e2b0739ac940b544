"""Video files, decoded by PyAV. Frame times are presentation timestamps. Damaged parts are skipped and counted in ``Progress``."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Generator, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
from av.stream import Disposition

from pipeline.errors import SourceError
from pipeline.formats.paths import for_ffmpeg
from pipeline.formats.wall_clock import EARLIEST, LATEST, epoch
from pipeline.sources.clock import _Clock
from pipeline.sources.frame import Began, Frame, Progress, SegmentCounts, Selection
from pipeline.sources.wall import WallRules

RAW = ("h264", "hevc", "vvc", "mpegvideo", "m4v", "mjpeg", "cavsvideo", "obu")  # formats without frame times
SQUARE, MAX_ASPECT = 0.02, 4.0  # pixels that differ less from a square are square; no camera's are longer
FIELDS = {2: ", top field first", 3: ", bottom field first", 4: ", bottom field first", 5: ", top field first"}  # AVFieldOrder
RECENT = 16  # packets: if half of the last ones do not decode, the codec of a transport stream may have changed


class _Tail(io.RawIOBase):
    """A file from ``offset`` on, to reopen a stream in the middle."""

    def __init__(self, path: Path, offset: int) -> None:
        self._file, self._offset = path.open("rb"), offset
        self._file.seek(offset)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer)

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
    """A video file, decoded packet by packet, so that a damaged packet loses only its own frames."""

    def __init__(self, path: Path, rate: float | None = None, rules: WallRules = WallRules()) -> None:  # noqa: B008 (immutable)
        self.path, self._options = path, dict[str, str]()
        self.segments: SegmentCounts | None = None
        self.progress = Progress()
        try:
            with av.open(for_ffmpeg(path), metadata_errors="replace") as container:
                self._stream = self._choose(container)
                stream: Any = container.streams[self._stream]
                if stream.codec_context is None:
                    raise SourceError(f"{path}: no decoder for its video stream")
                self.length = container.duration / av.time_base if container.duration else None
                self.width, self.height = stream.width, stream.height
                self.format = container.format.name
                self.rate = self._rate(stream, rate)
                self.frames: int | None = stream.frames or None
                if self.frames is None and container.duration and self.rate:
                    self.frames = round(container.duration / av.time_base * self.rate)
                self.declared = stream.frames or None
                self.began: Began | None = rules.began(path, created(container.metadata, stream.metadata))
                self.aspect = self._aspect(stream)
                first = self._first_frame(container)
                if first is not None and turns(first) % 2:
                    self.width, self.height = self.height, self.width
                    self.aspect = 1 / self.aspect
                if first is not None and first.interlaced_frame:
                    order = FIELDS.get(int(getattr(stream.codec_context, "field_order", 0) or 0), "")
                    self.progress.warn(f"interlaced{order}: people who move have combed edges; deinterlace the file if they are missed")
        except av.error.FFmpegError as error:
            raise SourceError(f"{path}: cannot be opened as a video ({error.strerror or first_line(error)})") from None
        if not self.width or not self.height:
            raise SourceError(f"{path}: its video stream has no frame size")

    def _short(self, frames: int, last: float) -> bool:
        """Whether both frames and time are missing, compared with what the file declares.

        Counts alone do not suffice: AVI counts dropped frames, and trimmed MP4 files count frames before the cut.
        """
        if self.declared is None or self.length is None or frames >= self.declared:
            return False
        return last < self.length - max(2 / self.rate, 0.02 * self.length)

    def _choose(self, container: Any) -> int:
        """Index of the stream to read: the default one, else the largest; cover pictures are no video. Raises SourceError if there is none."""
        video = [one for one in container.streams.video if not one.disposition & Disposition.attached_pic]
        if not video:
            raise SourceError(f"{self.path}: no video stream")
        default = [one for one in video if one.disposition & Disposition.default]
        sized = default if len(default) == 1 else video
        chosen = max(
            sized, key=lambda one: (getattr(one, "width", 0) or 0) * (getattr(one, "height", 0) or 0)
        )  # without a decoder there is no size
        if len(video) > 1:
            self.progress.warn(f"{len(video)} video streams; stream {chosen.index} ({chosen.width}x{chosen.height}) is read")
        return int(chosen.index)

    def _rate(self, stream: Any, rate: float | None) -> float:
        """Frames per second: the file's own, or ``rate``, or 25 where a raw stream has no times, and that is said."""
        own = stream.average_rate or stream.guessed_rate
        if self.format in RAW:
            if rate is None:
                self.progress.warn("the file has no frame times: 25 frames per second are assumed; set reading.rate if that is wrong")
            self._options = {"framerate": f"{rate or 25.0:.6g}"}
            return rate or 25.0
        if rate is not None:
            self.progress.warn(f"reading.rate is not used: the file has its own frame times ({float(own or 25):.3g} per second)")
        return float(own) if own else 25.0

    def _aspect(self, stream: Any) -> float:
        """Width of a pixel over its height; 1 where it is not stated, nearly square, or cannot be."""
        stated = stream.sample_aspect_ratio
        if not stated or abs(float(stated) - 1) < SQUARE:
            return 1.0
        aspect = float(stated)
        if not 1 / MAX_ASPECT <= aspect <= MAX_ASPECT:
            self.progress.warn(f"states pixels of {stated.numerator}:{stated.denominator}, which cannot be: they are taken to be square")
            return 1.0
        self.progress.warn(
            f"pixels of {stated.numerator}:{stated.denominator}: people are detected in square ones; boxes are in the video's"
        )
        return aspect

    def _first_frame(self, container: Any) -> av.VideoFrame | None:
        """None if it cannot be decoded."""
        try:
            return next(container.decode(container.streams[self._stream]))
        except (av.error.FFmpegError, StopIteration):
            return None

    def read(self, selection: Selection) -> Iterator[Frame]:
        clock = _Clock(self.rate)
        offset: int | None = 0
        index = 0
        while offset is not None:
            index, offset = yield from self._read_from(offset, index, selection, clock)
        if selection.end is None and not self.progress.error and self._short(index, clock.last or 0.0):
            self.progress.error = f"{self.path}: declares {self.declared} frames but ends after {index}; the file may be truncated"

    def _read_from(self, offset: int, index: int, selection: Selection, clock: _Clock) -> Generator[Frame, None, tuple[int, int | None]]:
        """Read from a byte ``offset`` on; returns (next frame index, offset to reopen at or None)."""
        progress = self.progress
        try:
            container = self._open(offset)
        except av.error.FFmpegError as error:
            progress.error = f"{self.path}: cannot be read from byte {offset} on ({error.strerror})"
            return index, None
        with container:
            stream = container.streams[self._stream] if offset == 0 else container.streams.video[0]
            stream.thread_type = "AUTO"
            stream.codec_context.thread_count = 1 if self.width * self.height < 1_500_000 else 2
            sent = decoded = lost = 0
            recent: deque[int | None] = deque(maxlen=RECENT)  # per packet: its byte offset if it did not decode
            base, checked = index, 0
            for packet in self._packets(container, stream):
                sent += bool(packet.size) and not packet.is_discard  # frames cut by an edit list are not lost
                try:
                    frames = packet.decode()
                    recent.append(None)
                except av.error.FFmpegError as error:
                    frames = []
                    if packet.size:
                        self._damaged(base + decoded + lost, error)
                        recent.append(packet.pos)
                        lost += 1
                for frame in frames:
                    if not isinstance(frame, av.VideoFrame):
                        continue
                    index = base + decoded + lost  # frames after a lost one keep their numbers
                    decoded += 1
                    time = clock.time(frame.pts, frame.time_base or stream.time_base, progress)
                    progress.time = time
                    if selection.past(time):
                        return index, None
                    if not selection.wants(index, time):
                        progress.skipped += 1
                        continue
                    image = self._picture(frame)
                    progress.given += 1
                    yield Frame(index, time, image, progress.skipped, progress.failed + lost, aspect=self.aspect)
                lost_at = [at for at in recent if at is not None]
                if self.format == "mpegts" and len(lost_at) >= RECENT // 2 and sent - checked >= 4 * RECENT:
                    checked = sent
                    if self._codec_at(offset + lost_at[0]) not in (None, stream.codec_context.name):
                        progress.failed += lost - len(lost_at)  # those of the new codec are decoded again
                        progress.warn(f"the codec changes at byte {offset + lost_at[0]}; the stream was reopened there")
                        return base + decoded + lost, offset + lost_at[0]
            lost = max(lost, sent - decoded)
            if lost:
                progress.failed += lost
                progress.warn(f"{lost} frames could not be decoded")
            if sent and not decoded and not progress.given and not progress.skipped:
                progress.error = f"{self.path}: none of its {sent} packets could be decoded"
            return base + decoded + lost, None

    def _open(self, offset: int) -> Any:
        if offset == 0:
            return av.open(for_ffmpeg(self.path), options=self._options, metadata_errors="replace")
        return av.open(io.BufferedReader(_Tail(self.path, offset)), format="mpegts", metadata_errors="replace")

    def _codec_at(self, offset: int) -> str | None:
        """The codec of a transport stream from a byte ``offset`` on; None if unknown."""
        try:
            with self._open(offset) as container:
                return container.streams.video[0].codec_context.name
        except (av.error.FFmpegError, IndexError):
            return None

    def _damaged(self, index: int, error: av.error.FFmpegError) -> None:
        if not any(text.startswith("damaged packets") for text in self.progress.warnings):
            self.progress.warn(f"damaged packets were skipped, the first before frame {index + 1} ({error.strerror})")

    def _packets(self, container: Any, stream: Any) -> Iterator[Any]:
        """Packets until the end. An error of the container becomes the source's error, unless reading can continue."""
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
                    self.progress.error = f"{self.path}: reading stopped before the end ({error.strerror})"
                    return
                demuxer = container.demux(stream)

    def _picture(self, frame: av.VideoFrame) -> np.ndarray:
        image: np.ndarray = frame.to_ndarray(format="bgr24")
        quarter = turns(frame)
        if quarter:
            image = np.ascontiguousarray(np.rot90(image, quarter))
        if image.shape[:2] != (self.height, self.width):
            self.progress.warn(
                f"the frame size changes from {self.width}x{self.height} to {image.shape[1]}x{image.shape[0]}; boxes are in the pixels of each frame"
            )
        return image


def created(*metadata: Mapping[str, str]) -> float | None:
    """When a recording was made, seconds since 1970, as its container states it; in UTC where it states no zone. None if it does not."""
    for key in ("com.apple.quicktime.creationdate", "creation_time"):
        for values in metadata:
            try:
                moment = datetime.fromisoformat(values.get(key, ""))
            except ValueError:
                continue
            if EARLIEST <= moment.year < LATEST:  # a clock that was never set says 1904 or 1970
                return epoch(moment, UTC)
    return None


def turns(frame: av.VideoFrame) -> int:
    """Quarter turns counter-clockwise of a frame's display matrix."""
    return round(frame.rotation / 90) % 4
