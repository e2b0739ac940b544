"""``passerby search``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.store import STORE, moment, shown

if TYPE_CHECKING:
    from pipeline.store.search import Found, Hit, Threshold


def search(
    store: STORE,
    picture: Annotated[list[Path] | None, typer.Option(help="A picture of the person; may be repeated, for one person.")] = None,
    track: Annotated[str | None, typer.Option(metavar="CAMERA:TRACK", help="A track of the person, as in identities.csv.")] = None,
    person: Annotated[int | None, typer.Option(min=1, help="Which person of the picture, from left to right, if it shows several.")] = None,
    camera: Annotated[list[str] | None, typer.Option(help="Only this camera; may be repeated.")] = None,
    start: Annotated[
        str | None, typer.Option("--from", metavar="TIME", help="Only from this time on, 2026-11-25T14:30 for example.")
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="TIME", help="Only up to this time.")] = None,
    zone: Annotated[str | None, typer.Option(help="Only people who were in this zone.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many sightings to print.")] = 20,
    detector: Annotated[str | None, typer.Option(help="Detector that finds people in pictures.")] = None,
    reid: Annotated[str | None, typer.Option(help="Re-ID model; it must be that of the store.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (YAML).")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting, e.g. store.false_positive_rate=0.001.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Where else was somebody seen? Search a store by pictures or by a track. The search is logged."""
    from pipeline.config import load_config
    from pipeline.errors import UsageError
    from pipeline.jobs.forget import user
    from pipeline.jobs.search import Gallery, search_pictures, search_track
    from pipeline.store import Where, open_store

    if bool(picture) == (track is not None):
        raise UsageError("give either --picture FILE or --track CAMERA:TRACK")
    settings = load_config(config, set_ or (), {"detector.model": detector, "reid.model": reid})
    where = Where(tuple(camera) if camera else None, moment(start, "--from"), moment(end, "--to"), zone)

    def say(text: str) -> None:
        print(text, file=sys.stderr)

    with open_store(store, settings.store) as opened:
        if track is not None:
            found = search_track(opened, track, where, top, user(), say)
        else:
            found = search_pictures(Gallery(opened, settings), picture or [], person, where, top, user(), say)
        names = {one.id: one.name for one in opened.people.query(Where(identities=tuple({h.sighting.identity or 0 for h in found.hits})))}
    if as_json:
        print(json.dumps(values_of(found, names), indent=1))
        return
    print(
        f"{len(found.matches) or 'nobody here'} match{'' if len(found.matches) > 1 else 'es'} of {found.compared} sightings ({meaning(found.threshold)})"
    )
    for hit in found.matches:
        print("  " + line(hit, names))
    if found.others:
        print("less likely:")
    for hit in found.others:
        print("  " + line(hit, names))


def meaning(threshold: Threshold) -> str:
    """What a match means."""
    if not threshold.probes:
        return f"P(same) >= {threshold.probability:.2f}: too few people to measure how often a match is wrong"
    return (
        f"P(same) >= {threshold.probability:.2f}: of searches for somebody who is not there {threshold.false_positive_rate:.1%} report a match, "
        f"measured by searches for {threshold.probes} people of this store"
    )


def line(hit: Hit, names: dict[int, str | None]) -> str:
    one = hit.sighting
    who = "nobody yet" if one.identity is None else f"person {one.identity}" + (f" ({name})" if (name := names.get(one.identity)) else "")
    when = shown(one.start) if one.clock == "wall" else f"{one.start - one.epoch:.1f} s into its video"
    return f"P {min(hit.probability, 0.999):.3f}  {one.name}  {when}, {one.end - one.start:.0f} s  {who}"


def values_of(found: Found, names: dict[int, str | None]) -> dict[str, object]:
    """A search as JSON."""
    hits = [
        {
            "probability": round(hit.probability, 4), "match": hit.match, "camera": hit.sighting.camera, "track": hit.sighting.track,
            "start": hit.sighting.start, "end": hit.sighting.end, "clock": hit.sighting.clock, "identity": hit.sighting.identity,
            "name": names.get(hit.sighting.identity or 0), "sighting": hit.sighting.id, "source": hit.sighting.source,
        }
        for hit in found.hits
    ]  # fmt: skip
    threshold = found.threshold
    return {
        "nobody": found.nobody, "compared": found.compared, "threshold": round(threshold.probability, 4),
        "false_positive_rate": threshold.false_positive_rate if threshold.probes else None, "probes": threshold.probes, "hits": hits,
    }  # fmt: skip
