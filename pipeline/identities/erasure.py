"""Erasure of tracks from the files of a run, a segment or live cameras: tables, pictures, text, journal, video."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.config import Output
from pipeline.errors import OutputError, writing
from pipeline.formats.crop_table import copy_crops
from pipeline.formats.paths import for_ffmpeg, local
from pipeline.formats.shred import rewritten, shred
from pipeline.sinks.annotated_video import TIME_BASE, encoder
from tracker.linking.updates import Key

log = logging.getLogger(__name__)
AROUND = 1.0  # seconds before and after a track in which its person is taken to be where it began and ended
MARGIN, LABEL = 0.15, 24  # of a box's size, and px above it for its label


@dataclass(frozen=True, eq=False)
class Trace:
    """Where a track was: ``times`` (n,) seconds of the source, ascending, ``boxes`` (n, 4) x1, y1, x2, y2 px."""

    times: np.ndarray
    boxes: np.ndarray

    @classmethod
    def nowhere(cls) -> Trace:
        """Of a track that no video shows."""
        return cls(np.zeros(0), np.zeros((0, 4)))


@dataclass(frozen=True, eq=False)
class Erasure:
    """What is erased from a folder: ``tracks`` by camera and track; ``spans`` by camera: seconds of the source of which nothing is left in the video."""

    tracks: Mapping[Key, Trace]
    spans: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)

    @property
    def cameras(self) -> list[str]:
        return sorted({camera for camera, _ in self.tracks} | set(self.spans))


def erase_run(folder: Path, erasure: Erasure, settings: Output) -> list[str]:
    """Erase tracks from the folder of a run or a segment; returns what its user should know. Identities are the business of ``write_identities``.

    Raises OutputError if a file cannot be written.
    """
    keys, notes = set(erasure.tracks), list[str]()
    with writing(folder):
        if not _filter_table(folder / "tracklets.parquet", keys):
            notes.append(f"{folder}: tracklets.parquet was of an interrupted run and could not be read; it is deleted")
        crops = folder / "crops.parquet"
        if crops.is_file():
            try:
                kept = {
                    (row["camera"], row["track"]) for row in pq.read_table(local(crops), columns=["camera", "track"]).to_pylist()
                } - keys
                with rewritten(crops) as scratch:
                    copy_crops(crops, scratch, kept)
            except pa.ArrowInvalid:
                shred(crops)
                notes.append(f"{folder}: crops.parquet was of an interrupted run and could not be read; it is deleted")
        for camera, track in keys:
            shred(folder / "people" / f"{camera}-{track:05d}.jpg")
        for camera in erasure.cameras:
            mine = {track for name, track in keys if name == camera}
            text = folder / camera / "tracks.txt"
            if text.is_file() and mine:
                filter_lines(text, lambda line, mine=mine: _track_of(line) not in mine)  # type: ignore[misc]
            for video in sorted((folder / camera).glob("*.mp4")):
                traces = [trace for (name, _), trace in erasure.tracks.items() if name == camera]
                if not blank(video, traces, erasure.spans.get(camera, ()), settings):
                    notes.append(f"{video}: was not finished and cannot be read; it is deleted")
        filter_events(folder / "events.jsonl", keys)
        filter_corrections(folder / "corrections.jsonl", keys)
        if shred(folder / "journal.bin"):
            notes.append(
                f"{folder}: was interrupted; its journal held the erased person and is deleted, so --resume no longer continues it"
            )
    return notes


def _filter_table(path: Path, keys: set[Key]) -> bool:
    """Drop the rows of ``keys``; False if the file cannot be read and was deleted."""
    if not path.is_file():
        return True
    try:
        source = pq.ParquetFile(local(path))
    except pa.ArrowInvalid:
        shred(path)
        return False
    with source, rewritten(path) as scratch, pq.ParquetWriter(local(scratch), source.schema_arrow, compression="zstd") as writer:
        for batch in source.iter_batches(256):
            names, tracks = batch.column("camera").to_pylist(), batch.column("track").to_pylist()
            left = pa.array([key not in keys for key in zip(names, tracks, strict=True)])
            writer.write_table(pa.Table.from_batches([batch.filter(left)], source.schema_arrow))
    return True


def filter_lines(path: Path, keep: Callable[[str], bool]) -> None:
    """Rewrite a text file with the lines to keep."""
    if not path.is_file():
        return
    with rewritten(path) as scratch, path.open(encoding="utf-8") as lines, scratch.open("w", encoding="utf-8") as file:
        file.writelines(line for line in lines if keep(line))


def filter_events(path: Path, keys: set[Key], people: set[int] = frozenset()) -> None:  # type: ignore[assignment]
    """Drop the events of tracks ``keys`` and of ``people``, all of whose tracks are erased, and other events' reasons that name them."""
    if not path.is_file():
        return
    with rewritten(path) as scratch, path.open(encoding="utf-8") as lines, scratch.open("w", encoding="utf-8") as file:
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:  # the torn last line of a crash
                continue
            if (event.get("camera"), event.get("track")) in keys or event.get("identity") in people or event.get("other") in people:
                continue
            reasons = event.get("reasons") or {}
            if (reasons.get("camera"), reasons.get("track")) in keys:
                event["reasons"] = {}
                line = json.dumps(event) + "\n"
            file.write(line)


