"""Manual corrections of identities (merge, split): a log next to the results, applied again by later runs into the folder."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from pipeline.config import Output
from pipeline.errors import UsageError, writing
from pipeline.identities.erasure import Erasure, Trace, erase_run
from pipeline.identities.recorded import RecordedTracklets
from tracker import Identities
from tracker.linking.updates import Key

log = logging.getLogger(__name__)
LOG = "corrections.jsonl"


class Correction(BaseModel):
    """A line of the log. It names tracklets, because identity numbers can change when runs are added.

    ``merge``: ``tracklets`` are one person. ``split``: ``tracklets`` are one person, ``others`` are not that person. ``forget``: ``tracklets`` are
    erased; earlier versions wrote it, today an erasure is not logged with what was erased.
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
    recorded: RecordedTracklets, identities: Identities, corrections: Sequence[Correction]
) -> tuple[RecordedTracklets, Identities]:
    """Apply ``corrections`` to ``identities``. Forgotten tracklets are erased from their runs and left out of the result. Raises OutputError."""
    if not corrections:
        return recorded, identities
    ids, kept = corrected(identities.ids, recorded.keys, corrections)
    erase(recorded, np.flatnonzero(~kept))
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
    """Erase tracklets from their runs. Raises OutputError."""
    by_run: dict[Path, dict[Key, Trace]] = {}
    for row in rows.tolist():
        path = recorded.tracklets.paths[row] if recorded.tracklets.paths is not None else np.zeros((0, 3))
        for run, name in recorded.places(row):
            key = name, int(recorded.tracklets.tracks[row])
            by_run.setdefault(run, {})[key] = Trace(path[:, 0], recorded.boxes[row])
    for run, traces in by_run.items():
        for note in erase_run(run, Erasure(traces), Output()):
            log.warning("%s", note)
