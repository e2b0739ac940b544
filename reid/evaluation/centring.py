"""Centre embeddings per camera: what all people of a camera have in common (light, colours, background) says nothing about who they are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

SHRINK = 20  # the mean of n crops is shrunk by n / (n + SHRINK)


@dataclass(frozen=True)
class CameraMeans:
    """Shrunk mean embedding of each camera: ``means`` (c, d) of the sorted ``cameras`` (c,)."""

    cameras: np.ndarray
    means: np.ndarray

    @staticmethod
    def of(rows: np.ndarray, cameras: np.ndarray, shrink: float = SHRINK) -> CameraMeans:
        """The means of ``rows`` (n, d) by ``cameras`` (n,)."""
        known, which, counts = np.unique(cameras, return_inverse=True, return_counts=True)
        sums = np.zeros((len(known), rows.shape[1]))
        np.add.at(sums, which, rows)
        return CameraMeans(known, (sums / (counts + shrink)[:, None]).astype(np.float32))

    def centred(self, rows: np.ndarray, cameras: np.ndarray) -> np.ndarray:
        """Unit ``rows`` (n, d) minus the mean of their camera, normalised. Raises ValueError for an unknown camera."""
        if unknown := set(cameras.tolist()) - set(self.cameras.tolist()):
            raise ValueError(f"no mean for camera {min(unknown)}")
        moved = rows - self.means[np.searchsorted(self.cameras, cameras)]
        return np.asarray(moved / np.maximum(np.linalg.norm(moved, axis=1, keepdims=True), 1e-12), np.float32)
