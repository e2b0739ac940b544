"""``passerby store``: import runs, say what is in it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.output import EXIT_CODES

store_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, epilog=EXIT_CODES,
    help="The store of sightings: one file with the tracks, embeddings, identities and events of any number of runs and live cameras.",
)  # fmt: skip

STORE = Annotated[Path, typer.Argument(metavar="STORE", help="A store, or an output folder that has one.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def moment(text: str | None, option: str) -> float | None:
    """A time as seconds since 1970: ISO 8601, local time unless it says its zone. Raises UsageError."""
    from pipeline.errors import UsageError

    if text is None:
        return None
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(f"{option} {text}: expected a date and time such as 2026-11-25T14:30 or 2026-11-25T14:30:00+01:00") from None


def shown(time: float) -> str:
    """Seconds since 1970 as local time."""
    return datetime.fromtimestamp(time).astimezone().isoformat(" ", "seconds")


@store_app.command("import", epilog=EXIT_CODES)
def import_runs(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Output folders of passerby run or passerby associate.")],
    store: Annotated[Path, typer.Option("--store", help="The store; it is made if it does not exist.")] = Path("store.db"),
    began: Annotated[
        list[str] | None,
        typer.Option(metavar="CAMERA=TIME", help="When a camera's video began, 2026-11-25T14:30 for example; may be repeated."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Import finished runs, with their identities and uncertain pairs. Importing a run again changes nothing."""
    from pipeline.errors import UsageError
    from pipeline.jobs.store import import_runs as run_import
    from pipeline.store import FILE, StoreSettings

    times = {}
    for item in began or ():
        camera, sign, text = item.partition("=")
        if not sign:
            raise UsageError(f"--began {item}: expected CAMERA=TIME")
        times[camera] = moment(text, f"--began {camera}") or 0.0
    path = store / FILE if store.is_dir() else store
    done = run_import(path, runs, StoreSettings(), times)
    if as_json:
        print(json.dumps({"sightings": done.sightings, "people": done.people, "without_clock": done.assumed, "store": str(path)}))
        return
    print(f"{done.sightings} sightings of {done.people} people in {path}")
    if done.assumed:
        print(f"without clock time: {', '.join(done.assumed)}; taken to begin when they were processed (--began CAMERA=TIME says better)")


@store_app.command("info", epilog=EXIT_CODES)
def info(store: STORE, as_json: Json = False) -> None:
    """What is in a store: cameras, times, people, pairs to review."""
    from pipeline.store import open_store

    with open_store(store) as opened:
        cameras = opened.sightings.cameras()
        values = {
            "store": str(opened.path), "bytes": opened.path.stat().st_size, "sightings": sum(camera.sightings for camera in cameras),
            "embeddings": opened.vectors.count(), "people": opened.people.count(), "to_review": opened.corrections.open_pairs(),
            "cameras": [{"name": one.name, "sightings": one.sightings, "first": one.first, "last": one.last} for one in cameras],
            "sources": [{"kind": one.kind, "folder": one.folder, "began": one.began} for one in opened.sightings.sources()],
        }  # fmt: skip
    if as_json:
        print(json.dumps(values, indent=1))
        return
    print(f"{values['store']}: {values['sightings']} sightings of {values['people']} people, {values['to_review']} pairs to review")
    for camera in cameras:
        when = f", {shown(camera.first)} to {shown(camera.last or 0)}" if camera.first is not None else ""
        print(f"{camera.name}: {camera.sightings} sightings{when}")


watch_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, epilog=EXIT_CODES,
    help="The watch list: an event when somebody is seen. Off unless store.watch=true; entries expire; all is logged.",
)  # fmt: skip
store_app.add_typer(watch_app, name="watch")
SET = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting, e.g. store.watch=true.")]


