"""``passerby forget``: erase people, times, cameras or zones from a store and from every file that it was made of."""

from __future__ import annotations

import getpass
import json
import logging
import os
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from pipeline.config import Output
from pipeline.errors import OutputError, UsageError, writing
from pipeline.formats.shred import shred
from pipeline.identities.corrections import Correction, append
from pipeline.identities.erasure import Erasure, Trace, erase_run, filter_corrections, filter_events
from pipeline.identities.recorded import RecordedTracklets
from pipeline.identities.results import read_identities, runs_of, write_identities
from pipeline.identities.storing import import_folder, linked_stores
from pipeline.jobs.associate import refresh_page
from pipeline.live.state import forget as forget_linked
from pipeline.store import FILE, Sighting, Source, Store, StoreSettings, Where, open_store
from pipeline.store.exports import erase_from_exports
from pipeline.zones.files import ZONE_FILES, read_visits, write_zone_files
from tracker import Identities
from tracker.linking.updates import Key

log = logging.getLogger(__name__)
LONGEST_CLIP = 60.0  # seconds before or after its event that a clip shows at most
PATIENCE = 60.0  # seconds that live cameras have to let go


@dataclass(frozen=True)
class Forgotten:
    """What an erasure did: how many sightings and people are gone, which folders were rewritten, and what their user should know."""

    sightings: int
    people: int
    folders: tuple[str, ...]
    notes: tuple[str, ...]


def user() -> str:
    """Who runs this process, for the audit log."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user without a name, as in containers
        return f"uid {os.getuid()}"


def forget(place: Path, where: Where, actor: str, settings: StoreSettings, output: Output, numbers: Iterable[int] = ()) -> Forgotten:
    """Erase the sightings of ``where`` from the store at ``place`` (a store, or an output folder), its runs, their videos, and exports.

    ``numbers``: people as the folder's ``identities.csv`` numbers them. A choice of time or camera alone takes the whole picture out of the videos, since
    not everybody in it was tracked. The erasure is logged, without what was erased. Raises UsageError where nothing is chosen or known, OutputError if a
    file cannot be written, or a reader keeps the store's WAL from being emptied.
    """
    if where == Where() and not list(numbers):
        raise UsageError("nothing chosen: give --person, --track, --camera, --from, --to or --zone")
    temporary = place.is_dir() and not (place / FILE).is_file()
    try:
        if temporary:  # results without a store, of an earlier version
            with Store(place / FILE, settings, create=True) as made:
                import_folder(made, place)
        with open_store(place, settings) as store:
            return _forget(store, place, where, actor, output, list(numbers), temporary)
    finally:
        if temporary:
            for name in (FILE, f"{FILE}-wal", f"{FILE}-shm"):
                shred(place / name)


def _forget(store: Store, place: Path, where: Where, actor: str, output: Output, numbers: list[int], without_store: bool) -> Forgotten:
    if numbers:
        where = Where(where.cameras, where.start, where.end, where.zone, tuple(_numbered(store, place, numbers)), where.sightings)
    chosen = store.sightings.query(where)
    by_source: dict[int, list[Sighting]] = defaultdict(list)
    for sighting in chosen:
        by_source[sighting.source].append(sighting)
    sources = {source.id: source for source in store.sightings.sources()}
    whole_pictures = where.identities is None and where.sightings is None and where.zone is None
    notes, touched, people = list[str](), list[str](), store.people.count()
    for number, source in sources.items():
        mine = by_source[number]
        spans = _spans(store, source, where) if whole_pictures else {}
        if source.folder is None or not (mine or spans):
            continue
        folder, keys = Path(source.folder), {(one.camera, one.track) for one in mine}
        if not folder.is_dir():
            notes.append(f"{folder}: is not there any more; nothing could be erased in it")
            continue
        if source.kind == "live":
            notes += _forget_live(store, source, folder, mine, output, tell=without_store)
        else:
            erasure = Erasure({(one.camera, one.track): _trace(store, one) for one in mine}, spans)
            before = _associations(sources.values(), folder)  # as they are while the run still has the tracks
            notes += erase_run(folder, erasure, output)
            for result, found in before.items():
                _rewrite(result, *found, folder, keys)
                touched.append(str(result))
            if not before and (folder / "index.html").is_file():
                refresh_page(folder, None)
        touched.append(str(folder))
        for other in linked_stores(folder):
            if other.resolve() != store.path.resolve():
                notes += _forget_elsewhere(other, source, keys, actor)
    notes += erase_from_exports(store, [one.id for one in chosen])
    with store.writing():
        gone = store.remove(one.id for one in chosen)
        _forget_events(store, where, whole_pictures)
        lost = people - store.people.count()
        store.audit.log(actor, "erased", sightings=gone, people=lost, chosen_by=_chosen_by(where))
    if not store.scrub():
        raise OutputError(
            f"{store.path}: erased, but a program that reads the store keeps its old pages in {store.path.name}-wal; end it and forget again"
        )
    for number, source in sources.items():
        for camera in sorted({one.camera for one in by_source[number]}) if source.folder and source.kind == "run" else ():
            if text := _input_of(source, camera):
                notes.append(f"{text}: the source of {camera} is yours and was not touched")
    return Forgotten(gone, lost, tuple(dict.fromkeys(touched)), tuple(dict.fromkeys(notes)))


def _numbered(store: Store, place: Path, numbers: Iterable[int]) -> list[int]:
    """Identities of the store for numbers in a folder's ``identities.csv``. Raises UsageError for unknown ones."""
    folder = str((place if place.is_dir() else place.parent).resolve())
    source = next((one.id for one in store.sightings.sources() if one.folder == folder), None)
    out = []
    for number in numbers:
        identity = None if source is None else store.people.numbered(source, number)
        if identity is None:
            raise UsageError(f"no identity {number} in {place}; it has {store.people.count()}")
        out.append(identity)
    return out


