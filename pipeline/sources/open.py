"""Open a source by its path: a video file, the segments of a camera, images, or a MOTChallenge sequence."""

from __future__ import annotations

import configparser
import glob
import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.address import Address
from pipeline.errors import SourceError
from pipeline.sources.frame import Source
from pipeline.sources.images import IMAGES, ImageSource, image_files
from pipeline.sources.segment_files import LISTS, VIDEOS, in_order, other_images, read_list, video_files, videos_in
from pipeline.sources.segments import SegmentedSource
from pipeline.sources.video_file import VideoSource, first_line
from pipeline.sources.wall import WallRules

DEFAULT_RATE = 25.0  # frames per second, where nothing states it
ANY = WallRules()


def open_source(path: Path | str, rate: float | None = None, rules: WallRules = ANY, files: Sequence[Path] = ()) -> Source:
    """Open a video file, a folder, glob or list of videos or of images, or a MOTChallenge sequence folder (``seqinfo.ini``, ``img1/``).

    Several videos are the segments of one camera. ``rate``: frames per second of images and of video without times of its own; default:
    from ``seqinfo.ini``, else 25. ``rules``: of the wall-clock time. ``files``: the segments, where ``path`` only describes them.
    Raises SourceError if it cannot be opened.
    """
    text, address = str(path), Address(str(path))
    if address.is_url:
        raise SourceError(f"{address}: a network stream, but passerby run reads files; use passerby live, or record the stream first")
    path = Path(path)
    if files:
        return _segments(path, files, rate, rules)
    if path.is_dir():
        return _open_folder(path, rate, rules)
    if path.is_file():
        if path.stat().st_size == 0:
            raise SourceError(f"{path}: the file is empty (0 bytes)")
        if path.suffix.lower() in IMAGES:
            return _images(path, [path], rate)
        if path.suffix.lower() in LISTS:
            return _segments(path, read_list(path), rate, rules)
        return VideoSource(path, rate, rules)
    if glob.has_magic(text):
        found = [Path(name) for name in glob.glob(text, recursive=True)]
        images, videos = image_files(found), video_files(found)
        if images and videos:
            raise SourceError(
                f"{text}: matches {len(videos)} videos and {len(images)} images; choose one kind, such as *{videos[0].suffix}"
            )
        if videos:
            return _segments(path, in_order(videos, rules), rate, rules)
        if not images:
            raise SourceError(f"{text}: no video or image matches")
        return _images(path, images, rate)
    raise SourceError(f"{path}: no such file or folder")


def _segments(path: Path, files: Sequence[Path], rate: float | None, rules: WallRules, notes: Sequence[str] = ()) -> Source:
    def open_one(file: Path) -> Source:
        if not file.is_file():
            raise SourceError(f"{file}: no such file")
        if file.stat().st_size == 0:
            raise SourceError(f"{file}: the file is empty (0 bytes)")
        return VideoSource(file, rate, rules)

    return SegmentedSource(path, files, rules, open_one, notes)


def _images(path: Path, images: list[Path], rate: float | None) -> Source:
    source = ImageSource(path, images, rate or DEFAULT_RATE)
    if rate is None and len(images) > 1:
        source.progress.warn(f"images have no times: {DEFAULT_RATE:g} per second are assumed; set reading.rate if that is wrong")
    return source


def _open_folder(path: Path, rate: float | None, rules: WallRules) -> Source:
    folder, sequence = path, (path / "seqinfo.ini").is_file()
    if sequence:
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
    videos = [] if sequence or (images and folder != path) else video_files(path.iterdir()) if images else videos_in(path)
    if images and not videos:
        return _images(path, images, rate)
    if videos and (others := other_images(images, videos)):
        raise SourceError(
            f"{path}: holds {len(videos)} videos and {len(others)} images; choose one kind: '{path}/*{videos[0].suffix}' or '{path}/*{others[0].suffix}'"
        )
    if not videos:
        raise SourceError(f"{folder}: no images ({', '.join(sorted(IMAGES))}) and no videos ({', '.join(sorted(VIDEOS))}) in this folder")
    notes = [f"{len(images)} images with the names of the videos are taken for their thumbnails"] if images else []
    return _segments(path, in_order(videos, rules), rate, rules, notes)
