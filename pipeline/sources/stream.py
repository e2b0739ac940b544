"""A live camera: a thread that opens its stream, always drains it, and reconnects for ever.

PyAV decodes outside of Python's lock, so a thread per camera is enough. Only the thread itself opens and closes the stream: closing from
another one does not end a blocked read.
"""

from __future__ import annotations

import logging
import queue
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit, urlunsplit

import av
import av.error
import numpy as np

from pipeline.address import Address, redact
from pipeline.errors import SourceError
from pipeline.sources.clip import Clip, PacketRing
from pipeline.sources.mailbox import Arrivals, FrameCounts, Mailbox
from pipeline.sources.reader_thread import ReaderThread
from pipeline.sources.stream_clock import EARLIEST, LATEST, Stamp, StreamClock
from pipeline.sources.stream_state import Backoff, Connection, Reason

log = logging.getLogger(__name__)

SCHEMES = ("rtsp", "rtsps", "http", "https")
WHITELIST = "rtsp,rtsps,rtp,srtp,udp,tcp,tls,http,https,httpproxy,hls,crypto"  # never file, concat, subfile
MAX_ERRORS = 50  # packets in a row that do not decode: the stream is opened anew
Transport = Literal["tcp", "udp"]
Level = Literal["all", "substream", "key frames"]  # how much of a stream is decoded, from most to least


@dataclass(frozen=True)
class StreamOptions:
    """How a stream is read. ``open_timeout`` and ``stall``: seconds to connect, and without a frame, before it is given up and opened anew.

    ``rate``: frames per second taken at most, None for all. ``verify``: check the certificate of TLS, against ``ca_file`` if given.
    ``clip_before``: seconds of packets kept for the beginning of clips; 0: there are none.
    """

    transport: Transport = "tcp"
    open_timeout: float = 5.0
    stall: float = 2.0
    rate: float | None = None
    verify: bool = True
    ca_file: str | None = None
    clip_before: float = 0.0
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, eq=False)
class StreamFrame:
    """A decoded frame before it is converted: ``index`` counts over all sessions, ``arrival`` is monotonic seconds."""

    index: int
    picture: av.VideoFrame | np.ndarray
    stamp: Stamp
    arrival: float
    size: tuple[int, int] | None = None  # width and height that the picture is scaled to: a sub-stream's to the main stream's

    def image(self) -> np.ndarray:
        """(h, w, 3) uint8 BGR."""
        if isinstance(self.picture, np.ndarray):
            return self.picture
        width, height = self.size or (self.picture.width, self.picture.height)
        return self.picture.to_ndarray(format="bgr24", width=width, height=height)


@dataclass(frozen=True)
class StreamStatus:
    """What is known of a live camera at one moment; seconds. ``size`` is (width, height), None before the first frame.

    ``skew``: how far the camera's clock was ahead of the host's when the session began, None where it does not say. ``behind``: how much later
    than the first ones frames come, by their timestamps: reading does not keep up where it grows. ``level``: how much is decoded.
    """

    connection: Connection
    counts: FrameCounts
    size: tuple[int, int] | None
    codec: str | None
    lag: float | None
    uncertainty: float | None
    message: str | None
    skew: float | None = None
    behind: float | None = None
    level: Level = "all"


def with_credentials(url: str, user: str | None, password: str | None) -> Address:
    """The address with user name and password, each quoted, in it.

    Raises SourceError for a scheme that is not a stream's, an address without a host, and a port that is none.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:  # brackets of an IPv6 address that do not match
        raise SourceError(f"{Address(url)}: not an address ({error})") from None
    if parts.scheme.lower() not in SCHEMES:
        raise SourceError(f"{Address(url)}: not a stream's address; known schemes: {', '.join(SCHEMES)}")
    if not parts.hostname:
        raise SourceError(f"{Address(url)}: no host; expected {parts.scheme}://HOST/PATH")
    place = parts.netloc.rpartition("@")[2]
    port = place.rpartition(":")[2] if ":" in place.rpartition("]")[2] else None
    if port is not None and not (port.isascii() and port.isdigit() and 1 <= int(port) <= 65535):
        raise SourceError(f"{Address(url)}: port {port or 'is empty'}: must be a number from 1 to 65535")
    if user is None:
        return Address(url)
    secret = "" if password is None else f":{quote(password, safe='')}"
    return Address(urlunsplit(parts._replace(netloc=f"{quote(user, safe='')}{secret}@{place}")))


def open_options(address: Address, options: StreamOptions) -> dict[str, str]:
    """FFmpeg's options for an address."""
    microseconds = str(int(1e6 * max(options.open_timeout, options.stall)))  # a stall is PyAV's time-out, and our own watchdog's
    out = {"protocol_whitelist": WHITELIST}
    if address.raw.lower().startswith("rtsp"):
        out |= {"rtsp_transport": options.transport, "timeout": microseconds, "probesize": "32", "fpsprobesize": "0"}
    else:
        out |= {"rw_timeout": microseconds, "live_start_index": "-1", "reconnect": "0"}
    if address.raw.lower().startswith(("rtsps", "https")):
        out["tls_verify"] = "1" if options.verify else "0"
        if options.ca_file:
            out["ca_file"] = options.ca_file
    return out


