"""The builder of tracklets: collects each track's boxes, embeddings and crops until it ends."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import cv2
import numpy as np

from pipeline.formats.tracklet import (
    CROP_HEIGHT,
    MAX_EMBEDDINGS,
    MIN_VISIBILITY,
    PATH_POINTS,
    WEIGHT_GROWTH,
    Growth,
    Tracklet,
    feet_path,
    update_until,
)
from pipeline.sources.frame import Frame
from reid.embedder import crop_boxes
from tracker import TrackletUpdate, Tracks
from tracker.linking.updates import Key


@dataclass
class _Growing:
    frames: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    boxes: list[np.ndarray] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    pooled: np.ndarray | None = None
    weight: float = 0.0
    embeddings_count: int = 0
    crops: list[tuple[float, float, bytes]] = field(default_factory=list)  # time, quality, JPEG
    spacing: float = 0.2
    embeddings: list[tuple[float, np.ndarray]] = field(default_factory=list)
    embedding_spacing: float = 0.0
    grown: list[tuple[float, float, np.ndarray]] = field(default_factory=list)  # time, weight, pooled embedding as float16
    began: float | None = None  # start of the track, and its path until then, if earlier parts were cut off
    before: np.ndarray | None = None

    @property
    def embedding(self) -> np.ndarray | None:
        """The pooled embedding, unit; None without one."""
        norm = 0.0 if self.pooled is None else float(np.linalg.norm(self.pooled))
        return self.pooled / norm if self.pooled is not None and norm > 0 else None

    def note_growth(self, time: float) -> None:
        """Keep the pooled embedding, if it has grown by enough since the last one kept."""
        embedding = self.embedding
        if embedding is not None and (not self.grown or self.weight >= WEIGHT_GROWTH * self.grown[-1][1]):
            self.grown.append((time, self.weight, embedding.astype(np.float16)))

    @property
    def growth(self) -> Growth:
        times, weights, embeddings = zip(*self.grown, strict=True) if self.grown else ((), (), ())
        return Growth(times, weights, embeddings, self.began, self.before)

    def rest(self) -> _Growing:
        """What goes on after a cut."""
        path = feet_path(self.times[-PATH_POINTS:], self.boxes[-PATH_POINTS:])
        if self.before is not None:
            path = np.concatenate([self.before, path])[-PATH_POINTS:]
        began = self.times[0] if self.began is None else self.began
        return _Growing(
            pooled=self.pooled,
            weight=self.weight,
            embeddings_count=self.embeddings_count,
            grown=self.grown[-1:],
            began=began,
            before=path,
        )


class TrackletBuilder:
    """Builds the tracklets of one camera. Memory: the boxes of live tracks, and at most ``max_crops`` small crops of each."""

    def __init__(self, camera: str, max_crops: int) -> None:
        self.camera, self.max_crops = camera, max_crops
        self._growing: dict[int, _Growing] = {}

    def forget(self, tracks: Iterable[int]) -> None:
        """Drop what has grown of ``tracks``."""
        for track in tracks:
            self._growing.pop(track, None)

    def add(self, frame: Frame, tracks: Tracks, embeddings: dict[int, np.ndarray]) -> None:
        """Add one frame's ``tracks``, and the ``embeddings`` computed in it, by detection row."""
        for at, track_id in enumerate(tracks.ids.tolist()):
            one = self._growing.setdefault(track_id, _Growing())
            quality = float(tracks.visibility[at] * tracks.scores[at])
            one.frames.append(frame.index + 1)
            one.times.append(frame.time)
            one.boxes.append(tracks.boxes[at])
            one.scores.append(float(tracks.scores[at]))
            row = embeddings.get(int(tracks.rows[at]))
            if row is not None:
                one.pooled = row * quality if one.pooled is None else one.pooled + row * quality
                one.weight += quality
                one.embeddings_count += 1
                one.note_growth(frame.time)
                if tracks.visibility[at] >= MIN_VISIBILITY and (
                    not one.embeddings or frame.time - one.embeddings[-1][0] >= one.embedding_spacing
                ):
                    one.embeddings.append((frame.time, row))
                    if len(one.embeddings) > MAX_EMBEDDINGS:
                        one.embeddings = one.embeddings[::2]
                        one.embedding_spacing = 2 * max(
                            one.embedding_spacing, (one.embeddings[-1][0] - one.embeddings[0][0]) / MAX_EMBEDDINGS
                        )
            if not one.crops or frame.time - one.crops[-1][0] >= one.spacing:
                crop = crop_boxes(frame.image, tracks.boxes[at : at + 1])[0]
                one.crops.append((frame.time, quality, _jpeg(crop, frame.aspect)))
                if len(one.crops) > self.max_crops:  # thin out: half as many, twice as far apart
                    one.crops = one.crops[::2]
                    one.spacing *= 2

    @property
    def tracks(self) -> list[int]:
        """The ids of the tracks that grow."""
        return list(self._growing)

    def spans(self) -> Iterator[tuple[int, float | None, float]]:
        """Id, first and last time of the tracks that grow; None where nothing has come since a part was cut off."""
        for track_id, one in self._growing.items():
            yield track_id, one.times[0] if one.times else None, one.times[-1] if one.times else 0.0

    def finish(self, held: np.ndarray | None = None) -> Iterator[Tracklet]:
        """Tracklets of the tracks that are no longer ``held`` (None: of all tracks), in order of id."""
        alive = set() if held is None else set(held.tolist())
        for track_id in sorted(set(self._growing) - alive):
            one = self._growing.pop(track_id)
            if one.frames:  # else nothing was added since the last part was cut off
                yield self._tracklet(track_id, one)

    def cut(self, longest: float) -> Iterator[Tracklet]:
        """The parts so far of tracks whose boxes span ``longest`` seconds, to bound memory. The tracks continue under their ids."""
        for track_id, one in sorted(self._growing.items()):
            if one.times and one.times[-1] - one.times[0] >= longest:
                yield self._tracklet(track_id, one)
                self._growing[track_id] = one.rest()

    def updates(self, until: float, sent: Mapping[Key, float]) -> Iterator[TrackletUpdate]:
        """What the on-line linker gets to know up to ``until`` seconds of the tracks that have grown since the time they were ``sent``."""
        for track_id, one in sorted(self._growing.items()):
            if one.times and one.times[0] <= until and one.times[-1] > sent.get((self.camera, track_id), -math.inf):
                update = update_until(self.camera, track_id, one.times, one.boxes, one.growth, until)
                if update is not None and update.end > sent.get(update.key, -math.inf):
                    yield update

    def _tracklet(self, track_id: int, one: _Growing) -> Tracklet:
        return Tracklet(
            self.camera,
            track_id,
            np.array(one.frames, np.int64),
            np.array(one.times, np.float64),
            np.array(one.boxes, np.float32).reshape(-1, 4),
            np.array(one.scores, np.float32),
            one.embedding,
            one.embeddings_count,
            one.weight / one.embeddings_count if one.embeddings_count else 0.0,
            tuple(jpeg for _, _, jpeg in one.crops),
            tuple(time for time, _, _ in one.crops),
            int(np.argmax([quality for _, quality, _ in one.crops])),
            np.array([time for time, _ in one.embeddings], np.float64),
            np.array([row for _, row in one.embeddings], np.float32).reshape(len(one.embeddings), -1 if one.embeddings else 0),
            one.growth,
        )


def _jpeg(crop: np.ndarray, aspect: float) -> bytes:
    height, width = crop.shape[0], crop.shape[1] * aspect
    small = cv2.resize(crop, (max(1, round(width * CROP_HEIGHT / height)), CROP_HEIGHT), interpolation=cv2.INTER_LINEAR)
    return cv2.imencode(".jpg", small[:, : 2 * CROP_HEIGHT], [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()