@watch_app.command("add", epilog=EXIT_CODES)
def watch_add(
    store: STORE,
    label: Annotated[str, typer.Option(help="What to call the person.")],
    picture: Annotated[list[Path], typer.Option(help="A picture of the person; may be repeated.")],
    days: Annotated[float, typer.Option(help="How long to watch, days.")] = 7.0,
    person: Annotated[int | None, typer.Option(min=1, help="Which person of the picture, from left to right, if it shows several.")] = None,
    set_: SET = None,
) -> None:
    """Watch for somebody."""
    import sys

    from pipeline.config import load_config
    from pipeline.jobs.forget import user
    from pipeline.jobs.search import Gallery, read_pictures
    from pipeline.store import open_store
    from pipeline.store.watch import WatchList

    settings = load_config(None, set_ or ())
    with open_store(store, settings.store) as opened:
        watch, gallery = WatchList(opened), Gallery(opened, settings)
        rows = gallery.embed(read_pictures(gallery, picture, lambda text: print(text, file=sys.stderr)), person)
        one = watch.enrol(label, rows, days, user())
    print(f"{one.id}: {one.label}, until {shown(one.expires)}")


@watch_app.command("list", epilog=EXIT_CODES)
def watch_list(store: STORE, set_: SET = None) -> None:
    """Who is watched for."""
    from pipeline.config import load_config
    from pipeline.store import open_store
    from pipeline.store.watch import WatchList

    with open_store(store, load_config(None, set_ or ()).store) as opened:
        for one in WatchList(opened).all():
            print(f"{one.id}: {one.label}, {one.pictures} pictures, until {shown(one.expires)}, by {one.actor}")


@watch_app.command("remove", epilog=EXIT_CODES)
def watch_remove(store: STORE, number: Annotated[int, typer.Argument(help="Number in the list.")], set_: SET = None) -> None:
    """Watch for somebody no longer."""
    from pipeline.config import load_config
    from pipeline.jobs.forget import user
    from pipeline.store import open_store
    from pipeline.store.watch import WatchList

    with open_store(store, load_config(None, set_ or ()).store) as opened:
        WatchList(opened).remove(number, user())


@store_app.command("export", epilog=EXIT_CODES)
def export(
    store: STORE,
    out: Annotated[Path, typer.Option("-o", "--out", help="New folder for the export.")],
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only from this time on, 2026-11-25T14:30 for example.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only up to this time.")] = None,
    video: Annotated[bool, typer.Option("--video", help="Export the annotated videos too, with everybody in them covered.")] = False,
    set_: SET = None,
) -> None:
    """Export sightings and zone visits under pseudonyms: no names, pictures or embeddings. An erasure reaches the export while it stays where it is."""
    from pipeline.config import load_config
    from pipeline.jobs.export import export as run_export
    from pipeline.jobs.forget import user
    from pipeline.store import Where, open_store

    settings = load_config(None, set_ or ())
    where = Where(tuple(camera) if camera else None, moment(start, "--from"), moment(end, "--to"))
    with open_store(store, settings.store) as opened:
        sightings, videos = run_export(opened, out, where, user(), settings.output, video)
    print(f"{sightings} sightings, {videos} videos in {out}")


@store_app.command("purge", epilog=EXIT_CODES)
def purge(store: STORE, config: Annotated[Path | None, typer.Option(help="Configuration file (YAML).")] = None, set_: SET = None) -> None:
    """Delete what is older than store.keep_* allow. passerby live does it by itself every hour."""
    from pipeline.config import load_config
    from pipeline.store import open_store
    from pipeline.store.retention import purge as run_purge

    settings = load_config(config, set_ or ()).store
    with open_store(store, settings) as opened:
        done = run_purge(opened)
    print(", ".join(f"{kind}: {count}" for kind, count in done.items()) or "nothing is limited: set store.keep_sightings and its like")


@store_app.command("audit", epilog=EXIT_CODES)
def audit(
    store: STORE, limit: Annotated[int, typer.Option(min=1, help="How many entries, newest first.")] = 100, as_json: Json = False
) -> None:
    """Who looked at what, and who changed what."""
    from dataclasses import asdict

    from pipeline.store import open_store

    with open_store(store) as opened:
        entries = opened.audit.query(limit=limit)
    if as_json:
        print(json.dumps([asdict(one) for one in entries], indent=1))
        return
    for one in entries:
        about = " ".join(f"{key}={value}" for key, value in one.data.items())
        print(f"{shown(one.time)}  {one.actor}  {one.action}  {one.subject or ''}  {about}".rstrip())
