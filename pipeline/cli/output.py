"""What the commands print."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

EXIT_CODES = """Exit codes: 0 all good; 1 finished, but a source failed; 2 usage or configuration; 3 no source could be opened; 4 model invalid; 5 output could not be written; 130/143 ended by a signal, outputs complete so far."""


def say(text: str) -> None:
    print(text, file=sys.stderr)


def report(record: dict[str, Any], out: Path, as_json: bool, quiet: bool) -> None:
    """Say what came of a run: results on standard output, what went wrong on standard error."""
    report_failures(record)
    if as_json:
        print(json.dumps(record, indent=1))
    elif not quiet:
        for name, camera in record["cameras"].items():
            lost = f", {camera['failed']} lost" if camera["failed"] else ""
            skipped = f", {camera['skipped']} skipped" if camera["skipped"] else ""
            print(f"{name}: {camera['tracks']} tracks in {camera['processed']} frames{skipped}{lost}")
        if record["people"]:
            print(people_line(record["people"]))
        timing = record["timing"]
        print(f"{timing['wall_seconds']:.1f} s, {timing['frames_per_second']} frames per second")
        print(f"page: {out / 'index.html'}")
    if record["exit_code"] >= 128:
        say("passerby: stopped by a signal; what is written is complete so far, and --resume goes on from here")


def report_failures(record: dict[str, Any]) -> None:
    for name, message in record["not_opened"].items():
        say(f"passerby: {name}: not opened: {message}")
    for name, camera in record["cameras"].items():
        for text in [*camera["warnings"], *([camera["error"]] if camera["error"] else [])]:
            say(f"passerby: {name}: {text}")


def people_line(counts: dict[str, Any]) -> str:
    several = f", {counts['in_several_cameras']} of them in several cameras" if counts["in_several_cameras"] else ""
    return f"people: {counts['identities']} in {counts['tracklets']} tracks{several}"
