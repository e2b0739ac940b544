"""Zone visits of recorded tracklets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from pipeline.identities.recorded import RecordedTracklets
from pipeline.store import Store
from pipeline.zones.files import read_visits, remove_zone_files, write_zone_files
from pipeline.zones.people import gaps
from pipeline.zones.watch import Visit, visits_of_tracks
from tracker import Identities, Site


def zone_visits(recorded: RecordedTracklets, site: Site, sizes: Mapping[str, tuple[int, int]] | None = None) -> list[Visit]:
    """The visits of all tracklets in the zones and lines of ``site``. ``sizes``: width and height in px of the cameras' images, if known.

    A camera that several runs share (``run/camera``) has the zones of ``camera``.
    """
    tracks: dict[tuple[str, str], list[tuple[int, np.ndarray, np.ndarray]]] = defaultdict(list)
    for row, (camera, track) in enumerate(recorded.keys):
        paths = recorded.tracklets.paths
        assert paths is not None
        tracks[camera, recorded.names[row]].append((track, paths[row][:, 0], recorded.boxes[row]))
    visits = []
    for (camera, name), mine in tracks.items():
        place = site.cameras.get(camera) or site.cameras.get(name)
        if place is not None:
            visits += visits_of_tracks(camera, place, mine, size=(sizes or {}).get(name))
    return sorted(visits, key=lambda visit: (visit.start, visit.end, visit.camera, visit.track, visit.place))


def write_zones(
    out: Path, recorded: RecordedTracklets, found: Identities, site: Site | None, sizes: Mapping[str, tuple[int, int]] | None = None
) -> list[Visit]:
    """Write the files of the site's zones and lines, and return the visits; without any, remove the files of an earlier run.

    ``site`` None: the visits that ``out`` already has, of the tracklets that still are, with their identities of now. Raises OutputError.
    """
    if site is None:
        kept = read_visits(out)
        if kept is None:
            return []
        visits, spans = kept
    elif not any(place.zones or place.lines for place in site.cameras.values()):
        remove_zone_files(out)
        return []
    else:
        visits, spans = zone_visits(recorded, site, sizes), gaps(site)
    write_zone_files(out, visits, dict(zip(recorded.keys, found.ids.tolist(), strict=True)), spans)
    return visits


def store_visits(store: Store, recorded: RecordedTracklets, visits: Sequence[Visit], site: Site) -> None:
    """Write ``visits`` of ``recorded`` tracklets into the store instead of what it has, on the clock of their sightings: without the site's clock offsets."""
    row_of = {key: row for row, key in enumerate(recorded.keys)}
    sources = {
        run: store.sightings.add_source("run", str(run.resolve()), run.resolve().name, 0.0).id for run in dict.fromkeys(recorded.runs)
    }
    ids = {run: store.sightings.keys_of_source(number) for run, number in sources.items()}
    every = [number for run in sources for number in ids[run].values()]
    with store.writing(), store.db.chosen(every) as chosen:
        for table, also in (("visits", ""), ("events", " AND kind = 'crossed'")):  # of an earlier run into the folder, with other zones
            store.db.connection.execute(f"DELETE FROM {table} WHERE sighting IN (SELECT id FROM {chosen}){also}")
        for visit in visits:
            row = row_of.get((visit.camera, visit.track))
            if row is None:
                continue
            run, name = recorded.runs[row], recorded.names[row]
            sighting = ids[run].get((name, visit.track))
            if sighting is None:
                continue
            place = site.cameras.get(visit.camera) or site.cameras.get(name)
            shift = store.sightings.get(sighting).epoch - (place.offset if place is not None else 0.0)
            if visit.kind == "zone":
                store.sightings.visit(sighting, visit.place, visit.start + shift, visit.end + shift)
            else:
                key = f"{sighting}:{visit.place}:{visit.start + shift:.3f}"
                store.events.add("crossed", visit.start + shift, name, sighting, None, key, place=visit.place, direction=visit.direction)
