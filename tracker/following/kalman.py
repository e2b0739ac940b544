"""Constant-velocity Kalman filters over box centres and sizes, all tracks at once.

With diagonal noise the eight-dimensional filter of DeepSORT (Wojke et al., 2017) decouples into one (position, velocity) filter
for each of centre x, centre y, width and height, exactly and in closed form. Arrays are (n, 4) in that order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Motion:
    """State of n filters, each array (n, 4): means ``position`` (px) and ``velocity`` (px/s), covariances ``pp``, ``pv``, ``vv``."""

    position: np.ndarray
    velocity: np.ndarray
    pp: np.ndarray
    pv: np.ndarray
    vv: np.ndarray

    def __len__(self) -> int:
        return len(self.position)

    def take(self, rows: np.ndarray) -> Motion:
        return Motion(self.position[rows], self.velocity[rows], self.pp[rows], self.pv[rows], self.vv[rows])

    def put(self, rows: np.ndarray, other: Motion) -> Motion:
        """A copy with ``rows`` replaced by ``other``."""
        out = []
        for mine, new in zip(self.arrays(), other.arrays(), strict=True):
            mine = mine.copy()
            mine[rows] = new
            out.append(mine)
        return Motion(*out)

    def join(self, other: Motion) -> Motion:
        return Motion(*(np.concatenate(pair) for pair in zip(self.arrays(), other.arrays(), strict=True)))

    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.position, self.velocity, self.pp, self.pv, self.vv

    @staticmethod
    def empty() -> Motion:
        return Motion(*(np.zeros((0, 4)) for _ in range(5)))


def to_centre(boxes: np.ndarray) -> np.ndarray:
    """(n, 4) x1, y1, x2, y2 -> centre x, centre y, width, height, float64."""
    boxes = boxes.astype(np.float64)
    return np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], 1)


def to_corners(centres: np.ndarray) -> np.ndarray:
    """(n, 4) centre x, centre y, width, height -> x1, y1, x2, y2."""
    half = np.abs(centres[:, 2:]) / 2
    return np.concatenate([centres[:, :2] - half, centres[:, :2] + half], 1)


def heights(position: np.ndarray) -> np.ndarray:
    """(n, 1) heights in px, at least 1: the scale of all noise. The width of a walking person changes with every step."""
    return np.maximum(position[:, 3:], 1.0)


def initiate(measured: np.ndarray, noise: float, speed: np.ndarray) -> Motion:
    """Filters at ``measured`` (n, 4), with standard deviations ``noise`` (position, heights) and ``speed`` (4,) (heights per second)."""
    height = heights(measured)
    zero = np.zeros_like(measured)
    return Motion(measured.copy(), zero, np.broadcast_to((noise * height) ** 2, measured.shape), zero.copy(), (speed * height) ** 2)


def predict(motion: Motion, dt: float, position_noise: float, velocity_noise: np.ndarray) -> Motion:
    """Predict the filters ``dt`` seconds ahead.

    ``position_noise`` and ``velocity_noise`` (4,): standard deviations in heights, growing with the square root of the time in seconds.
    """
    variance = heights(motion.position) ** 2 * dt
    return Motion(
        motion.position + motion.velocity * dt,
        motion.velocity,
        motion.pp + 2 * dt * motion.pv + dt * dt * motion.vv + position_noise**2 * variance,
        motion.pv + dt * motion.vv,
        motion.vv + velocity_noise**2 * variance,
    )


def correct(motion: Motion, measured: np.ndarray, variance: np.ndarray) -> Motion:
    """Update the filters with ``measured`` (n, 4) of measurement ``variance`` (n, 4)."""
    total = 1 / (motion.pp + variance)
    gain_p, gain_v = motion.pp * total, motion.pv * total
    residual = measured - motion.position
    return Motion(
        motion.position + gain_p * residual,
        motion.velocity + gain_v * residual,
        motion.pp * (1 - gain_p),
        motion.pv * (1 - gain_p),
        motion.vv - gain_v * motion.pv,
    )
