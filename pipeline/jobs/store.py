"""The store of an output folder: opened, fed from finished runs, imported into."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.identities.corrections import Correction, read_log
from pipeline.identities.recorded import RecordedTracklets
from pipeline.identities.storing import Imported, cameras_of, import_folder, import_run, store_identities, stored_corrections, totals
from pipeline.identities.zone_visits import store_visits
from pipeline.store import FILE, Store, StoreSettings
from pipeline.zones.watch import Visit
from tracker import Identities, Site


def store_of(out: Path, settings: StoreSettings) -> Store:
    """The store that outputs in ``out`` go to, made if there is none. Raises OutputError and UsageError as ``open_store`` does."""
    return Store(settings.path or out / FILE, settings, create=True)


def said_so_far(out: Path, settings: StoreSettings, recorded: RecordedTracklets) -> list[Correction]:
    """All corrections of identities in ``out``, those of its log and those of its store, oldest first."""
    return sorted([*read_log(out), *stored_corrections(settings.path or out / FILE, recorded)], key=lambda one: one.at)


def store_results(
    out: Path,
    settings: StoreSettings,
    runs: Sequence[Path],
    associated: tuple[RecordedTracklets, Identities] | None,
    visits: Sequence[Visit] = (),
    site: Site | None = None,
) -> None:
    """Write ``runs`` and the identities found for them into the store, unless that is switched off. None: nobody was identified.

    ``visits``: of the tracklets in the zones and lines of ``site``.
    """
    if not settings.enabled:
        return
    with store_of(out, settings) as store:
        for run in runs:
            import_run(store, run)
        if associated is not None:
            store_identities(store, out, *associated)
            store_visits(store, associated[0], visits, site or Site())


def import_runs(path: Path, folders: Sequence[Path], settings: StoreSettings, began: Mapping[str, float] | None = None) -> Imported:
    """Import ``folders`` (runs, associations) into the store at ``path``. Raises UsageError for another folder, or another re-ID model."""
    for name in began or {}:
        with_it = [folder for folder in folders if name in cameras_of(folder)]
        if len(with_it) != 1:
            told = "none of these runs has" if not with_it else f"{len(with_it)} of these runs have"
            raise UsageError(f"--began {name}: {told} a camera of this name; import runs one by one to say when each began")
    with Store(path, settings, create=True) as store:
        done = totals([import_folder(store, folder, began) for folder in folders])
        store.audit.log("command", "imported", sightings=done.sightings, folders=len(folders))
        return done
