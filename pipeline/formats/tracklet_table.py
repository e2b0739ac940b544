"""``tracklets.parquet``: one row per tracklet, written as they end, the schema's version in the metadata."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import OutputError, UsageError
from pipeline.formats.tracklet import Tracklet

VERSION = 3
READABLE = (1, 2, 3)  # 1 had no look_times and looks, 2 no best_crop
SCHEMA = pa.schema(
    [
        pa.field("camera", pa.string(), False),
        pa.field("track", pa.int64(), False),
        pa.field("start_time", pa.float64(), False),
        pa.field("end_time", pa.float64(), False),
        pa.field("start_frame", pa.int64(), False),
        pa.field("end_frame", pa.int64(), False),
        pa.field("boxes_count", pa.int64(), False),
        pa.field("mean_score", pa.float32(), False),
        pa.field("quality", pa.float32(), False),
        pa.field("embeddings_count", pa.int64(), False),
        pa.field("embedding", pa.list_(pa.float32())),
        pa.field("frames", pa.list_(pa.int64()), False),
        pa.field("times", pa.list_(pa.float64()), False),
        pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4)), False),
        pa.field("scores", pa.list_(pa.float32()), False),
        pa.field("look_times", pa.list_(pa.float64()), False),
        pa.field("looks", pa.list_(pa.list_(pa.float16())), False),
        pa.field("best_crop", pa.int64()),
    ],
    metadata={
        "passerby.tracklets": str(VERSION),
        "boxes": "x1, y1, x2, y2 in pixels",
        "times": "seconds from the source's start",
        "frames": "from 1",
    },
)


def _row(tracklet: Tracklet) -> dict[str, object]:
    return {
        "camera": tracklet.camera,
        "track": tracklet.track,
        "start_time": float(tracklet.times[0]),
        "end_time": float(tracklet.times[-1]),
        "start_frame": int(tracklet.frames[0]),
        "end_frame": int(tracklet.frames[-1]),
        "boxes_count": len(tracklet.frames),
        "mean_score": float(tracklet.scores.mean()),
        "quality": tracklet.quality,
        "embeddings_count": tracklet.embeddings,
        "embedding": None if tracklet.embedding is None else tracklet.embedding.tolist(),
        "frames": tracklet.frames.tolist(),
        "times": tracklet.times.tolist(),
        "boxes": tracklet.boxes.tolist(),
        "scores": tracklet.scores.tolist(),
        "look_times": tracklet.look_times.tolist(),
        "looks": list(tracklet.looks.astype(np.float16)),
        "best_crop": tracklet.best,
    }


class TrackletTable:
    """The Parquet file, a row group per ``flush_at`` tracklets. ``facts`` goes into its metadata."""

    def __init__(self, path: Path, facts: dict[str, str], flush_at: int = 256) -> None:
        schema = SCHEMA.with_metadata({**(SCHEMA.metadata or {}), **{key.encode(): value.encode() for key, value in facts.items()}})
        try:
            self._writer = pq.ParquetWriter(path, schema, compression="zstd")
        except OSError as error:
            raise OutputError(f"{path}: cannot be written ({error.strerror or error})") from None
        self._schema, self._flush_at, self._rows = schema, flush_at, []  # type: ignore[var-annotated]

    def add(self, tracklet: Tracklet) -> None:
        self._rows.append(_row(tracklet))
        if len(self._rows) >= self._flush_at:
            self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(pa.Table.from_pylist(self._rows, self._schema))
            self._rows = []

    def close(self) -> None:
        self._flush()
        self._writer.close()


def read_tracklets(path: Path, columns: list[str] | None = None) -> pa.Table:
    """Read ``tracklets.parquet``, or those of ``columns`` that it has. Raises UsageError for another file or a schema version this program does not know."""
    try:
        table = pq.read_table(path, columns=None if columns is None else [name for name in columns if name in pq.read_schema(path).names])
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    version = (table.schema.metadata or {}).get(b"passerby.tracklets")
    if version not in [str(number).encode() for number in READABLE]:
        known = " and ".join(map(str, READABLE))
        raise UsageError(f"{path}: tracklet schema {version.decode() if version else 'unknown'}, this program reads {known}")
    return table


def facts_of(table: pa.Table) -> dict[str, str]:
    """What the run wrote of its re-ID model: ``reid``, ``slope``, ``offset``."""
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    return {key: metadata[key] for key in ("reid", "slope", "offset") if key in metadata}
