"""Image folders and globs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import SourceError
from pipeline.sources.frame import Began, Frame, Progress, SegmentCounts, Selection

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


DEEP = (0.5, 99.5)  # percentiles of the first image that become black and white, where pixels have more than eight bits


def image_files(paths: Iterable[Path]) -> list[Path]:
    """The images among ``paths`` in natural order (2 before 10), without hidden files such as ``._1.jpg`` of macOS."""
    found = [path for path in paths if path.suffix.lower() in IMAGES and not path.name.startswith(".")]
    return sorted(found, key=lambda path: natural(str(path)))


def natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key: numbers in the text count as numbers."""
    parts = re.split(r"(\d+)", text)
    return tuple((0, int(part), part) if part.isdigit() and part.isascii() else (1, 0, part) for part in parts if part)


class ImageSource:
    """Images in the order given, at ``rate`` frames per second. Pixels of more than eight bits are stretched, the same for all images."""

    def __init__(self, path: Path, images: list[Path], rate: float) -> None:
        self.path, self.rate, self.images = path, rate, images
        self.progress = Progress()
        self._range: tuple[float, float] | None = None
        first = next((image for file in images if (image := self._image(file)) is not None), None)
        if first is None:
            raise SourceError(f"{path}: none of its {len(images)} images can be read")
        self.height, self.width = first.shape[:2]
        self.frames: int | None = len(images)
        self.began: Began | None = None
        self.segments: SegmentCounts | None = None

    def _image(self, path: Path) -> np.ndarray | None:
        """(h, w, 3) uint8 BGR; None if it cannot be read."""
        image = cv2.imread(str(path), cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
        if image is None or image.dtype == np.uint8:
            return image
        if self._range is None:
            low, high = np.percentile(image, DEEP)
            self._range = float(low), max(float(high), float(low) + 1)
            self.progress.warn(f"{image.dtype} pixels: {low:g} to {high:g} of the first image are shown as black to white")
        low, high = self._range
        return np.clip((image.astype(np.float32) - low) * (255 / (high - low)), 0, 255).astype(np.uint8)

    def read(self, selection: Selection) -> Iterator[Frame]:
        for index, path in enumerate(self.images):
            time = index / self.rate
            if selection.past(time):
                return
            self.progress.time = time
            if not selection.wants(index, time):
                self.progress.skipped += 1
                continue
            image = self._image(path)
            if image is None:
                self.progress.failed += 1
                self.progress.warn(f"{path.name}: not a readable image")
                continue
            self.progress.given += 1
            yield Frame(index, time, image, self.progress.skipped, self.progress.failed)
