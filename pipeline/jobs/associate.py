"""``passerby associate`` and ``passerby identities``: identities over finished runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.config import Config
from pipeline.engine.cameras import CameraSpec
from pipeline.errors import OutputError
from pipeline.identities.corrections import Correction, Key, append, read_log, respect
from pipeline.identities.recorded import Recorded, identify, read_runs
from pipeline.identities.replay import link, write_events
from pipeline.identities.results import read_identities, write_identities
from pipeline.jobs.run import Request, _write_record, execute
from pipeline.report.page import write_page
from pipeline.report.people import people, summary
from tracker import Event, Identities, Site


def associate_runs(runs: list[Path], out: Path, site: Site, config: Config, online: bool = False) -> dict[str, Any]:
    """``passerby associate``: identities over the tracklets of runs, written to ``out``; returns their counts.

    ``online``: as the linker says while the cameras run, its events in ``events.jsonl``. Raises UsageError where a run has no
    tracklets or another re-ID model, OutputError where ``out`` cannot be written.
    """
    log, recorded = read_log(out), read_runs(runs, looks=online)
    events: list[Event] = []
    if online:
        found, events = link(recorded, site, config.linker, config.association)
    else:
        found = identify(recorded, site, config.association)
    recorded, found = respect(recorded, found, log)
    write_identities(out, recorded, found)
    if online:
        write_events(out / "events.jsonl", events)
    return _finish_association(out, recorded, found)


def given_run(specs: list[CameraSpec], config: Config, out: Path, site: Site) -> dict[str, Any]:
    """A run of tracks that are there already, without annotated video, for association with others; returns its record."""
    return execute(Request(specs, config.model_copy(update={"output": config.output.model_copy(update={"video": False})}), out, site=site))


def _finish_association(out: Path, recorded: Recorded, found: Identities) -> dict[str, Any]:
    counts = summary(recorded, found)
    runs = ", ".join(dict.fromkeys(str(run) for run in recorded.runs))
    try:
        write_page(out / "index.html", [], {"runs": runs, **counts}, *people(recorded, found))
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be written ({error.strerror or error})") from None
    return counts


def correct(out: Path, say: Callable[[list[Key], np.ndarray], Correction]) -> dict[str, Any]:
    """``passerby identities``: log the correction that ``say`` makes of (tracklets, identities), and write ``out`` anew; returns counts.

    Raises UsageError where ``out`` has no identities or the correction does not fit them, OutputError where it cannot be written.
    """
    recorded, found = read_identities(out)
    correction = say(recorded.keys, found.ids)
    append(out, correction)
    recorded, found = respect(recorded, found, [correction])
    write_identities(out, recorded, found)
    if not (out / "run.json").is_file():
        return _finish_association(out, recorded, found)
    counts = summary(recorded, found)
    try:
        record = json.loads((out / "run.json").read_text(encoding="utf-8")) | {"people": counts}
    except OSError as error:
        raise OutputError(f"{error.filename or out}: cannot be read ({error.strerror or error})") from None
    _write_record(out, record, *people(recorded, found))
    return counts
