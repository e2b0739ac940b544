"""The last embeddings of every track in one contiguous array, and their exponential moving average."""

from __future__ import annotations

import numpy as np


class Gallery:
    """Embeddings by slot. A track holds a slot for its lifetime; slots are reused, and the array grows by doubling.

    ``size``: embeddings per slot; ``momentum`` of the moving average.
    """

    def __init__(self, size: int, momentum: float = 0.9) -> None:
        self.size, self.momentum = size, momentum
        self.mean = np.zeros((0, 0), np.float32)
        self.rows = np.zeros((0, size, 0), np.float32)
        self.count = np.zeros(0, np.int64)
        self.free: list[int] = []

    def acquire(self, number: int) -> np.ndarray:
        """Allocate ``number`` empty slots."""
        if len(self.free) < number:
            held = len(self.count)
            more = max(number - len(self.free), held, 8)
            self.rows = np.concatenate([self.rows, np.zeros((more, *self.rows.shape[1:]), np.float32)])
            self.mean = np.concatenate([self.mean, np.zeros((more, self.mean.shape[1]), np.float32)])
            self.count = np.concatenate([self.count, np.zeros(more, np.int64)])
            self.free += range(held + more - 1, held - 1, -1)
        slots = np.array([self.free.pop() for _ in range(number)], np.int64)
        self.rows[slots] = 0
        self.count[slots] = 0
        return slots

    def release(self, slots: np.ndarray) -> None:
        """Free slots for reuse."""
        self.free += slots.tolist()

    def add(self, slots: np.ndarray, embeddings: np.ndarray) -> None:
        """Add one embedding per slot, replacing the oldest of a full slot. Raises ValueError for another dimension than before."""
        if not len(slots):
            return
        if self.rows.shape[2] != embeddings.shape[1]:
            if self.count.any():
                raise ValueError(f"embeddings have {embeddings.shape[1]} dimensions, but the gallery has {self.rows.shape[2]}")
            self.rows = np.zeros((*self.rows.shape[:2], embeddings.shape[1]), np.float32)
            self.mean = np.zeros((len(self.rows), embeddings.shape[1]), np.float32)
        first = (self.count[slots] == 0)[:, None]
        self.mean[slots] = np.where(first, embeddings, self.momentum * self.mean[slots] + (1 - self.momentum) * embeddings)
        self.rows[slots, self.count[slots] % self.size] = embeddings
        self.count[slots] += 1

    def distance(self, slots: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        """(len(slots), m) cosine distance to the nearest embedding of each slot; 2 for an empty slot."""
        if self.rows.shape[2] != embeddings.shape[1]:
            return np.full((len(slots), len(embeddings)), 2.0)
        filled = max(1, int(min(self.count[slots].max(initial=0), self.size)))
        held = self.rows[slots, :filled]
        similarity = (held.reshape(-1, held.shape[2]) @ embeddings.T).reshape(len(slots), filled, -1)
        empty = np.arange(filled)[None] >= self.count[slots][:, None]
        similarity[empty] = -1
        return 1.0 - similarity.max(1).astype(np.float64)

    def distance_to_mean(self, slots: np.ndarray, embeddings: np.ndarray) -> np.ndarray:
        """(len(slots), m) cosine distance to the moving average of each slot (StrongSORT, Du et al., 2023); 2 for an empty slot."""
        if self.mean.shape[1] != embeddings.shape[1]:
            return np.full((len(slots), len(embeddings)), 2.0)
        mean = self.mean[slots]
        similarity = (mean @ embeddings.T) / np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
        similarity[self.count[slots] == 0] = -1
        return 1.0 - similarity.astype(np.float64)
