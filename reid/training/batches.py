"""Training batches: P x K sampling, and augmentation of uint8 arrays."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np


def pk_batches(labels: np.ndarray, ids: int, images: int, rng: np.random.Generator, near: np.ndarray | None = None) -> Iterator[np.ndarray]:
    """Rows of batches of ``ids`` identities x ``images`` images; an epoch shows each image about once.

    Identities with too few images repeat some. ``near`` (identities, m): the most similar identities of each, nearest first; a batch
    then prefers those of its first identity (graph sampling, Liao and Shao, 2022).
    """
    chunks: list[np.ndarray] = []
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        short = -len(rows) % images
        rows = np.concatenate([rows, rng.choice(rows, short)]) if short else rows
        chunks += list(rows.reshape(-1, images))
    who = [int(labels[chunk[0]]) for chunk in chunks]
    order = list(rng.permutation(len(chunks)))
    while len(order) >= ids:
        first = who[order[0]]
        alike = {} if near is None else {int(other): rank for rank, other in enumerate([first, *near[first]])}
        batch: dict[int, int] = {}  # an identity occurs once per batch
        for chunk in sorted(order, key=lambda chunk: alike.get(who[chunk], len(alike))):
            batch.setdefault(who[chunk], chunk)
            if len(batch) == ids:
                break
        if len(batch) < ids:
            return
        taken = set(batch.values())
        order = [chunk for chunk in order if chunk not in taken]
        yield np.concatenate([chunks[chunk] for chunk in batch.values()])


@dataclass(frozen=True)
class Geometry:
    """Geometric augmentation of n images: translation by ``down`` and ``right`` px, scaling by ``scale`` about the centre, then mirroring
    where ``mirrored``; each (n,).
    """

    down: np.ndarray
    right: np.ndarray
    mirrored: np.ndarray
    scale: np.ndarray

    @staticmethod
    def sample(n: int, rng: np.random.Generator, flip: float, pad: int, zoom: float) -> Geometry:
        """Random geometry: up to ``pad`` px in each direction, up to a share ``zoom`` larger or smaller, mirrored with probability ``flip``."""
        down, right = rng.integers(-pad, pad + 1, (2, n))
        return Geometry(down, right, rng.random(n) < flip, (1 + zoom) ** rng.uniform(-1, 1, n))

    def apply(self, images: np.ndarray) -> np.ndarray:
        """(n, h, w, 3) uint8 -> the same shape, transformed, with black borders."""
        h, w = images.shape[1:3]
        out = np.empty_like(images)
        for row, image in enumerate(images):
            step = 1 / float(self.scale[row])  # distance of neighbouring output pixels in the input
            centre = np.array([(w - 1) / 2, (h - 1) / 2])
            start = centre - step * centre + (self.right[row], self.down[row])
            matrix = np.array([[step, 0, start[0]], [0, step, start[1]]])
            cv2.warpAffine(image, matrix, (w, h), out[row], cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
            if self.mirrored[row]:
                out[row] = out[row][:, ::-1]
        return out


LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def augment(
    images: np.ndarray,
    rng: np.random.Generator,
    flip: float = 0.5,
    pad: int = 5,
    erase: float = 0.5,
    jitter: float = 0.2,
    zoom: float = 0,
    gray: float = 0,
) -> tuple[np.ndarray, Geometry]:
    """Pad-and-crop, zoom, flip, gray, brightness and contrast jitter and random erasing (Zhong et al., 2020), per image; 0 disables one.

    ``images`` (n, h, w, 3) uint8 RGB; returns float32 of the same shape in 0..255, and the geometry applied.
    """
    n, h, w, _ = images.shape
    geometry = Geometry.sample(n, rng, flip, pad, zoom)
    out = geometry.apply(images).astype(np.float32)
    grayed = rng.random(n) < gray
    out[grayed] = (out[grayed] @ LUMA)[..., None]
    if jitter:
        gain = rng.uniform(1 - jitter, 1 + jitter, (n, 1, 1, 3 if rng.random() < 0.3 else 1)).astype(np.float32)
        lift = rng.uniform(-jitter, jitter, (n, 1, 1, 1)).astype(np.float32) * 64
        out = np.clip(out * gain + lift, 0, 255)
    for erased in np.flatnonzero(rng.random(n) < erase):
        area, aspect = rng.uniform(0.02, 0.33) * h * w, np.exp(rng.uniform(np.log(0.3), np.log(3.3)))
        tall, wide = min(int(np.sqrt(area * aspect)), h - 1), min(int(np.sqrt(area / aspect)), w - 1)
        top, left = int(rng.integers(0, h - tall)), int(rng.integers(0, w - wide))
        out[erased, top : top + tall, left : left + wide] = rng.uniform(0, 255, 3)
    return out, geometry


CHANNEL_ORDERS = np.array([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])


def recolour(images: np.ndarray, labels: np.ndarray, ids: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Permute the colour channels of a ``share`` of the identities in a batch; each permutation counts as another identity.

    ``images`` (n, h, w, 3) uint8, ``labels`` (n,) below ``ids``; returns both, the labels below 6 ``ids``.
    """
    who, index = np.unique(labels, return_inverse=True)
    order = np.where(rng.random(len(who)) < share, rng.integers(1, len(CHANNEL_ORDERS), len(who)), 0)[index]
    return np.take_along_axis(images, CHANNEL_ORDERS[order][:, None, None], 3), labels + ids * order
