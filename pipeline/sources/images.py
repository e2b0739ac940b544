"""Image folders and globs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2

from pipeline.errors import SourceError
from pipeline.sources.frame import Frame, Progress, Selection

IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"}


class ImageSource:
    """Images in name order, at ``rate`` frames per second."""

    def __init__(self, path: Path, images: list[Path], rate: float) -> None:
        self.path, self.rate, self.images = path, rate, images
        self.progress = Progress()
        first = next((image for file in images if (image := cv2.imread(str(file))) is not None), None)
        if first is None:
            raise SourceError(f"{path}: none of its {len(images)} images can be read")
        self.height, self.width = first.shape[:2]
        self.frames: int | None = len(images)

    def read(self, selection: Selection) -> Iterator[Frame]:
        for index, path in enumerate(self.images):
            time = index / self.rate
            if selection.past(time):
                return
            if not selection.wants(index, time):
                self.progress.skipped += 1
                continue
            image = cv2.imread(str(path))
            if image is None:
                self.progress.failed += 1
                self.progress.warn(f"{path.name}: not a readable image")
                continue
            self.progress.given += 1
            yield Frame(index, time, image, self.progress.skipped, self.progress.failed)
