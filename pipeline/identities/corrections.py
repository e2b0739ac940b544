"""Manual corrections of identities (merge, split, forget): a log next to the results, applied again by later runs into the folder."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.errors import UsageError, writing
from pipeline.formats.crop_table import copy_crops
from pipeline.formats.paths import local
from pipeline.formats.tracklet_table import SCHEMA, read_tracklets
from pipeline.identities.recorded import RecordedTracklets
from tracker import Identities
from tracker.linking.updates import Key

LOG = "corrections.jsonl"


class Correction(BaseModel):
    """A line of the log. It names tracklets, because identity numbers can change when runs are added.

    ``merge``: ``tracklets`` are one person. ``split``: ``tracklets`` are one person, ``others`` are not that person. ``forget``: embeddings
    and images of ``tracklets`` are erased.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["merge", "split", "forget"]
    at: datetime
    tracklets: tuple[Key, ...]
    others: tuple[Key, ...] = ()


def rows_of(identity: int, ids: np.ndarray) -> np.ndarray:
    """Rows of an identity. Raises UsageError if it does not exist."""
    rows = np.flatnonzero(ids == identity)
    if not len(rows):
        raise UsageError(f"no identity {identity}; see the {len(np.unique(ids))} identities in identities.csv")
    return rows


def merge(keys: Sequence[Key], ids: np.ndarray, identities: Sequence[int]) -> Correction:
    """Raises UsageError for an unknown identity, and for fewer than two."""
    if len(set(identities)) < 2:
        raise UsageError("expected at least two identities to merge")
    rows = np.concatenate([rows_of(identity, ids) for identity in dict.fromkeys(identities)])
    return Correction(kind="merge", at=datetime.now(UTC), tracklets=tuple(keys[row] for row in rows.tolist()))


def split(keys: Sequence[Key], ids: np.ndarray, identity: int, tracklets: Sequence[Key]) -> Correction:
    """Raises UsageError for a tracklet of another identity, and if no tracklet would be left."""
    mine = [keys[row] for row in rows_of(identity, ids).tolist()]
    for camera, track in tracklets:
        if (camera, track) not in mine:
            raise UsageError(
                f"{camera}:{track} is not a track of identity {identity}; its tracks: {', '.join(f'{c}:{t}' for c, t in mine)}"
            )
    others = tuple(key for key in mine if key not in tracklets)
    if not others:
        raise UsageError(f"identity {identity} has no other tracks: nothing to split")
    return Correction(kind="split", at=datetime.now(UTC), tracklets=tuple(dict.fromkeys(tracklets)), others=others)


def forget(keys: Sequence[Key], ids: np.ndarray, identities: Sequence[int]) -> Correction:
    """Raises UsageError for an unknown identity."""
    rows = np.concatenate([rows_of(identity, ids) for identity in dict.fromkeys(identities)])
    return Correction(kind="forget", at=datetime.now(UTC), tracklets=tuple(keys[row] for row in rows.tolist()))


def read_log(folder: Path) -> list[Correction]:
    """The corrections of a folder, oldest first. Raises UsageError naming an invalid line."""
    path = folder / LOG
    if not path.is_file():
        return []
    out = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            out.append(Correction.model_validate_json(line))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "line"
            raise UsageError(f"{path}:{number}: {where}: {first['msg']}; expected a correction written by passerby") from None
    return out


def append(folder: Path, correction: Correction) -> None:
    with writing(folder / LOG), (folder / LOG).open("a", encoding="utf-8") as file:
        file.write(correction.model_dump_json() + "\n")


def apply_corrections(
    recorded: RecordedTracklets, identities: Identities, log: Sequence[Correction]
) -> tuple[RecordedTracklets, Identities]:
    """Apply the ``log`` to ``identities``. Forgotten tracklets are erased from their runs and left out of the result. Raises OutputError."""
    if not log:
        return recorded, identities
    ids, kept = corrected(identities.ids, recorded.keys, log)
    left = [row for row in np.flatnonzero(~kept).tolist() if recorded.tracklets.embeddings[row].any() or recorded.sheet(row).is_file()]
    erase(recorded, np.array(left, np.int64))
    place = np.cumsum(kept) - 1
    apart = np.array([kept[a] and kept[b] and ids[a] != ids[b] for a, b in identities.uncertain.tolist()], bool)
    rows = np.flatnonzero(kept)
    return recorded.take(rows), Identities(
        ids[rows], identities.confidence[rows], place[identities.uncertain[apart]].reshape(-1, 2), identities.odds[apart]
    )


def corrected(ids: np.ndarray, keys: Sequence[Key], log: Sequence[Correction]) -> tuple[np.ndarray, np.ndarray]:
    """(n,) identities after the ``log``, and (n,) bool: the rows that are not forgotten. Unknown tracklets in the log are ignored."""
    ids, kept = ids.copy(), np.ones(len(ids), bool)
    place = {key: row for row, key in enumerate(keys)}
    for correction in log:
        rows = np.array([place[key] for key in correction.tracklets if key in place], np.int64)
        if not len(rows):
            continue
        if correction.kind == "merge":
            ids[np.isin(ids, ids[rows])] = ids[rows].min()
        elif correction.kind == "split":
            others = np.array([place[key] for key in correction.others if key in place], np.int64)
            if np.isin(ids[rows], ids[others]).any():
                ids[rows] = ids.max() + 1
        else:
            kept[rows] = False
    return ids, kept


def erase(recorded: RecordedTracklets, rows: np.ndarray) -> None:
    """Erase embeddings and images of tracklets from their runs. Boxes and video stay. Raises OutputError."""
    by_run: dict[Path, set[Key]] = {}
    for row in rows.tolist():
        for run, name in recorded.places(row):
            by_run.setdefault(run, set()).add((name, int(recorded.tracklets.tracks[row])))
    for run, gone in by_run.items():
        erase_from(run, gone)


def erase_from(run: Path, gone: Collection[Key]) -> None:
    """Erase embeddings and images of the tracklets ``gone``, by their names there, from a run. Boxes and video stay. Raises OutputError."""
    with writing(run):
        path = run / "tracklets.parquet"
        table = read_tracklets(path)
        columns = table.to_pylist()
        found = {(row["camera"], row["track"]) for row in columns}
        if not found & set(gone):
            return
        for row in columns:
            if (row["camera"], row["track"]) in gone:
                row.update(embedding=None, embeddings_count=0, embedding_times=[], embeddings=[])
                row.update(growth_times=[], growth_weights=[], growth_embeddings=[])
        schema = SCHEMA.with_metadata(table.schema.metadata) if "embeddings" in table.column_names else table.schema
        scratch = path.with_suffix(".new")
        pq.write_table(pa.Table.from_pylist(columns, schema), local(scratch), compression="zstd")
        scratch.replace(path)
        copy_crops(run / "crops.parquet", run / "crops.parquet", found - set(gone))
        for camera, track in sorted(found & set(gone)):
            (run / "people" / f"{camera}-{track:05d}.jpg").unlink(missing_ok=True)
