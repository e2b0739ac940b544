"""Clips that the tests make themselves, through PyAV and OpenCV."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def numbered(count: int, width: int = 160, height: int = 96) -> Iterable[np.ndarray]:
    """Pictures whose brightness tells their number: frame i is about 8 + 2 * (i % 120)."""
    rng = np.random.default_rng(0)
    texture = rng.integers(0, 6, (height, width, 3), np.uint8)
    for index in range(count):
        yield texture + np.uint8(8 + 2 * (index % 120))


def write_clip(
    path: Path,
    pictures: Iterable[np.ndarray],
    rate: int = 25,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    times: Sequence[float] | None = None,
    container_options: dict[str, str] | None = None,
    start: float = 0.0,
    aspect: Fraction | None = None,
) -> Path:
    """Encode ``pictures`` (h, w, 3) BGR; ``times`` in seconds make it a variable frame rate; ``aspect`` is that of its pixels."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = None
        tick = Fraction(1, rate) if times is None else Fraction(1, 1000)
        for index, picture in enumerate(pictures):
            if stream is None:
                stream = container.add_stream(
                    codec, rate=rate, options=options or {"g": "10"} | ({"preset": "ultrafast"} if codec == "libx264" else {})
                )
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = pixels
                if aspect is not None:
                    stream.codec_context.sample_aspect_ratio = aspect
                stream.codec_context.time_base = tick
            frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
            frame.time_base = tick
            frame.pts = round((start + (times[index] if times is not None else index / rate)) / tick)
            for packet in stream.encode(frame):
                container.mux(packet)
        for packet in stream.encode(None):
            container.mux(packet)
    return path


def figure(
    picture: np.ndarray, x: int, ground: int, height: int, shirt: tuple[int, int, int], trousers: tuple[int, int, int], stride: float = 0.0
) -> None:
    """Draw a standing person into ``picture``, in place: head, trunk, arms, legs; ``ground`` is where the feet are."""
    unit = height / 8
    skin, dark = (150, 180, 220), (40, 40, 50)

    def limb(a: tuple[float, float], b: tuple[float, float], colour: tuple[int, int, int], thick: float) -> None:
        cv2.line(picture, (round(a[0]), round(a[1])), (round(b[0]), round(b[1])), colour, max(1, round(thick)), cv2.LINE_AA)

    hip, neck = ground - 3.8 * unit, ground - 6.7 * unit
    swing = unit * 0.9 * np.sin(stride)
    for side in (-1, 1):
        limb((x + side * 0.45 * unit, hip), (x + side * (0.35 * unit + swing), ground - 0.2 * unit), trousers, 1.0 * unit)
        limb(
            (x + side * (0.35 * unit + swing), ground - 0.1 * unit),
            (x + side * (0.35 * unit + swing) + 0.5 * unit, ground),
            dark,
            0.5 * unit,
        )
        limb(
            (x + side * 0.95 * unit, neck + 0.4 * unit), (x + side * (1.1 * unit) - side * swing * 0.5, hip + 0.2 * unit), shirt, 0.6 * unit
        )
    cv2.rectangle(picture, (round(x - 0.95 * unit), round(neck)), (round(x + 0.95 * unit), round(hip + 0.3 * unit)), shirt, -1, cv2.LINE_AA)
    cv2.ellipse(
        picture,
        (int(x), round(neck - 0.65 * unit)),
        (max(1, round(0.5 * unit)), max(1, round(0.65 * unit))),
        0,
        0,
        360,
        skin,
        -1,
        cv2.LINE_AA,
    )
    cv2.ellipse(
        picture,
        (int(x), round(neck - 0.95 * unit)),
        (max(1, round(0.52 * unit)), max(1, round(0.4 * unit))),
        0,
        180,
        360,
        dark,
        -1,
        cv2.LINE_AA,
    )