def _trace(store: Store, sighting: Sighting) -> Trace:
    path = store.sightings.path(sighting.id)
    if not len(path.times) and sighting.boxes:  # no longer kept: the whole picture, while it lasts
        times = np.array([sighting.start, sighting.end]) - sighting.epoch
        return Trace(times, np.array([[0, 0, 1e5, 1e5]] * 2))
    return Trace(path.times - sighting.epoch, path.boxes.astype(np.float64))


def _spans(store: Store, source: Source, where: Where) -> dict[str, list[tuple[float, float]]]:
    """By camera of a source, the seconds that a choice by time and camera covers."""
    rows = store.db.rows("SELECT c.name, f.epoch FROM feeds f JOIN cameras c ON c.id = f.camera WHERE f.source = ?", (source.id,))
    low, high = where.start if where.start is not None else -np.inf, where.end if where.end is not None else np.inf
    return {camera: [(low - epoch, high - epoch)] for camera, epoch in rows if where.cameras is None or camera in where.cameras}


def _associations(sources: Iterable[Source], run: Path) -> dict[Path, tuple[RecordedTracklets, Identities]]:
    """The results, beside the store's other sources, that are about a run, as they are before it changes."""
    out = {}
    for folder in dict.fromkeys([run, *(Path(source.folder) for source in sources if source.folder)]):
        if (folder / "identities.parquet").is_file() and run.resolve() in {one.resolve() for one in runs_of(folder)}:
            out[folder] = read_identities(folder, missing_ok=True)
    return out


def _rewrite(out: Path, recorded: RecordedTracklets, found: Identities, run: Path, keys: set[Key]) -> None:
    """Write results anew without the tracks ``keys`` of ``run``."""
    kept = np.array(
        [
            all(folder.resolve() != run.resolve() or (name, track) not in keys for folder, name in recorded.places(row))
            for row, track in enumerate(recorded.tracklets.tracks.tolist())
        ],
        bool,
    )
    gone = {key for key, left in zip(recorded.keys, kept.tolist(), strict=True) if not left}
    place, rows = np.cumsum(kept) - 1, np.flatnonzero(kept)
    sure = kept[found.uncertain].all(1) if len(found.uncertain) else np.zeros(0, bool)
    left = Identities(found.ids[rows], found.confidence[rows], place[found.uncertain[sure]].reshape(-1, 2), found.odds[sure])
    for name in ("identities.parquet", "identities.csv", "uncertain.csv", "index.html"):
        shred(out / name)
    zones = read_visits(out)
    for name in ZONE_FILES:
        shred(out / name)
    for sheet in (out / "people").glob("[0-9][0-9][0-9][0-9][0-9].jpg"):
        shred(sheet)
    for text in out.glob("*/tracks.global.txt"):
        shred(text)
    lost = set(found.ids.tolist()) - set(left.ids.tolist())
    filter_events(out / "events.jsonl", gone, lost)
    write_identities(out, recorded.take(rows), left, recorded.folders)
    if zones is not None:
        write_zone_files(out, zones[0], dict(zip(recorded.take(rows).keys, left.ids.tolist(), strict=True)), zones[1])
    refresh_page(out, (recorded.take(rows), left))


