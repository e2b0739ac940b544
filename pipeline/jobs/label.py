"""``passerby detector label``: labels for training a detector, from teachers, and from human labels where there are any."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detectors import Detections, Detector
from detectors.training.label_files import Labels, read_labels, to_text
from detectors.training.pseudo_labels import LabelThresholds, with_human, without_human
from pipeline.address import redact
from pipeline.errors import SourceError, UsageError, writing
from pipeline.sources.frame import Frame, Selection
from pipeline.sources.images import IMAGES, image_files
from pipeline.sources.open import open_source
from tracker import DeepSort
from tracker.following.settings import TrackerSettings

log = logging.getLogger(__name__)

SETTINGS = "labelling.json"
TRACK_SECONDS = 1.0  # shortest track that explains boxes
TRACK_SHARE = 0.5  # of its frames that it was detected in, at least
GAP_SECONDS = 2.0  # longest gap of a track in which the person is taken to be still there
JPEG_QUALITY = 95


@dataclass(frozen=True)
class LabelRequest:
    """What to label: ``sources``, the folder to write, and how.

    ``rate``: labelled frames per second of a video. ``tracked``: label in videos only what a track explains; the detector then runs on
    ``track_rate`` frames per second. ``settings``: what decides the labels, kept beside them so that an interrupted run continues with the same.
    """

    sources: Sequence[Path]
    out: Path
    thresholds: LabelThresholds
    rate: float = 1.0
    tracked: bool = False
    track_rate: float = 10.0
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass
class LabelCounts:
    """Counts of a labelling. ``by_hand`` and ``by_teacher`` are people; ``kept``: images labelled by an earlier run into the folder."""

    images: int = 0
    kept: int = 0
    without_people: int = 0
    by_hand: int = 0
    by_teacher: int = 0
    ignored: int = 0
    unreadable: int = 0
    failed_sources: list[str] = field(default_factory=list)

    def add(self, labels: Labels) -> None:
        self.images += 1
        self.without_people += not len(labels.people)
        self.by_hand += labels.by_hand
        self.by_teacher += len(labels.people) - labels.by_hand
        self.ignored += len(labels.ignored)


def label(request: LabelRequest, teacher: Detector, tell: Callable[[LabelCounts], None] = lambda _: None) -> LabelCounts:
    """Write ``images/`` and ``labels/`` of all sources. ``tell`` gets the counts after each image.

    A source that cannot be opened is named and does not stop the others. Raises UsageError if two images would have one name, or the folder
    was labelled with other settings; SourceError if no source can be opened; OutputError if the folder cannot be written.
    """
    counts, names, taken = LabelCounts(), dict[str, str](), 0
    writer = Writer(request, counts, names, tell)
    for source in request.sources:
        try:
            if is_video(source):
                label_video(source, request, teacher, writer)
            else:
                label_pictures(source, request, teacher, writer)
            taken += 1
        except SourceError as error:
            log.error("%s", error)
            counts.failed_sources.append(redact(str(source)))
    if not taken:
        raise SourceError("none of the sources could be opened")
    return counts


class Writer:
    """Writes images and labels. Labels are written after their image, so an image without them is not finished."""

    def __init__(self, request: LabelRequest, counts: LabelCounts, names: dict[str, str], tell: Callable[[LabelCounts], None]) -> None:
        self.images, self.labels = request.out / "images", request.out / "labels"
        self.counts, self.names, self.tell = counts, names, tell
        with writing(request.out):
            for folder in (self.images, self.labels):
                folder.mkdir(parents=True, exist_ok=True)
        self._keep(request.out / SETTINGS, request)

    def _keep(self, path: Path, request: LabelRequest) -> None:
        settings = dict(request.settings) | request.thresholds.model_dump() | {"rate": request.rate}
        settings |= {"track_rate": request.track_rate if request.tracked else None}
        try:
            before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else settings
        except ValueError:
            raise UsageError(f"{path}: not valid JSON; choose another folder") from None
        if before != settings:
            changed = sorted(key for key in {*before, *settings} if before.get(key) != settings.get(key))
            raise UsageError(
                f"{request.out}: was labelled with other settings ({', '.join(changed)}: see {SETTINGS}); choose another folder"
            )
        with writing(path):
            path.write_text(json.dumps(settings, indent=1), encoding="utf-8")

    def claim(self, name: str, origin: str) -> bool:
        """Whether the image of this name still needs labels. Raises UsageError if another source has an image of that name."""
        stem = Path(name).stem
        if self.names.setdefault(stem, origin) != origin:
            raise UsageError(f"{origin} and {self.names[stem]} would both be {stem}; rename one")
        if not (self.labels / f"{stem}.txt").exists() or not (self.images / name).exists():
            return True
        self.counts.kept += 1
        return False

    def copy(self, path: Path) -> None:
        """An image file as it is, into ``images/``."""
        target = self.images / path.name
        if path.resolve() != target.resolve():
            with writing(target):
                target.write_bytes(path.read_bytes())

    def frame(self, name: str, image: np.ndarray) -> None:
        """A frame as JPEG."""
        target = self.images / name
        with writing(target):
            target.write_bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes())

    def put(self, name: str, labels: Labels, width: int, height: int) -> None:
        target = self.labels / f"{Path(name).stem}.txt"
        with writing(target):
            draft = target.with_suffix(".tmp")
            draft.write_text(to_text(labels, width, height), encoding="utf-8")
            draft.replace(target)
        self.counts.add(labels)
        self.tell(self.counts)


def is_video(source: Path) -> bool:
    """Whether a source is a video, or a MOTChallenge sequence, whose images are its frames; all else is pictures that have nothing to do with one
    another.
    """
    return (source.is_file() and source.suffix.lower() not in IMAGES) or (source / "seqinfo.ini").is_file()


# ---- pictures


def label_pictures(source: Path, request: LabelRequest, teacher: Detector, writer: Writer) -> None:
    """Label a picture, the pictures of a folder or glob, or of a folder in YOLO format, whose labels are then taken as human ones."""
    folder = source / "images" if (source / "images").is_dir() else source
    human = folder.parent / "labels" if folder.name == "images" and (folder.parent / "labels").is_dir() else None
    for path in pictures(source, folder):
        if not writer.claim(path.name, str(path)):
            continue
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            log.warning("%s: not a readable image", path)
            writer.counts.unreadable += 1
            continue
        height, width = image.shape[:2]
        found = teacher.detect([image])[0]
        if human is None:
            labels = without_human(found, request.thresholds)
        else:
            labels = with_human(found, read_labels(human / f"{path.stem}.txt", width, height), request.thresholds)
        writer.copy(path)
        writer.put(path.name, labels, width, height)


def pictures(source: Path, folder: Path) -> list[Path]:
    """The image files of a source. Raises SourceError if there is none."""
    if folder.is_file():
        return [folder]
    found = image_files(folder.glob("*")) if folder.is_dir() else image_files(source.parent.glob(source.name))
    if not found:
        raise SourceError(
            f"{folder}: no images here ({', '.join(sorted(IMAGES))})" if folder.is_dir() else f"{source}: no such file or folder"
        )
    return found


# ---- videos


def label_video(source: Path, request: LabelRequest, teacher: Detector, writer: Writer) -> None:
    """Label frames of a video, ``rate`` a second; with ``tracked``, by what tracks explain."""
    opened = open_source(source)
    step = max(1, round(opened.rate / min(request.rate, opened.rate)))
    stem = source.stem if source.is_file() else source.name
    named = {}  # name of each labelled frame
    tracks = Explained(request.thresholds)
    between = max(1, round(opened.rate / request.track_rate)) if request.tracked else step
    for frame in frames(source, opened, between, step):
        wanted = frame.index % step == 0
        name = f"{stem}-{frame.index + 1:06d}.jpg"
        needed = wanted and writer.claim(name, f"{source}, frame {frame.index + 1}")
        if not needed and not request.tracked:
            continue
        found = teacher.detect([frame.image])[0]
        if needed:
            writer.frame(name, frame.image)
            named[frame.index] = name, frame.image.shape[1], frame.image.shape[0]
        if request.tracked:
            tracks.add(frame.index, frame.time, found)
        else:
            writer.put(*with_size(named.pop(frame.index), without_human(found, request.thresholds)))
    if request.tracked:
        for index, labels in tracks.labels(list(named)):
            writer.put(*with_size(named[index], labels))
    writer.counts.unreadable += opened.progress.failed
    for text in opened.progress.warnings:
        log.warning("%s: %s", redact(str(source)), text)
    if opened.progress.error:
        log.error("%s", opened.progress.error)
        writer.counts.failed_sources.append(redact(str(source)))


def with_size(named: tuple[str, int, int], labels: Labels) -> tuple[str, Labels, int, int]:
    name, width, height = named
    return name, labels, width, height


def frames(source: Path, opened: Any, *steps: int) -> Iterator[Frame]:
    """The frames whose index is a multiple of one of ``steps``."""
    for frame in opened.read(Selection()):
        if any(frame.index % step == 0 for step in steps):
            yield frame


class Explained:
    """Which boxes of a video belong to tracks that are people: long enough, mostly detected, with a mean score of a person.

    A box that belongs to one is a person even if its own score is low; any other box is ignored, and so is the place where a track's person was
    not detected for a moment. Tracks are by motion alone.
    """

    def __init__(self, thresholds: LabelThresholds) -> None:
        self.thresholds = thresholds
        settings = TrackerSettings(
            high_threshold=thresholds.person, low_threshold=thresholds.uncertain, new_track_threshold=thresholds.person, gate=0
        )
        self.tracker = DeepSort(settings)
        self.found: dict[int, tuple[float, Detections]] = {}
        self.ids: dict[int, dict[int, int]] = {}  # by frame and detection row

    def add(self, index: int, time: float, found: Detections) -> None:
        """A frame with its detections, in order of time."""
        tracks = self.tracker.update(found, time)
        self.found[index] = time, found
        self.ids[index] = dict(zip(tracks.rows.tolist(), tracks.ids.tolist(), strict=True))

    def labels(self, indices: Sequence[int]) -> Iterator[tuple[int, Labels]]:
        """Labels of frames that were added."""
        people = self._people()
        for index in indices:
            time, found = self.found[index]
            explained = np.array([self.ids[index].get(row) in people for row in range(len(found))], bool)
            shown = set(self.ids[index].values())
            hidden = [box for id, path in people.items() if id not in shown and (box := path.at(time)) is not None]
            uncertain = found.boxes[~explained & (found.scores >= self.thresholds.uncertain)]
            yield index, Labels(found.boxes[explained], np.concatenate([uncertain, np.array(hidden).reshape(-1, 4)]))

    def _people(self) -> dict[int, TrackPath]:
        rows: dict[int, list[tuple[float, np.ndarray, float]]] = {}
        for index, ids in self.ids.items():
            time, found = self.found[index]
            for row, id in ids.items():
                rows.setdefault(id, []).append((time, found.boxes[row], float(found.scores[row])))
        times = np.array([time for time, _ in self.found.values()])
        people = {}
        for id, seen in rows.items():
            first, last = seen[0][0], seen[-1][0]
            share = len(seen) / max(1, int(((times >= first) & (times <= last)).sum()))
            if last - first >= TRACK_SECONDS and share >= TRACK_SHARE and np.mean([score for *_, score in seen]) >= self.thresholds.person:
                people[id] = TrackPath(np.array([time for time, *_ in seen]), np.stack([box for _, box, _ in seen]))
        return people


@dataclass(frozen=True)
class TrackPath:
    """A track: (n,) ``times`` in seconds and (n, 4) ``boxes`` px."""

    times: np.ndarray
    boxes: np.ndarray

    def at(self, time: float) -> np.ndarray | None:
        """The box between two detections no more than ``GAP_SECONDS`` apart, or None."""
        after = int(np.searchsorted(self.times, time))
        if not 0 < after < len(self.times) or self.times[after] - self.times[after - 1] > GAP_SECONDS:
            return None
        return np.array([np.interp(time, self.times, self.boxes[:, side]) for side in range(4)])
