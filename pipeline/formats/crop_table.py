"""``crops.parquet``: the crops of a run's tracklets, one JPEG per row. The source of training sets and thumbnails."""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError, writing
from pipeline.formats.paths import local
from pipeline.formats.tracklet import Tracklet

Key = tuple[str, int]  # camera and track
SCHEMA = pa.schema(
    [
        pa.field("camera", pa.string(), False),
        pa.field("track", pa.int64(), False),
        pa.field("number", pa.int32(), False),
        pa.field("time", pa.float64(), False),
        pa.field("jpeg", pa.binary(), False),
    ],
    metadata={"passerby.crops": "1", "number": "from 0, in order of time", "time": "seconds from the source's start"},
)
FLUSH_AT = 512  # rows of a row group


class CropTable:
    """Writes the crops of finished tracklets. Raises OutputError if the file cannot be created."""

    def __init__(self, path: Path) -> None:
        with writing(path):
            self._writer = pq.ParquetWriter(local(path), SCHEMA, compression="none")  # JPEG does not compress further
        self._rows: list[dict[str, object]] = []

    def add(self, tracklet: Tracklet) -> None:
        for number, (jpeg, time) in enumerate(zip(tracklet.crops, tracklet.crop_times, strict=True)):
            self._rows.append({"camera": tracklet.camera, "track": tracklet.track, "number": number, "time": time, "jpeg": jpeg})
        if len(self._rows) >= FLUSH_AT:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, SCHEMA))
            self._rows = []

    def close(self) -> None:
        self._flush()
        self._writer.close()


def read_crops(path: Path) -> Iterator[tuple[Key, float, bytes]]:
    """(camera, track), seconds and JPEG of each crop, in file order; nothing if the file does not exist.

    Raises UsageError for a file that is not a crop table.
    """
    if not path.is_file():
        return
    try:
        with pq.ParquetFile(local(path)) as file:
            for batch in file.iter_batches(256, columns=["camera", "track", "time", "jpeg"]):
                for row in batch.to_pylist():
                    yield (row["camera"], row["track"]), row["time"], row["jpeg"]
    except (OSError, KeyError, pa.ArrowInvalid) as error:
        raise UsageError(f"{path}: not a readable crop table ({str(error).splitlines()[0]})") from None


def best_crops(path: Path, best: Mapping[Key, int]) -> dict[Key, str]:
    """Base64 JPEG of the crop whose number, from 0 in time order, is ``best`` of each tracklet. Raises UsageError as ``read_crops`` does."""
    found, seen = dict[Key, str](), dict[Key, int]()
    for key, _, jpeg in read_crops(path):
        number = seen[key] = seen.get(key, -1) + 1
        if best.get(key) == number:
            found[key] = base64.b64encode(jpeg).decode()
    return found


def copy_crops(path: Path, into: Path, keys: Collection[Key]) -> None:
    """Copy the crops of ``keys`` from ``path`` to ``into``, which may be the same file. Raises OSError if it cannot be written."""
    if not path.is_file():
        return
    scratch = into.with_suffix(".new")
    with pq.ParquetWriter(local(scratch), SCHEMA, compression="none") as writer, pq.ParquetFile(local(path)) as file:
        for batch in file.iter_batches(256):
            rows = [row for row in batch.to_pylist() if (row["camera"], row["track"]) in keys]
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, SCHEMA))
    scratch.replace(into)
