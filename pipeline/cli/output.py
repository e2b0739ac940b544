"""Output of the commands: results on standard output, messages to the log (standard error)."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.report.people import Counts
    from pipeline.report.run_record import RunRecord

EXIT_CODES = """Exit codes: 0 success; 1 finished, but a source failed; 2 usage or configuration; 3 no source could be opened; 4 invalid model; 5 output could not be written; 70 internal error; 130/143 ended by a signal, outputs complete so far."""

log = logging.getLogger(__name__)


def report(record: RunRecord, out: Path, as_json: bool, quiet: bool) -> None:
    """Print the results of a run, and log its errors and warnings."""
    from pipeline.report.run_record import segments_line

    report_failures(record)
    if as_json:
        print(json.dumps(record.as_dict(), indent=1))
    elif not quiet:
        for name, camera in record.cameras.items():
            lost = f", {camera.failed} lost" if camera.failed else ""
            skipped = f", {camera.skipped} skipped" if camera.skipped else ""
            began = f", from {camera.began} on ({camera.began_from})" if camera.began else ""
            files = f"; {segments_line(camera.segments)}" if camera.segments else ""
            print(f"{name}: {camera.tracks} tracks in {camera.processed} frames{skipped}{lost}{began}{files}")
        if record.people:
            print(people_line(record.people))
        print(f"{record.timing.wall_seconds:.1f} s, {record.timing.frames_per_second} frames per second")
        print(f"page: {out / 'index.html'}")
    if record.exit_code >= 128:
        log.warning("stopped by a signal; outputs are complete up to this point; --resume continues the run")


def report_failures(record: RunRecord) -> None:
    for name, message in record.not_opened.items():
        log.error("%s: not opened: %s", name, message)
    for name, camera in record.cameras.items():
        for text in camera.warnings:
            log.warning("%s: %s", name, text)
        for file, reason in camera.outputs_failed.items():
            log.error("%s/%s: incomplete: %s", name, file, reason)
        if camera.error:
            log.error("%s: %s", name, camera.error)


def people_line(counts: Counts) -> str:
    several = f", {counts.in_several_cameras} of them in several cameras" if counts.in_several_cameras else ""
    return f"people: {counts.identities} in {counts.tracklets} tracks{several}"
