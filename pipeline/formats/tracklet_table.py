"""``tracklets.parquet``: one row per tracklet, written when it ends. The metadata hold the schema version."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError, writing
from pipeline.formats.paths import local
from pipeline.formats.tracklet import Tracklet
from pipeline.formats.wall_clock import LIVE

VERSION = 6
READABLE = (1, 2, 3, 4, 5, 6)  # 1 had no single embeddings, 2 no best_crop, 3 other names, 4 no growth, 5 no wall-clock times
RENAMED = {"look_times": "embedding_times", "looks": "embeddings"}  # column names up to version 3
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
        pa.field("embedding_times", pa.list_(pa.float64()), False),
        pa.field("embeddings", pa.list_(pa.list_(pa.float16())), False),
        pa.field("best_crop", pa.int64()),
        pa.field("growth_times", pa.list_(pa.float64())),
        pa.field("growth_weights", pa.list_(pa.float64())),
        pa.field("growth_embeddings", pa.list_(pa.list_(pa.float16()))),
        pa.field("start_wall", pa.timestamp("us", "UTC")),
        pa.field("end_wall", pa.timestamp("us", "UTC")),
    ],
    metadata={
        "passerby.tracklets": str(VERSION),
        "boxes": "x1, y1, x2, y2 in pixels",
        "times": "seconds from the source's start; of live cameras, seconds since 1970",
        "frames": "from 1",
    },
)


def _row(tracklet: Tracklet, began: float | None) -> dict[str, object]:
    return {
        "start_wall": None if began is None else round((began + float(tracklet.times[0])) * 1e6),
        "end_wall": None if began is None else round((began + float(tracklet.times[-1])) * 1e6),
        "camera": tracklet.camera,
        "track": tracklet.track,
        "start_time": float(tracklet.times[0]),
        "end_time": float(tracklet.times[-1]),
        "start_frame": int(tracklet.frames[0]),
        "end_frame": int(tracklet.frames[-1]),
        "boxes_count": len(tracklet.frames),
        "mean_score": float(tracklet.scores.mean()),
        "quality": tracklet.quality,
        "embeddings_count": tracklet.embeddings_count,
        "embedding": None if tracklet.embedding is None else tracklet.embedding.tolist(),
        "frames": tracklet.frames.tolist(),
        "times": tracklet.times.tolist(),
        "boxes": tracklet.boxes.tolist(),
        "scores": tracklet.scores.tolist(),
        "embedding_times": tracklet.embedding_times.tolist(),
        "embeddings": list(tracklet.embeddings.astype(np.float16)),
        "best_crop": tracklet.best_crop,
        "growth_times": list(tracklet.growth.times),
        "growth_weights": list(tracklet.growth.weights),
        "growth_embeddings": list(tracklet.growth.embeddings),
    }


class TrackletTable:
    """Writes the file, one row group per ``flush_at`` tracklets. ``facts`` are added to its metadata.

    ``began``: by camera, seconds since 1970 of its time 0, where they are known.
    """

    def __init__(self, path: Path, facts: dict[str, str], flush_at: int = 256, began: Mapping[str, float] | None = None) -> None:
        self._began = dict(began or {})
        facts = facts | ({"began": json.dumps(self._began)} if self._began else {})
        schema = SCHEMA.with_metadata({**(SCHEMA.metadata or {}), **{key.encode(): value.encode() for key, value in facts.items()}})
        with writing(path):
            self._writer = pq.ParquetWriter(local(path), schema, compression="zstd")
        self._schema, self._flush_at, self._rows = schema, flush_at, []  # type: ignore[var-annotated]

    def add(self, tracklet: Tracklet) -> None:
        began = 0.0 if float(tracklet.times[0]) >= LIVE else self._began.get(tracklet.camera)
        self._rows.append(_row(tracklet, began))
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
    """Read ``tracklets.parquet``, or those of ``columns`` that it has, under the current column names.

    Raises UsageError for another file or an unsupported schema version.
    """
    try:
        names = pq.read_schema(local(path)).names
        table = pq.read_table(
            local(path), columns=None if columns is None else [name for name in names if RENAMED.get(name, name) in columns]
        )
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    version = (table.schema.metadata or {}).get(b"passerby.tracklets")
    if version not in [str(number).encode() for number in READABLE]:
        known = ", ".join(map(str, READABLE))
        raise UsageError(f"{path}: tracklet schema {version.decode() if version else 'unknown'}; supported versions: {known}")
    if not RENAMED.keys() & set(table.column_names):
        return table
    return table.rename_columns([RENAMED.get(name, name) for name in table.column_names]).replace_schema_metadata(table.schema.metadata)


def began_of(table: pa.Table) -> dict[str, float]:
    """By camera, seconds since 1970 of its time 0, where the run knew them."""
    return {str(camera): float(time) for camera, time in json.loads((table.schema.metadata or {}).get(b"began", b"{}")).items()}


def facts_of(table: pa.Table) -> dict[str, str]:
    """Metadata on the re-ID model: ``reid`` (SHA-256), ``slope`` and ``offset`` of its calibration, ``evidence`` weights."""
    metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    return {key: metadata[key] for key in ("reid", "slope", "offset", "evidence", "time_zone") if key in metadata}
