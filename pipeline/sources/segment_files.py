"""Which files are the segments of which camera: folders and globs of videos, lists of files, and what the names of files say."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.formats.paths import safe_name
from pipeline.formats.wall_clock import camera_in_path
from pipeline.sources.images import natural
from pipeline.sources.wall import WallRules

VIDEOS = {
    ".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".vob", ".ps", ".flv", ".f4v", ".wmv", ".asf",
    ".3gp", ".3g2", ".mxf", ".ogv", ".ogm", ".dav", ".h264", ".264", ".avc", ".h265", ".265", ".hevc", ".ivf", ".obu", ".mjpeg", ".mjpg", ".y4m",
}  # fmt: skip
LISTS = {".txt", ".lst", ".list", ".m3u", ".m3u8", ".ffconcat"}


def video_files(paths: Iterable[Path]) -> list[Path]:
    """The videos among ``paths`` in natural order, without hidden files."""
    found = [path for path in paths if path.suffix.lower() in VIDEOS and not path.name.startswith(".")]
    return sorted(found, key=lambda path: natural(str(path)))


def videos_in(folder: Path) -> list[Path]:
    """The videos of a folder, or of all folders below it where it has none itself; not those of runs that were written there."""
    found = video_files(folder.iterdir()) or video_files(path for path in folder.rglob("*") if path.is_file())
    runs = {place for place in {file.parent.parent for file in found} if (place / "tracklets.parquet").exists()}
    return [file for file in found if file.parent.parent not in runs]


def in_order(files: Sequence[Path], rules: WallRules) -> list[Path]:
    """By the time in their names where all have one, else in natural order."""
    times = [rules.named(file) for file in files]
    if any(time is None for time in times):
        return list(files)
    return [file for _, file in sorted(zip(times, files, strict=True), key=lambda pair: (pair[0], natural(str(pair[1]))))]


def read_list(path: Path) -> list[Path]:
    """The files that a list names, one per line, relative to the list's folder: plain paths, an M3U playlist, or FFmpeg's concat format.

    Raises SourceError for a file that is no list, naming the line.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise SourceError(f"{path}: not a list of files in UTF-8") from None
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror or error})") from None
    files = []
    for number, line in enumerate(lines, 1):
        text = line.strip()
        if not text or text.startswith("#") or text.split()[0] in ("ffconcat", "duration", "inpoint", "outpoint", "stream"):
            continue
        if quoted := re.fullmatch(r"file\s+(?:'(.*)'|(\S.*))", text):
            text = (quoted[1] or quoted[2]).replace("'\\''", "'")
        if "://" in text:
            raise SourceError(f"{path}, line {number}: an address, but a list names files")
        file = path.parent / text
        if not file.is_file() and file.suffix.lower() not in VIDEOS:
            raise SourceError(f"{path}, line {number}: {text[:80]!r} is neither a file nor the name of a video")
        files.append(file)
    if not files:
        raise SourceError(f"{path}: lists no files")
    return files


def by_camera_name(files: Sequence[Path], rules: WallRules, several: bool) -> dict[str, list[Path]]:
    """Segments by camera, as their names say: what differs in its time alone is one camera's.

    ``several`` False: all ``files`` are one camera's unless their names show two cameras or more, with two segments or more each. True:
    only files that belong together are grouped; the others are left out. The name of a camera is safe as a file name.
    """
    keys = [camera_in_path(file, rules.pattern) if rules.use in ("auto", "name") else None for file in files]
    groups: dict[tuple[str, ...], list[Path]] = {}
    for key, file in zip(keys, files, strict=True):
        if key is not None:
            groups.setdefault(key, []).append(file)
    groups = {key: group for key, group in groups.items() if len(group) > 1 and _differ_in_time(group, rules)}
    if not several and (len(groups) < 2 or sum(map(len, groups.values())) < len(files)):
        return {}
    names = {key: safe_name(key[-1] or (key[-2] if len(key) > 1 else ""), "camera") for key in groups}
    if len(set(names.values())) < len(names):
        names = {key: safe_name("_".join(part for part in key[-2:] if part), "camera") for key in groups}
    return {names[key]: in_order(group, rules) for key, group in groups.items()}


def _differ_in_time(files: Sequence[Path], rules: WallRules) -> bool:
    times = [rules.named(file) for file in files]
    return len(set(times)) == len(times)


def other_images(images: Iterable[Path], videos: Iterable[Path]) -> list[Path]:
    """The images that are no thumbnails of ``videos``: those whose name, up to a dot, is not a video's."""
    names = {name for video in videos for name in (video.stem, video.name)}
    return [image for image in images if image.stem not in names]
