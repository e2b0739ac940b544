"""``passerby associate`` and ``passerby identities``: identities over finished runs, and corrections by hand."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from pipeline.config import Config
from pipeline.engine.cameras import CameraSpec
from pipeline.engine.without_effect import check_site
from pipeline.errors import OutputError, UsageError, writing
from pipeline.identities import live_folder
from pipeline.identities.corrections import Correction, append, apply_corrections, corrected
from pipeline.identities.live_folder import is_live
from pipeline.identities.recorded import RecordedTracklets, identify, read_runs
from pipeline.identities.replay import link, write_events
from pipeline.identities.results import read_identities, write_identities
from pipeline.identities.storing import store_identities
from pipeline.identities.zone_visits import write_zones
from pipeline.jobs.run import Request, run, write_record
from pipeline.jobs.store import said_so_far, store_of, store_results
from pipeline.report.page import write_page
from pipeline.report.people import Counts, People, counts, people
from pipeline.report.run_record import RunRecord
from pipeline.store import FILE, StoreSettings
from tracker import Event, Identities, Site
from tracker.linking.updates import Key

logger = logging.getLogger(__name__)


def associate_runs(runs: list[Path], out: Path, site: Site, config: Config, online: bool = False) -> Counts:
    """Associate the tracklets of ``runs`` and write their identities to ``out``.

    ``online``: replay through the online linker, and write its events to ``events.jsonl``. Raises UsageError if a run has no tracklets or
    another re-ID model, OutputError if ``out`` cannot be written.
    """
    recorded = read_runs(runs, growth=online)
    if config.reading.time_zone is not None:
        recorded = replace(recorded, time_zone=config.reading.time_zone)
    for text in check_site(site, recorded.tracklets.cameras.tolist()):
        logger.warning("%s", text)
    corrections = said_so_far(out, config.store, recorded)
    events: list[Event] = []
    if online:
        found, events = link(recorded, site, config.linker, config.association)
    else:
        found = identify(recorded, site, config.association)
    recorded, found = apply_corrections(recorded, found, corrections)
    write_identities(out, recorded, found)
    visits = write_zones(out, recorded, found, site)
    if online:
        write_events(out / "events.jsonl", events)
    store_results(out, config.store, runs, (recorded, found), visits, site)
    return _finish_association(out, recorded, found)


def given_run(specs: list[CameraSpec], config: Config, out: Path, site: Site) -> RunRecord:
    """Run on given tracks, without annotated video, for association with other runs."""
    return run(Request(specs, config.changed(output=config.output.changed(video=False)), out, site=site))


def _finish_association(out: Path, recorded: RecordedTracklets, found: Identities) -> Counts:
    numbers = counts(found, recorded)
    runs = ", ".join(dict.fromkeys(str(run) for run in recorded.runs))
    with writing(out):
        write_page(out / "index.html", [], {"runs": runs, **numbers.model_dump()}, people(recorded, found))
    return numbers


def correct(out: Path, make: Callable[[list[Key], np.ndarray], Correction], settings: StoreSettings | None = None) -> Counts:
    """Log the correction that ``make`` returns for (tracklets, identities), and rewrite the results in ``out``, its store too.

    Raises UsageError if ``out`` has no identities or the correction does not fit them, OutputError if ``out`` cannot be written.
    """
    if is_live(out) and not (out / "identities.parquet").is_file():
        return _correct_live(out, make)
    recorded, found = read_identities(out)
    correction = make(recorded.keys, found.ids)
    append(out, correction)
    recorded, found = apply_corrections(recorded, found, [correction])
    write_identities(out, recorded, found)
    write_zones(out, recorded, found, None)
    if (out / FILE).is_file():
        with store_of(out, settings or StoreSettings()) as store:
            store_identities(store, out, recorded, found)
    return refresh_page(out, (recorded, found))


def refresh_page(out: Path, associated: tuple[RecordedTracklets, Identities] | None) -> Counts:
    """Write the page in ``out`` anew, and the counts in its ``run.json``; None: of a run without identities.

    Raises UsageError for a damaged ``run.json``, OutputError if something cannot be read or written.
    """
    if not (out / "run.json").is_file():
        assert associated is not None
        return _finish_association(out, *associated)
    try:
        record = RunRecord.model_validate_json((out / "run.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be read ({error.strerror or error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{out / 'run.json'}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    if associated is None:
        write_record(out, record, People())
        return Counts(tracklets=0, identities=0, in_several_cameras=0, uncertain_pairs=0)
    recorded, found = associated
    numbers = counts(found, recorded)
    write_record(out, record.model_copy(update={"people": numbers}), people(recorded, found))
    return numbers


def _correct_live(out: Path, make: Callable[[list[Key], np.ndarray], Correction]) -> Counts:
    """Log a correction for the process that writes into ``out``, or the next one that will."""
    keys, ids = live_folder.read_identities(out)
    if not len(ids):
        raise UsageError(f"{out}: no identities yet")
    correction = make(keys, ids)
    append(out, correction)
    ids, kept = corrected(ids, keys, [correction])
    names = [{camera for (camera, _), number in zip(keys, ids.tolist(), strict=True) if number == one} for one in np.unique(ids[kept])]
    return Counts(
        identities=len(names), tracklets=int(kept.sum()), in_several_cameras=sum(len(one) > 1 for one in names), uncertain_pairs=0
    )  # fmt: skip