def filter_corrections(path: Path, keys: set[Key]) -> None:
    """Drop tracks from the log of corrections. A correction of which none is left stays as a line that says nothing: running cameras count the lines."""
    if not path.is_file():
        return
    with rewritten(path) as scratch, path.open(encoding="utf-8") as lines, scratch.open("w", encoding="utf-8") as file:
        for line in lines:
            values: dict[str, Any] = json.loads(line)
            for side in ("tracklets", "others"):
                values[side] = [key for key in values.get(side, []) if tuple(key) not in keys]
            if not values["tracklets"]:
                values["kind"] = "merge"  # of nobody
            file.write(json.dumps(values) + "\n")


def _track_of(line: str) -> int:
    parts = line.split(",", 2)
    return int(parts[1]) if len(parts) > 2 else -1


def blank(video: Path, traces: Sequence[Trace], spans: Sequence[tuple[float, float]], settings: Output) -> bool:
    """Fill where ``traces`` are, with their labels and trails, and whole pictures of ``spans``, with one colour; False: no video, and deleted.

    A second more on both ends, as a track begins later than its person comes. The video is encoded anew. Raises OutputError.
    """
    if not traces and not spans:
        return True
    first = min([float(trace.times[0]) for trace in traces if len(trace.times)] + [span[0] for span in spans], default=np.inf) - AROUND
    try:
        container = av.open(for_ffmpeg(video))
    except (av.error.InvalidDataError, av.error.EOFError):
        shred(video)
        return False
    try:
        with (
            container,
            rewritten(video) as scratch,
            av.open(for_ffmpeg(scratch), "w", format="mp4", options={"movflags": "+faststart"}) as out,
        ):
            stream = container.streams.video[0]
            codec = encoder(settings.video_crf)
            target: Any = out.add_stream(codec.name, rate=stream.average_rate, options=codec.options)
            target.width, target.height, target.pix_fmt = stream.width, stream.height, "yuv420p"
            target.codec_context.time_base = TIME_BASE
            for frame in container.decode(stream):
                time = float(frame.time or 0.0)
                if time >= first:
                    image = frame.to_ndarray(format="bgr24")
                    if any(start <= time <= end for start, end in spans):
                        image[:] = 128
                    for trace in traces:
                        for box in covered(trace, time, settings.trail):
                            fill(image, box)
                    changed = av.VideoFrame.from_ndarray(image, format="bgr24")
                else:
                    changed = frame.reformat(format="yuv420p")
                changed.pts, changed.time_base = round(time / TIME_BASE), TIME_BASE
                for packet in target.encode(changed):
                    out.mux(packet)
            for packet in target.encode(None):
                out.mux(packet)
    except av.error.FFmpegError as error:
        raise OutputError(f"{video}: cannot be read or written anew ({error}); the person is still in it") from None
    return True


def covered(trace: Trace, time: float, trail: float) -> list[np.ndarray]:
    """What shows a track at ``time``: boxes x1, y1, x2, y2 px around the person with the label, and along the trail of the feet."""
    if not len(trace.times) or not trace.times[0] - AROUND <= time <= trace.times[-1] + max(AROUND, trail):
        return []
    out = []
    if time <= trace.times[-1] + AROUND:
        now = min(max(time, trace.times[0]), trace.times[-1])
        after = int(np.searchsorted(trace.times, now))
        box = np.array([np.interp(now, trace.times, trace.boxes[:, side]) for side in range(4)])
        near = trace.boxes[max(after - 1, 0) : after + 1]  # between two sights the person may be anywhere between both boxes
        box = np.r_[np.minimum(box[:2], near[:, :2].min(0)), np.maximum(box[2:], near[:, 2:].max(0))]
        size = box[2:] - box[:2]
        out.append(np.r_[box[:2] - MARGIN * size - [0, LABEL], box[2:] + MARGIN * size])
    drawn = (trace.times >= time - trail - AROUND) & (trace.times <= time + AROUND)
    feet = np.c_[(trace.boxes[drawn, 0] + trace.boxes[drawn, 2]) / 2, trace.boxes[drawn, 3]]
    out += [np.r_[np.minimum(a, b) - 4, np.maximum(a, b) + 4] for a, b in pairwise(feet)]
    return out


def fill(image: np.ndarray, box: np.ndarray) -> None:
    """One colour over a box of an image, in place: what a blur leaves can be sharpened again."""
    height, width = image.shape[:2]
    x1, y1 = np.floor(box[:2]).clip(0, [width, height]).astype(int)
    x2, y2 = np.ceil(box[2:]).clip(0, [width, height]).astype(int)
    if x2 > x1 and y2 > y1:
        image[y1:y2, x1:x2] = image[y1:y2, x1:x2].reshape(-1, 3).mean(0).astype(np.uint8)
