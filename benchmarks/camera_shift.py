"""What tells one camera's pictures of a person from another's: exposure, colour cast, blur and resolution; and embeddings that are kept."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from reid import Embedder

STRENGTH = {"none": 0.0, "mild": 0.5, "strong": 1.0}


@dataclass(frozen=True)
class Shift:
    """A camera's own: ``gain`` (3,) of blue, green and red, ``blur`` (standard deviation in px), ``size``: the share of pixels a side that it has."""

    gain: np.ndarray
    blur: float
    size: float

    def __call__(self, picture: np.ndarray) -> np.ndarray:
        """(h, w, 3) uint8 as the camera sees it."""
        height, width = picture.shape[:2]
        small = cv2.resize(picture, (max(8, round(width * self.size)), max(16, round(height * self.size))), interpolation=cv2.INTER_AREA)
        out = cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)
        if self.blur > 0.1:
            out = cv2.GaussianBlur(out, (0, 0), self.blur)
        return np.clip(out.astype(np.float32) * self.gain, 0, 255).astype(np.uint8)


def shifts(kind: str, cameras: Sequence[int], seed: int = 0) -> dict[int, Shift]:
    """Each camera's shift; ``strong``: exposure by a factor of 0.55 to 1.8, colours by 0.78 to 1.28, up to 1.5 px of blur, 0.4 to 1 of the pixels."""
    rng, strength = np.random.default_rng(seed), STRENGTH[kind]
    out = {}
    for camera in cameras:
        exposure, cast = rng.uniform(-0.6, 0.6), rng.uniform(-0.25, 0.25, 3)
        blur, loss = rng.uniform(0, 1.5), rng.uniform(0, 0.6)
        out[camera] = Shift(np.exp(strength * (exposure + cast)), strength * blur, 1 - strength * loss)
    return out


def embedded(
    embedder: Embedder, paths: Sequence[Path], cameras: np.ndarray, kind: str = "none", cache: Path | None = None, chunk: int = 256
) -> np.ndarray:
    """(n, d) unit rows of pictures, as ``cameras`` (n,) of a shift of this ``kind`` see them; kept in ``cache`` and read from there.

    Raises ValueError for a picture that cannot be read.
    """
    names = "\n".join("/".join(path.parts[-3:]) for path in paths)
    seal = hashlib.sha256(f"{embedder.session.sha256} {kind}\n{names}".encode()).hexdigest()[:16]
    kept = None if cache is None else cache / f"{embedder.facts.name}-{kind}-{seal}.npy"
    if kept is not None and kept.is_file():
        return np.load(kept)  # type: ignore[no-any-return]
    change = shifts(kind, sorted(set(cameras.tolist())))
    rows = []
    for begin in range(0, len(paths), chunk):
        pictures = []
        for path, camera in zip(paths[begin : begin + chunk], cameras[begin : begin + chunk].tolist(), strict=True):
            picture = cv2.imread(str(path))
            if picture is None:
                raise ValueError(f"{path}: not a readable picture")
            pictures.append(picture if kind == "none" else change[camera](picture))
        rows.append(embedder.embed(pictures))
    out = np.concatenate(rows)
    if kept is not None:
        kept.parent.mkdir(parents=True, exist_ok=True)
        np.save(kept, out)
    return out
