"""Image normalisation and batched inference. Needs the extra ``[train]``."""

from __future__ import annotations

import numpy as np
import torch

from detectors.runtime.session import Session

MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255  # ImageNet's
STD = np.array([0.229, 0.224, 0.225], np.float32) * 255


def to_tensor(images: np.ndarray) -> torch.Tensor:
    """(n, h, w, 3) RGB in 0..255 -> normalised (n, 3, h, w) float32, channels last in memory."""
    return torch.from_numpy((images.astype(np.float32) - MEAN) / STD).permute(0, 3, 1, 2)


def embeddings(session: Session, images: np.ndarray, batch: int = 64) -> np.ndarray:
    """(n, d) embeddings of (n, h, w, 3) uint8 RGB images of the model's input size."""
    starts = range(0, len(images), batch)
    return np.concatenate([session.run(to_tensor(images[start : start + batch]).contiguous().numpy())[0] for start in starts])