def reason_of(error: BaseException, took: float, limit: float) -> Reason:
    """Why a stream could not be opened or read on. ``took``: seconds; an error at ``limit`` is a time-out, whatever FFmpeg calls it."""
    kinds: tuple[tuple[type, Reason], ...] = (
        (av.error.HTTPUnauthorizedError, "authentication"),
        (av.error.HTTPForbiddenError, "authentication"),
        (av.error.HTTPNotFoundError, "not found"),
        (av.error.ConnectionRefusedError, "refused"),
        (av.error.DecoderNotFoundError, "unsupported codec"),
        (av.error.ExitError, "timeout"),
        (av.error.TimeoutError, "timeout"),
    )
    for kind, reason in kinds:
        if isinstance(error, kind):
            return reason
    if took >= 0.9 * limit:
        return "timeout"
    if isinstance(error, av.error.EOFError):
        return "ended"
    text = str(error).lower()
    return "TLS" if "tls" in text or "certificate" in text or "ssl" in text else "failed"


class StreamReader(ReaderThread):
    """Reads one live camera in a thread of its own. ``start``, then take frames from ``mailbox``; ``stop`` and ``join`` to end.

    ``once``: it ends with its first connection, and makes no other. ``substream``: the same camera's smaller stream, for ``set_level``; its
    pictures are scaled to the main stream's size, so that all coordinates stay.
    """

    def __init__(
        self,
        name: str,
        address: Address,
        options: StreamOptions,
        arrivals: Arrivals,
        first_session: int = 1,
        wall: Callable[[], float] = time.time,
        once: bool = False,
        substream: Address | None = None,
    ) -> None:
        super().__init__(name)
        self.address, self.options, self._once, self.substream = address, options, once, substream
        self._level: Level = "all"
        self._main_size: tuple[int, int] | None = None
        self._said_skew = 0.0
        self._ring = PacketRing(options.clip_before)
        self._clip: Clip | None = None
        self._wanted_clips: queue.SimpleQueue[tuple[Path, float]] = queue.SimpleQueue()
        self.mailbox: Mailbox[StreamFrame] = Mailbox(arrivals)
        self._wall, self._clock = wall, StreamClock(first_session)
        self._connection = Connection(since=time.monotonic(), backoff=options.backoff)
        self._size: tuple[int, int] | None = None
        self._codec: str | None = None
        self._stamp: Stamp | None = None
        self._message: str | None = None
        self._index = 0
        self._next_due = float("-inf")

    @property
    def status(self) -> StreamStatus:
        now = time.monotonic()
        connection, stamp = self._connection.quiet(now, self.options.stall), self._stamp
        lag = None if stamp is None else max(0.0, self._wall() - stamp.wall)
        return StreamStatus(
            connection, self.mailbox.counts, self._size, self._codec, lag, None if stamp is None else stamp.uncertainty, self._message,
            self._clock.skew, self._clock.behind, self._level,
        )  # fmt: skip

    def set_level(self, level: Level) -> None:
        """How much to decode from now on. A camera without a sub-stream goes from all to key frames."""
        self._level = "key frames" if level == "substream" and self.substream is None else level

    def clip(self, path: Path, seconds: float) -> bool:
        """Write what was kept and the next ``seconds`` to ``path``. False where a clip is being written: that one goes on for as long."""
        clip = self._clip
        if clip is not None:
            clip.until = max(clip.until, time.monotonic() + seconds)
            return False
        self._wanted_clips.put((path, time.monotonic() + seconds))
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            self._connection = self._connection.connecting(time.monotonic())
            self._clock.reconnected()
            began = time.monotonic()
            try:
                ended, message = self._read(), "the stream ended"
                if ended is None:  # another level: no fault
                    continue
                reason = ended
            except Exception as error:  # FFmpeg's errors carry the address: neither it nor the traceback may be shown
                took, opening = time.monotonic() - began, self._connection.state == "connecting"
                limit = self.options.open_timeout if opening else self.options.stall
                quiet = time.monotonic() - (self._connection.last_frame or began)
                reason, message = (
                    reason_of(error, took if opening else quiet, limit),
                    redact(getattr(error, "strerror", None) or str(error)),
                )
                if reason == "timeout" and not opening:
                    reason = "stalled"
            if self._stop.is_set():
                break
            now = time.monotonic()
            before, self._connection, self._message = self._connection, self._connection.failed(now, reason, random.random), message
            if self._once:
                break
            if before.reason != reason or self._connection.failures == 1:
                log.warning("%s: %s (%s); next attempt in %.1f s", self.name, reason, message, self._connection.retry_at - now)
            self._stop.wait(self._connection.retry_at - now)
        self.mailbox.abandon()
        self._connection = self._connection.closed(time.monotonic())

    def _read(self) -> Reason | None:
        """One connection, from opening to its end; None where another address is to be read. Raises whatever FFmpeg raises."""
        options, address = self.options, self._wanted_address
        container = av.open(
            address.raw, options=open_options(address, options), timeout=(options.open_timeout, options.stall), metadata_errors="replace"
        )  # fmt: skip
        try:
            if not container.streams.video:
                return "unsupported codec"
            stream = max(container.streams.video, key=lambda one: (one.width or 0) * (one.height or 0))
            if stream.codec_context is None:
                return "unsupported codec"
            stream.codec_context.thread_count = 1
            self._codec = stream.codec_context.name
            counted = container.format.name in ("mpjpeg", "mjpeg")  # FFmpeg counts these frames at 25 a second: no time of the camera's
            return self._decode(container, stream, counted, address)
        finally:
            self._end_clip()
            self._ring = PacketRing(options.clip_before)  # of one connection each
            container.close()

    @property
    def _wanted_address(self) -> Address:
        return self.substream if self._level == "substream" and self.substream is not None else self.address

    def _decode(self, container: Any, stream: Any, counted: bool, address: Address) -> Reason | None:
        errors, seen, opened, sparse = 0, False, time.monotonic(), False
        for packet in container.demux(stream):
            if self._stop.is_set():
                return "ended"
            if self._wanted_address is not address:
                return None
            if self.options.clip_before:
                self._keep(packet, stream)
            if packet.is_keyframe:  # never in the middle of a group: pictures would be damaged, and not marked so
                sparse = self._level == "key frames"
            if sparse and not packet.is_keyframe and packet.size:
                self.mailbox.count(dropped=1)
                if seen:
                    self._connection = self._connection.frame(time.monotonic())  # the stream goes on
                continue
            try:
                frames = packet.decode()
                errors = 0 if frames else errors
            except av.error.FFmpegError:
                frames = []
                errors += 1
                if seen and packet.size:
                    self.mailbox.count(failed=1)
                if errors >= MAX_ERRORS:
                    return "decode"
            for frame in frames:
                seen = True
                self._take(frame, stream, container, counted, address)
            if time.monotonic() - (self._connection.last_frame or opened) > options_stall(self.options, seen):
                return "stalled"  # packets come, frames do not
        return "ended"

    def _keep(self, packet: Any, stream: Any) -> None:
        """For clips: keep a packet, and begin, continue or end one."""
        now = time.monotonic()
        kept = self._ring.add(packet, now)
        try:
            if self._clip is not None and kept is not None:
                self._clip.add(kept)
                if now >= self._clip.until:
                    self._end_clip()
            elif self._clip is None and not self._wanted_clips.empty():
                path, until = self._wanted_clips.get()
                self._clip = Clip(path, stream, self._ring.packets(), until)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            log.error("%s: a clip cannot be written (%s)", self.name, redact(str(error)))
            self._clip = None

    def _end_clip(self) -> None:
        clip, self._clip = self._clip, None
        if clip is not None:
            try:
                clip.close()
            except (av.error.FFmpegError, OSError) as error:
                log.error("%s: %s cannot be written (%s)", self.name, clip.path, redact(str(error)))

    def _take(self, frame: av.VideoFrame, stream: Any, container: Any, counted: bool, address: Address) -> None:
        now, index = time.monotonic(), self._index
        self._index += 1
        size = (frame.width, frame.height)
        if address is self.address:
            self._main_size = size
        if self._size not in (None, size):
            log.warning("%s: the picture changes from %dx%d to %dx%d", self.name, *(self._size or ()), *size)
            self._clock.reconnected()
        self._size, self._connection, self._message = size, self._connection.frame(now), None
        if frame.is_corrupt:
            self.mailbox.count(corrupt=1)
            return
        pts = None if frame.pts is None or counted else float(frame.pts * (frame.time_base or stream.time_base))
        realtime = container.start_time_realtime if hasattr(container, "start_time_realtime") else None
        reported = realtime / 1e6 if realtime and pts is not None and not counted else None
        self._stamp = self._clock.stamp(pts, now, self._wall(), reported)
        skew = self._clock.skew
        if skew is not None and not EARLIEST <= skew <= LATEST and abs(skew - self._said_skew) > 1:
            self._said_skew = skew
            log.warning("%s: its clock is %+.1f s off this machine's; times are those of arrival", self.name, skew)
        if self.options.rate is not None:
            if now < self._next_due:
                self.mailbox.count(dropped=1)
                return
            self._next_due = max(self._next_due + 1 / self.options.rate, now - 1 / self.options.rate)
        self.mailbox.put(StreamFrame(index, frame, self._stamp, now, self._main_size))


def options_stall(options: StreamOptions, seen: bool) -> float:
    """Seconds without a frame that end a connection: before the first frame as long as opening may take, a key frame has to come."""
    return options.stall if seen else max(options.open_timeout, options.stall)