def _forget_live(store: Store, source: Source, folder: Path, mine: list[Sighting], output: Output, tell: bool) -> list[str]:
    """Erase tracks from what live cameras wrote; a process that runs is asked to let go of them first. Raises OutputError if it does not.

    ``tell``: it has no store to be asked through, so that the log of corrections asks it.
    """
    keys, notes = {(one.camera, one.track) for one in mine}, list[str]()
    if store.is_fed(source.id):
        store.want_erased(source.id, keys)
        until = time.monotonic() + PATIENCE
        while store.wanted_erased(source.id) and store.is_fed(source.id):
            if time.monotonic() > until:
                raise OutputError(f"{folder}: passerby live runs there and does not let go of what is to be erased; nothing was erased")
            time.sleep(0.1)
    store.erased(source.id)
    running = store.is_fed(source.id)
    with writing(folder):
        if not running and (note := forget_linked(folder / "linker.state", keys, time.time())):
            notes.append(note)
        for path in sorted(folder.glob("events-*.jsonl"))[: -1 if running else None]:
            filter_events(path, keys)
        filter_corrections(folder / "corrections.jsonl", keys)
        if tell and keys:
            append(folder, Correction(kind="forget", at=datetime.now(UTC), tracklets=tuple(sorted(keys))))
        notes += _forget_clips(folder / "clips", mine)
    traces = {(one.camera, one.track): _trace(store, one) for one in mine}
    for segment in sorted((folder / "segments").glob("*")):
        if segment.suffix == ".open" and running:
            continue  # begun after the process let go
        if segment.suffix == ".open" and tell:
            notes.append(
                f"{segment}: is open; the process that writes it erases when it closes it. If none runs, start one and forget again"
            )
            continue
        notes += erase_run(segment, Erasure({key: trace for key, trace in traces.items() if _is_in(segment, key)}), output)
    return notes


def _forget_clips(clips: Path, mine: list[Sighting]) -> list[str]:
    """Delete the clips of tracks, and those of their cameras that may show them: a clip is what the camera sent, and stays as it is or goes."""
    notes = []
    for path in sorted(clips.glob("*.mp4")):
        stamp, _, rest = path.stem.partition("-")
        camera, _, track = rest.rpartition("-")
        try:
            at = datetime.strptime(stamp, "%Y%m%dT%H%M%S").replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
        theirs = [one for one in mine if one.camera == camera]
        if any(str(one.track) == track for one in theirs):
            shred(path)
        elif any(one.start - LONGEST_CLIP <= at <= one.end + LONGEST_CLIP for one in theirs):
            shred(path)
            notes.append(f"{path}: this clip of somebody else may show the erased person and is deleted")
    return notes


def _is_in(segment: Path, key: Key) -> bool:
    """Whether a segment may hold a track: a tracklet has a contact sheet, an interrupted segment holds what it holds."""
    return segment.suffix != "" or (segment / "people" / f"{key[0]}-{key[1]:05d}.jpg").is_file()


def _forget_elsewhere(path: Path, source: Source, keys: set[Key], actor: str) -> list[str]:
    """Erase a run's tracks from another store that it was imported into."""
    if not path.is_file():
        return []
    with open_store(path) as store:
        there = next((one for one in store.sightings.sources() if one.folder == source.folder), None)
        if there is None:
            return []
        known = store.sightings.keys_of_source(there.id)
        ids = [known[key] for key in keys if key in known]
        notes = erase_from_exports(store, ids)
        if gone := store.remove(ids):
            store.audit.log(actor, "erased", sightings=gone, chosen_by="another store of the same run")
        return [
            *notes,
            *(
                []
                if store.scrub()
                else [f"{path}: erased, but a program that reads it keeps old pages in its WAL; end it and forget again"]
            ),
        ]


def _forget_events(store: Store, where: Where, whole: bool) -> None:
    """A choice by time and camera takes that time's events too, those without a sighting."""
    if not whole:
        return
    with store.db.writing() as db:
        for event in store.events.query(where.start, where.end, where.cameras):
            if event.kind not in ("camera_state", "session"):
                db.execute("DELETE FROM events WHERE id = ?", (event.id,))


def _chosen_by(where: Where) -> list[str]:
    names: Mapping[str, object] = {
        "person": where.identities, "track": where.sightings, "camera": where.cameras, "time": where.start if where.start is not None else where.end, "zone": where.zone,
    }  # fmt: skip
    return [name for name, value in names.items() if value is not None]


def _input_of(source: Source, camera: str) -> str | None:
    """The video that a run was made of."""
    try:
        record = json.loads((Path(source.folder or "") / "run.json").read_text(encoding="utf-8"))
        return str(record["cameras"][camera]["path"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
