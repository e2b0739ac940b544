"""What a test camera shows: numbered pictures, encoded before or while they are sent."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from typing import Protocol, cast

import av
import numpy as np

from live.rtp import Codec, Unit, nal_units

BLOCK = 8  # pixels; a block for each bit
BITS = 16
CHECK = 4  # bits more, so that a damaged number is not taken for another


def _bits(number: int) -> np.ndarray:
    check = sum(number >> shift & 0xF for shift in range(0, BITS, CHECK)) ^ 0b1010
    word = number << CHECK | check & 0xF
    return np.array([word >> bit & 1 for bit in reversed(range(BITS + CHECK))], bool)


def draw_number(picture: np.ndarray, number: int) -> np.ndarray:
    """Draw ``number`` (0 to 65,535) as black and white blocks into the top left corner of ``picture`` (h, w, 3), in place."""
    if not 0 <= number < 1 << BITS:
        raise ValueError(f"number {number} is not in 0..{(1 << BITS) - 1}")
    if picture.shape[0] < BLOCK or picture.shape[1] < BLOCK * (BITS + CHECK):
        raise ValueError(f"a picture of {picture.shape[1]}x{picture.shape[0]} is too small for a number")
    picture[:BLOCK, : BLOCK * (BITS + CHECK)] = np.repeat(_bits(number), BLOCK)[None, :, None] * np.uint8(255)
    return picture


def read_number(picture: np.ndarray) -> int | None:
    """The number that ``draw_number`` drew into ``picture`` (h, w, 3); None where it is damaged or missing."""
    if picture.shape[0] < BLOCK or picture.shape[1] < BLOCK * (BITS + CHECK):
        return None
    strip = picture[2 : BLOCK - 2, : BLOCK * (BITS + CHECK)].mean(axis=(0, 2)).reshape(-1, BLOCK)[:, 2:-2].mean(axis=1)
    bits = strip > 127
    number = int("".join("1" if bit else "0" for bit in bits[:BITS]), 2)
    return number if (np.abs(strip - bits * 255) < 80).all() and (bits == _bits(number)).all() else None


def numbered(count: int, width: int = 320, height: int = 184, first: int = 0) -> Iterable[np.ndarray]:
    """``count`` pictures (h, w, 3) BGR of a bar that moves, each with its number."""
    return (numbered_picture(first + index, width, height) for index in range(count))


def numbered_picture(number: int, width: int = 320, height: int = 184) -> np.ndarray:
    """Picture (h, w, 3) BGR of a still ground and a bar that moves, with its number."""
    picture = _ground(width, height).copy()
    left = 4 * number % (width - 8)
    picture[BLOCK:, left : left + 8] = 220
    return draw_number(picture, number)


@lru_cache
def _ground(width: int, height: int) -> np.ndarray:
    """Noise: a key picture fills many packets."""
    return np.random.default_rng(0).integers(60, 120, (height, width, 3), np.uint8)


class Footage(Protocol):
    """Access units in order; ``index`` grows from call to call."""

    codec: Codec
    fps: float
    parameter_sets: tuple[bytes, ...]
    loop: bool

    def unit(self, index: int) -> Unit | None:
        """The unit with this index; None after the last one."""


class _Encoder:
    """Pictures to access units, one in, one out."""

    def __init__(self, codec: Codec, fps: float, gop: int) -> None:
        self.codec, self.fps, self.gop = codec, Fraction(fps).limit_denominator(1001), gop
        self._context: av.VideoCodecContext | None = None
        self._next = 0

    def _opened(self, picture: np.ndarray) -> av.VideoCodecContext:
        context = cast(av.VideoCodecContext, av.CodecContext.create({"h264": "libx264", "h265": "libx265"}[self.codec], "w"))
        context.height, context.width = picture.shape[:2]
        context.pix_fmt, context.thread_count = "yuv420p", 1
        context.framerate, context.time_base, context.gop_size = self.fps, 1 / self.fps, self.gop
        extra = {"h264": "scenecut=0:sliced-threads=0", "h265": "scenecut=0:open-gop=0:pools=none:frame-threads=1:log-level=none"}
        context.options = {"preset": "ultrafast", "tune": "zerolatency", f"x26{self.codec[-1]}-params": extra[self.codec]}
        return context

    def encode(self, picture: np.ndarray) -> Unit:
        self._context = self._context or self._opened(picture)
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts, frame.time_base = self._next, 1 / self.fps
        self._next += 1
        (packet,) = self._context.encode(frame)
        return Unit(self.codec, nal_units(bytes(packet)), bool(packet.is_keyframe))


@dataclass
class Clip:
    """Units encoded beforehand, played once or in a loop."""

    codec: Codec
    fps: float
    units: Sequence[Unit]
    loop: bool = True

    @property
    def parameter_sets(self) -> tuple[bytes, ...]:
        return self.codec.parameter_sets(self.units[0].nals)

    def unit(self, index: int) -> Unit | None:
        return self.units[index % len(self.units)] if self.loop or index < len(self.units) else None


def encode(pictures: Iterable[np.ndarray], fps: float = 10, codec: str = "h264", gop: int = 10, loop: bool = True) -> Clip:
    """A clip of ``pictures`` (h, w, 3) BGR, all of one size."""
    encoder = _Encoder(Codec(codec), fps, gop)
    return Clip(encoder.codec, fps, [encoder.encode(picture) for picture in pictures], loop)


def from_file(path: Path, fps: float | None = None, loop: bool = True) -> Clip:
    """The video file as it is where it is H.264 or H.265, encoded anew otherwise; ``fps`` replaces its own rate."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate = Fraction(stream.average_rate or 25)
        if stream.codec_context.name not in ("h264", "hevc"):
            return encode((frame.to_ndarray(format="bgr24") for frame in container.decode(stream)), fps or float(rate), loop=loop)
        codec = Codec.H264 if stream.codec_context.name == "h264" else Codec.H265
        converter = av.BitStreamFilterContext(f"{stream.codec_context.name}_mp4toannexb", stream)
        packets = [packet for packet in container.demux(stream) if packet.size]
        frame = 1 / rate / Fraction(stream.time_base or 1)
        shifts = [round(((packet.pts or 0) - (packet.dts or 0)) / frame) for packet in packets]
        converted = [packet for original in [*packets, None] for packet in converter.filter(original)]
        units = [
            Unit(codec, nal_units(bytes(packet)), bool(packet.is_keyframe), shift) for packet, shift in zip(converted, shifts, strict=True)
        ]
    return Clip(codec, fps or float(rate), units, loop)


class OnTheFly:
    """Pictures drawn and encoded while they are sent: ``draw(index)`` gives picture ``index``, (h, w, 3) BGR, for ever."""

    loop = True

    def __init__(self, draw: Callable[[int], np.ndarray] = numbered_picture, fps: float = 10, codec: str = "h264", gop: int = 10) -> None:
        self.codec, self.fps = Codec(codec), fps
        self._draw, self._encoder = draw, _Encoder(self.codec, fps, gop)
        self.parameter_sets = self.codec.parameter_sets(_Encoder(self.codec, fps, gop).encode(draw(0)).nals)

    def unit(self, index: int) -> Unit:
        return self._encoder.encode(self._draw(index))
