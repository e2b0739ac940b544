"""Open a source by its path: a video file, images, or a MOTChallenge sequence."""

from __future__ import annotations

import configparser
import glob
import math
from pathlib import Path

from pipeline.address import Address
from pipeline.errors import SourceError
from pipeline.sources.frame import Source
from pipeline.sources.images import IMAGES, ImageSource, image_files
from pipeline.sources.video_file import VideoSource, first_line

DEFAULT_RATE = 25.0  # frames per second, where nothing states it


def open_source(path: Path | str, rate: float | None = None) -> Source:
    """Open a video file, a folder or glob of images, or a MOTChallenge sequence folder (``seqinfo.ini``, ``img1/``).

    ``rate``: frames per second of images and of video without times of its own. Default: from ``seqinfo.ini``, else 25. Raises SourceError if it cannot be opened.
    """
    text, address = str(path), Address(str(path))
    if address.is_url:
        raise SourceError(f"{address}: a network stream, but passerby run reads files; use passerby live, or record the stream first")
    path = Path(path)
    if path.is_dir():
        return _open_folder(path, rate)
    if path.is_file():
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: the file is empty (0 bytes)")
        if path.suffix.lower() in IMAGES:
            return _images(path, [path], rate)
        return VideoSource(path, rate)
    if glob.has_magic(text):
        images = image_files(map(Path, glob.glob(text)))
        if not images:
            raise SourceError(f"{text}: no image matches")
        return _images(path, images, rate)
    raise SourceError(f"{path}: no such file or folder")


def _images(path: Path, images: list[Path], rate: float | None) -> Source:
    source = ImageSource(path, images, rate or DEFAULT_RATE)
    if rate is None and len(images) > 1:
        source.progress.warn(f"images have no times: {DEFAULT_RATE:g} per second are assumed; set reading.rate if that is wrong")
    return source


def _open_folder(path: Path, rate: float | None) -> Source:
    folder = path
    if (path / "seqinfo.ini").is_file():
        parser = configparser.ConfigParser()
        try:
            parser.read(path / "seqinfo.ini")
            folder = path / parser["Sequence"].get("imDir", "img1")
            rate = rate or parser["Sequence"].getfloat("frameRate")
            if rate is not None and not (math.isfinite(rate) and rate > 0):
                raise ValueError(f"frameRate {rate}")
        except (configparser.Error, KeyError, ValueError) as error:
            raise SourceError(f"{path / 'seqinfo.ini'}: not a valid MOTChallenge seqinfo.ini ({first_line(error)})") from None
    elif (path / "img1").is_dir():
        folder = path / "img1"
    images = image_files(folder.glob("*"))
    if not images:
        raise SourceError(f"{folder}: no images in this folder ({', '.join(sorted(IMAGES))})")
    return _images(path, images, rate)
