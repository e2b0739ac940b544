"""The journal of a run: the output of the models, step by step, so that ``--resume`` gives the same tracks after any interruption.

A step takes one frame of each camera that has not ended. Its record holds each camera's detections and computed embeddings;
replaying it through the tracker is exact and needs no inference. An incomplete last record is dropped.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from detectors import Detections
from pipeline.engine.step import Step
from pipeline.errors import UsageError

MAGIC = b"passerby journal 1\n"
_HEAD = struct.Struct("<II")


def _pack(step: Step) -> bytes:
    """A line of JSON, with [camera, frame index, detections, embeddings, dimension] per camera, then the arrays' bytes."""
    heads, parts = [], []
    for camera, index in step.frames.items():
        found, by_row = step.detections[camera], step.embeddings.get(camera, {})
        embeddings = np.stack(list(by_row.values())) if by_row else np.zeros((0, 0), np.float32)
        heads.append([camera, index, len(found), *embeddings.shape])
        parts += [found.boxes.tobytes(), found.scores.tobytes(), np.array(list(by_row), np.int64).tobytes(), embeddings.tobytes()]
    return json.dumps(heads).encode() + b"\n" + b"".join(parts)


def _unpack(data: bytes) -> Step:
    line, _, rest = data.partition(b"\n")
    step, at = Step(), 0

    def take(kind: type[np.generic], *shape: int) -> np.ndarray:
        nonlocal at
        array = np.frombuffer(rest, kind, math.prod(shape), at).reshape(shape)
        at += array.nbytes
        return array

    for camera, index, count, embedded, dimension in json.loads(line):
        step.frames[camera] = index
        step.detections[camera] = Detections(take(np.float32, count, 4), take(np.float32, count))
        rows, embeddings = take(np.int64, embedded), take(np.float32, embedded, dimension)
        step.embeddings[camera] = dict(zip(rows.tolist(), embeddings, strict=True))
    return step


class Journal:
    """Append-only records, each with its length and CRC. ``key`` identifies the run; a journal of another key cannot be resumed."""

    def __init__(self, path: Path, key: str, resume: bool) -> None:
        self.path = path
        head = MAGIC + key.encode() + b"\n"
        self._replay: BinaryIO | None = None
        self._end = len(head)
        if resume and path.exists():
            with path.open("rb") as file:
                if file.read(len(MAGIC)) != MAGIC or file.readline() != key.encode() + b"\n":
                    raise UsageError(
                        f"{path}: written by a run with other sources, models or settings; use the same ones, or run without --resume"
                    )
                self._end = _valid_end(file)
            self._replay = path.open("rb")
            self._replay.seek(len(head))
        else:
            path.write_bytes(head)
        self._file = path.open("r+b", buffering=0)  # unbuffered: close has nothing to write that could fail
        self._file.truncate(self._end)
        self._file.seek(self._end)

    def replay(self) -> Step | None:
        """The next recorded step, or None after the last one."""
        if self._replay is None or self._replay.tell() >= self._end:
            return None
        size, _ = _HEAD.unpack(self._replay.read(_HEAD.size))
        return _unpack(self._replay.read(size))

    def write(self, step: Step) -> None:
        data = _pack(step)
        self._file.write(_HEAD.pack(len(data), zlib.crc32(data)) + data)

    def close(self, remove: bool) -> None:
        """Close the file, and delete it if ``remove``: the run is complete."""
        self._file.close()
        if self._replay is not None:
            self._replay.close()
        if remove:
            self.path.unlink(missing_ok=True)


def _valid_end(file: BinaryIO) -> int:
    """Offset after the last complete record, from the file's position on."""
    while True:
        end = file.tell()
        head = file.read(_HEAD.size)
        if len(head) < _HEAD.size:
            return end
        size, crc = _HEAD.unpack(head)
        data = file.read(size)
        if len(data) < size or zlib.crc32(data) != crc:
            return end
