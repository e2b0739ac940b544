"""``passerby forget``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.store import STORE, moment

if TYPE_CHECKING:
    from pipeline.jobs.forget import Forgotten


def forget(
    store: STORE,
    person: Annotated[
        list[int] | None, typer.Option(help="A person: its number in the store, or in identities.csv of a folder. May be repeated.")
    ] = None,
    track: Annotated[list[str] | None, typer.Option(metavar="CAMERA:TRACK", help="A single track; may be repeated.")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="Only what this camera saw; alone: all of it.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only from this time on, 2026-11-25T14:30 for example.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only up to this time.")] = None,
    zone: Annotated[str | None, typer.Option(help="Only people who were in this zone.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (YAML).")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Erase every byte of people, times, cameras or zones: from the store, the runs it was made of, their videos, and exports. There is no way back."""
    from pipeline.config import load_config
    from pipeline.errors import UsageError
    from pipeline.jobs.forget import forget as run_forget
    from pipeline.jobs.forget import user
    from pipeline.store import FILE, Where, open_store

    settings = load_config(config, set_ or ())
    where = Where(tuple(camera) if camera else None, moment(start, "--from"), moment(end, "--to"), zone)
    numbers = list(person or ())
    sightings: list[int] = []
    for text in track or ():
        name, sign, number = text.rpartition(":")
        if not sign or not number.isdigit():
            raise UsageError(f"--track {text}: expected CAMERA:TRACK, as in identities.csv")
        with open_store(store, settings.store) as opened:
            found = opened.sightings.find(name, int(number))
            if not found:
                raise UsageError(f"--track {text}: no such track in {opened.path}")
            sightings += [one.id for one in found]
    if sightings:
        where = Where(where.cameras, where.start, where.end, where.zone, None, tuple(sightings))
    if numbers and not (store.is_dir() and (store / "identities.csv").is_file()):  # numbers of the store itself
        with open_store(store / FILE if store.is_dir() else store, settings.store) as opened:
            for one in numbers:
                opened.people.get(one)
        where = Where(where.cameras, where.start, where.end, where.zone, tuple(numbers), where.sightings)
        numbers = []
    report_forgotten(run_forget(store, where, user(), settings.store, settings.output, numbers), as_json)


def report_forgotten(done: Forgotten, as_json: bool = False) -> None:
    """Print what was erased."""
    if as_json:
        values = {"sightings": done.sightings, "people": done.people, "folders": done.folders, "notes": done.notes}
        print(json.dumps(values, indent=1))
        return
    for note in done.notes:
        print(note, file=sys.stderr)
    print(f"erased: {done.sightings} sightings, {done.people} people")
    for folder in done.folders:
        print(f"rewritten: {folder}")
