"""Finished runs and their identities into the store."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow.parquet as pq

from pipeline.errors import UsageError, writing
from pipeline.formats.crop_table import read_crops
from pipeline.formats.paths import local
from pipeline.formats.tracklet import Tracklet
from pipeline.formats.tracklet_table import RENAMED, facts_of, read_tracklets
from pipeline.identities.corrections import Correction
from pipeline.identities.live_folder import is_live
from pipeline.identities.live_folder import read_identities as read_live
from pipeline.identities.recorded import RecordedTracklets, check_cameras
from pipeline.identities.results import read_identities, runs_of
from pipeline.store import FILE, Store, Where, open_store
from pipeline.store.records import ClockKind
from tracker import Identities
from tracker.linking.evidence import probability
from tracker.linking.updates import Key

log = logging.getLogger(__name__)
COLUMNS = [
    "camera", "track", "start_time", "quality", "embeddings_count", "embedding", "frames", "times", "boxes", "scores", "best_crop", "start_wall",
]  # fmt: skip
LINKS = "stores.txt"
KINDS: dict[str, Literal["merge", "split"]] = {"same": "merge", "moved": "split", "different": "split"}
BATCH = 256  # tracklets in a transaction
SINCE_1970 = 1e9  # times from here on are wall time, those of live cameras


@dataclass(frozen=True)
class Imported:
    """What an import wrote. ``assumed``: cameras without wall-clock times, whose runs were taken to begin when they were made."""

    sightings: int
    people: int
    assumed: tuple[str, ...] = ()


def import_folder(store: Store, folder: Path, began: Mapping[str, float] | None = None) -> Imported:
    """Import a run, the runs that an association names, or what live cameras wrote, with identities and uncertain pairs. An import done twice changes nothing.

    ``began``: seconds since 1970 of second 0, by camera, for videos without wall-clock times. Raises UsageError for another folder, and if its
    embeddings are of another re-ID model than those of the store.
    """
    if not (folder / "identities.parquet").is_file():
        return import_live(store, folder) if is_live(folder) else import_run(store, folder, began)
    recorded, found = read_identities(folder)
    done = totals([import_run(store, run, began) for run in recorded.folders])
    store_identities(store, folder, recorded, found)
    return replace(done, people=len(np.unique(found.ids)))


def import_run(store: Store, run: Path, began: Mapping[str, float] | None = None) -> Imported:
    """Import the tracklets of a run, without identities. Sightings of an earlier run into that folder leave the store."""
    path = run / "tracklets.parquet"
    if not path.is_file():
        raise UsageError(f"{run}: no tracklets.parquet; expected the output folder of passerby run or passerby associate")
    record = _record(run)
    link_store(run, store.path)
    source = store.sightings.add_source("run", str(run.resolve()), run.resolve().name, made_at(run, record)).id
    written, assumed = _import_tracklets(store, source, run, began or {}, record)
    store.remove(set(store.sightings.of_source(source)) - written)
    return Imported(len(written), 0, tuple(assumed))


def import_live(store: Store, folder: Path) -> Imported:
    """Import the closed segments of live cameras, and the identities that their events tell."""
    link_store(folder, store.path)
    source = store.sightings.add_source("live", str(folder.resolve()), folder.resolve().name, datetime.now(UTC).timestamp()).id
    written: set[int] = set()
    for segment in sorted((folder / "segments").glob("*")):
        if not segment.suffix and (segment / "tracklets.parquet").is_file():
            written |= _import_tracklets(store, source, segment, {}, {})[0]
    keys, ids = read_live(folder)
    known = store.sightings.keys_of_source(source)
    store.people.assign(source, ((known[key], int(number), 0.5) for key, number in zip(keys, ids.tolist(), strict=True) if key in known))
    return Imported(len(written), len(np.unique(ids)))


def _import_tracklets(
    store: Store, source: int, run: Path, began: Mapping[str, float], record: Mapping[str, Any]
) -> tuple[set[int], list[str]]:
    """Write the tracklets and crops of a run or a segment; returns their sightings, and the cameras without wall-clock times."""
    path = run / "tracklets.parquet"
    head = read_tracklets(path, ["camera"])
    check_cameras(path, sorted(set(head["camera"].to_pylist())))
    store.use_model(facts_of(head), str(run))
    feeds, assumed = dict[str, tuple[int, float]](), list[str]()
    written: dict[Key, tuple[int, int, float]] = {}  # sighting, best crop, epoch
    for batch in _batches(path):
        with store.writing():
            for row in batch:
                camera = row["camera"]
                if camera not in feeds:
                    epoch, clock = _epoch(row, began.get(camera), made_at(run, record))
                    if clock == "assumed":
                        assumed.append(camera)
                    feeds[camera] = store.sightings.feed(source, camera, epoch, clock, video_of(run, camera), _size(record, camera)), epoch
                number, epoch = feeds[camera]
                sighting = store.sightings.add(source, number, _tracklet(row))
                written[camera, row["track"]] = sighting, row.get("best_crop") or 0, epoch
    for key, crops in _crops(run / "crops.parquet"):
        if key in written:
            sighting, best, epoch = written[key]
            store.sightings.add_crops(sighting, [jpeg for _, jpeg in crops], [time + epoch for time, _ in crops], best)
    return {one for one, _, _ in written.values()}, assumed


def store_identities(store: Store, folder: Path, recorded: RecordedTracklets, found: Identities) -> None:
    """Write the identities that an association into ``folder`` found for sightings that are in the store, and its uncertain pairs."""
    source = store.sightings.add_source("other", str(folder.resolve()), folder.resolve().name, datetime.now(UTC).timestamp()).id
    places = [recorded.places(row) for row in range(len(recorded.keys))]  # a live camera's track may lie in several segments
    runs = {run: store.sightings.add_source("run", str(run.resolve()), run.resolve().name, 0.0).id for run in recorded.folders}
    known = {run: store.sightings.keys_of_source(number) for run, number in runs.items()}
    parts_of = [
        [one for run, name in parts if (one := known[run].get((name, track))) is not None]
        for parts, track in zip(places, recorded.tracklets.tracks.tolist(), strict=True)
    ]
    ids = [parts[0] if parts else None for parts in parts_of]
    with store.writing():
        store.people.assign(
            source,
            (
                (one, int(number), float(confidence))
                for parts, number, confidence in zip(parts_of, found.ids, found.confidence, strict=True)
                for one in parts
            ),
        )
        store.corrections.suspect(
            (one, other, float(chance))
            for (a, b), chance in zip(found.uncertain.tolist(), probability(found.odds).tolist(), strict=True)
            if (one := ids[a]) is not None and (other := ids[b]) is not None
        )


def cameras_of(folder: Path) -> set[str]:
    """The cameras of a run, or of the runs that an association names."""
    runs = runs_of(folder) if (folder / "identities.parquet").is_file() else [folder]
    paths = [run / "tracklets.parquet" for run in runs]
    return {name for path in paths if path.is_file() for name in read_tracklets(path, ["camera"])["camera"].to_pylist()}


def stored_corrections(path: Path, recorded: RecordedTracklets) -> list[Correction]:
    """What people said in the store at ``path``, if there is one, about tracks of ``recorded``: what was taken back is left out."""
    if not path.is_file():
        return []
    place = {(str(run.resolve()), name, int(track)): key for run, name, track, key in zip(
        recorded.runs, recorded.names, recorded.tracklets.tracks, recorded.keys, strict=True)}  # fmt: skip
    out = []
    with open_store(path) as store:
        folders = {source.id: source.folder for source in store.sightings.sources()}
        for said in store.corrections.all():
            if said.undone is not None or said.kind not in KINDS:
                continue
            sides = []
            for side in (said.sightings, said.others):
                found = store.sightings.query(Where(sightings=side))
                sides.append([key for one in found if (key := place.get((str(folders[one.source]), one.camera, one.track))) is not None])
            mine, others = sides
            if said.kind == "same":
                mine, others = [*mine, *others], []
            elif said.kind == "different":
                mine, others = others, mine  # the later of both was moved out
            if mine:
                out.append(
                    Correction(
                        kind=KINDS[said.kind], at=datetime.fromtimestamp(said.time, UTC), tracklets=tuple(mine), others=tuple(others)
                    )
                )
    return out


def made_at(run: Path, record: Mapping[str, Any]) -> float:
    """When a run was made, seconds since 1970: as ``run.json`` has it, else by the age of its tracklets."""
    try:
        return datetime.fromisoformat(record["began"]).timestamp()
    except (KeyError, TypeError, ValueError):
        return (run / "tracklets.parquet").stat().st_mtime


def link_store(folder: Path, store: Path) -> None:
    """Note in a folder that its tracks are in a store elsewhere, so that an erasure finds them there too. Raises OutputError."""
    place = str(store.resolve())
    if store.resolve().parent == folder.resolve() or place in {str(one) for one in linked_stores(folder)}:
        return
    with writing(folder / LINKS), (folder / LINKS).open("a", encoding="utf-8") as file:
        file.write(place + "\n")


def linked_stores(folder: Path) -> list[Path]:
    """The stores that a folder's tracks are in: its own, and those noted."""
    noted = (folder / LINKS).read_text(encoding="utf-8").splitlines() if (folder / LINKS).is_file() else []
    return [one for one in (folder / FILE, *map(Path, noted)) if one.is_file()]


