"""Augmented views of person crops. A view is a function of a key, so teacher and student can see the same view at different times."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from pydantic import Field

from detectors.runtime.settings import Settings, Share

LEVELS = np.arange(256, dtype=np.float32) / 255


class Jitter(Settings):
    """Augmentation of a distillation. A range r of a factor means e^u, u uniform in [-r, r]."""

    flip: Share = Field(default=0.5, title="Flip", description="Probability of a horizontal flip.")
    zoom: float = Field(default=0.12, ge=0, title="Zoom", description="Range of the scale factor.")
    aspect: float = Field(default=0.08, ge=0, title="Aspect", description="Range of the factor of the width; the height gets its inverse.")
    shift_x: float = Field(default=0.07, ge=0, lt=1, title="Horizontal shift", description="Maximum shift, as a share of the width.")
    shift_y: float = Field(default=0.05, ge=0, lt=1, title="Vertical shift", description="Maximum shift, as a share of the height.")
    plain: Share = Field(default=0.3, title="Plain", description="Probability of a view with unchanged colours.")
    gain: float = Field(default=0.27, ge=0, title="Gain", description="Range of the brightness factor.")
    cast: float = Field(default=0.15, ge=0, title="Colour cast", description="Range of a factor of each channel.")
    gamma: float = Field(default=0.2, ge=0, title="Gamma", description="Range of the exponent.")
    contrast: float = Field(default=0.25, ge=0, title="Contrast", description="Range of the factor about the mean level.")
    offset: float = Field(default=0.06, ge=0, title="Offset", description="Maximum offset, where white is 1.")
    gray: Share = Field(default=0.06, title="Greyscale", description="Probability of a view without colour, as from infrared cameras.")
    coarse: Share = Field(default=0.25, title="Coarse", description="Probability of downsampling the student's image, not the teacher's.")
    again: float = Field(
        default=0.04,
        ge=0,
        title="Student's own",
        description="Range of a brightness factor, and three times the maximum shift, drawn anew for the student.",
    )


@dataclass(frozen=True)
class Views:
    """One view of each of n crops, row-aligned: ``scale`` and ``shift`` (n, 2), the shift as a share of the size; ``mirrored``, ``grey``
    and ``changed`` (n,) bool; where ``changed``, ``gain`` (n, 3) and ``gamma``, ``contrast``, ``offset`` (n,).
    """

    scale: np.ndarray
    shift: np.ndarray
    mirrored: np.ndarray
    grey: np.ndarray
    changed: np.ndarray
    gain: np.ndarray
    gamma: np.ndarray
    contrast: np.ndarray
    offset: np.ndarray

    @staticmethod
    def drawn(n: int, jitter: Jitter, key: list[int]) -> Views:
        """The views of ``n`` crops for a seed ``key``."""
        rng = np.random.default_rng(key)

        def within(most: float, *shape: int) -> np.ndarray:
            return rng.uniform(-most, most, (n, *shape)).astype(np.float32)

        zoom, aspect = np.exp(within(jitter.zoom)), np.exp(within(jitter.aspect))
        return Views(
            scale=np.stack([zoom * aspect, zoom / aspect], 1),
            shift=np.stack([within(jitter.shift_x), within(jitter.shift_y)], 1),
            mirrored=rng.random(n) < jitter.flip,
            grey=rng.random(n) < jitter.gray,
            changed=rng.random(n) >= jitter.plain,
            gain=np.exp(within(jitter.gain)[:, None] + within(jitter.cast, 3)),
            gamma=np.exp(within(jitter.gamma)),
            contrast=np.exp(within(jitter.contrast)),
            offset=within(jitter.offset),
        )

    def show(self, picture: np.ndarray, row: int, height: int, width: int) -> np.ndarray:
        """View ``row`` of a (h, w, 3) uint8 RGB crop, at (height, width, 3); black outside the crop."""
        return self.toned(self.placed(picture, row, height, width), row)

    def shown_again(self, picture: np.ndarray, row: int, height: int, width: int, jitter: Jitter, rng: np.random.Generator) -> np.ndarray:
        """As ``show``, for the student: with a small random shift and gain, and downsampled with probability ``coarse``."""
        moved = rng.uniform(-jitter.again / 3, jitter.again / 3, 2)
        out = self.toned(self.placed(picture, row, height, width, moved), row, float(np.exp(rng.uniform(-jitter.again, jitter.again))))
        if rng.random() < jitter.coarse:
            share = rng.uniform(0.25, 0.7)
            few = cv2.resize(out, (max(8, int(width * share)), max(16, int(height * share))), interpolation=cv2.INTER_AREA)
            out = cv2.resize(few, (width, height), interpolation=cv2.INTER_LINEAR)
        return out

    def placed(self, picture: np.ndarray, row: int, height: int, width: int, moved: np.ndarray | None = None) -> np.ndarray:
        """Apply the geometry of view ``row``."""
        size = np.array([width, height], np.float32)
        had = np.array([picture.shape[1], picture.shape[0]], np.float32)
        scale = size / had * self.scale[row]
        if self.mirrored[row]:
            scale[0] *= -1
        to = size / 2 + (self.shift[row] + (0 if moved is None else moved)) * size - 0.5  # where the centre of the crop goes
        start = to - scale * (had - 1) / 2
        matrix = np.array([[scale[0], 0, start[0]], [0, scale[1], start[1]]])
        return cv2.warpAffine(picture, matrix, (width, height), flags=cv2.INTER_LINEAR)

    def toned(self, picture: np.ndarray, row: int, factor: float = 1) -> np.ndarray:
        """Apply the colours of view ``row``."""
        if self.grey[row]:
            picture = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
        if not self.changed[row]:
            return picture
        mean = picture.mean() / 255
        level = (LEVELS - mean) * self.contrast[row] + mean
        values = np.clip(level[:, None] * (self.gain[row] * factor) + self.offset[row], 0, 1) ** self.gamma[row]
        return cv2.LUT(picture, (values * 255 + 0.5).astype(np.uint8)[:, None])