def video_of(run: Path, camera: str) -> str | None:
    """The annotated video of a camera, below the run's folder."""
    return f"{camera}/video.mp4" if (run / camera / "video.mp4").is_file() else None


def _record(run: Path) -> dict[str, Any]:
    try:
        record = json.loads((run / "run.json").read_text(encoding="utf-8"))
        return record if isinstance(record, dict) else {}
    except (OSError, ValueError):
        return {}


def _size(record: Mapping[str, Any], camera: str) -> tuple[int, int] | None:
    about = record.get("cameras", {}).get(camera)
    return (about["width"], about["height"]) if isinstance(about, dict) and about.get("width") else None


def _epoch(row: Mapping[str, Any], given: float | None, made: float) -> tuple[float, ClockKind]:
    """Seconds since 1970 at second 0 of a camera, and whether that is known."""
    if given is not None:
        return given, "wall"
    if row["times"][0] >= SINCE_1970:
        return 0.0, "wall"
    if row.get("start_wall") is not None:
        return row["start_wall"].timestamp() - row["start_time"], "wall"
    return made, "assumed"


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    with pq.ParquetFile(local(path)) as file:
        columns = [name for name in file.schema_arrow.names if RENAMED.get(name, name) in COLUMNS]
        for batch in file.iter_batches(BATCH, columns=columns):
            yield [{RENAMED.get(name, name): value for name, value in row.items()} for row in batch.to_pylist()]


def _tracklet(row: Mapping[str, Any]) -> Tracklet:
    embedding = None if row["embedding"] is None else np.array(row["embedding"], np.float32)
    return Tracklet(
        row["camera"], row["track"], np.array(row["frames"], np.int64), np.array(row["times"], np.float64),
        np.array(row["boxes"], np.float32).reshape(-1, 4), np.array(row["scores"], np.float32), embedding, row["embeddings_count"], row["quality"],
        (), (), 0, np.zeros(0), np.zeros((0, 0), np.float32),
    )  # fmt: skip


def _crops(path: Path) -> Iterator[tuple[Key, list[tuple[float, bytes]]]]:
    """The crops of each tracklet: they lie together."""
    for key, rows in groupby(read_crops(path), key=lambda row: row[0]):
        yield key, [(time, jpeg) for _, time, jpeg in rows]


def totals(done: Sequence[Imported]) -> Imported:
    """Of several imports."""
    return Imported(
        sum(one.sightings for one in done),
        sum(one.people for one in done),
        tuple(dict.fromkeys(name for one in done for name in one.assumed)),
    )
