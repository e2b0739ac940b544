"""``passerby link``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def link(
    site: Annotated[Path, typer.Option(help="Site file (YAML): its name, links, overlapping views, clock offsets.")],
    source: Annotated[str, typer.Option("--from", metavar="URL", help="Broker to which the edges publish: redis://HOST:PORT/DB.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder; a restart with the same one goes on.")],
    edge: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Wait for this edge before the first decision; may be repeated.")
    ] = None,
    publish: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Publish this site's people to a site above it, as one of its edges; requires --parent."),
    ] = None,
    parent: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the site above.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (YAML).")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting; may be repeated.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the last status as JSON.")] = False,
) -> None:
    """Link people over the edges of a site (passerby live --publish). Ends with SIGINT or SIGTERM. Requires the extra redis."""
    from pipeline.config import load_config
    from pipeline.formats.site_file import load_site
    from pipeline.jobs.link import link as run_link
    from pipeline.jobs.signals import stop_on_signals

    settings = load_config(config, set_ or ())
    with stop_on_signals() as stop:
        status = run_link(load_site(site), source, out, settings, edge or (), stop, publish, parent)
    if as_json:
        print(status.model_dump_json(indent=1))
        return
    for name, one in status.edges.items():
        print(f"{name}: {one.received} messages, {one.doubled} doubled, {one.missing} missing")
    print(
        f"people: {status.people}, {status.events} events in {out}; {status.late} updates too late, {status.refused} refused, {status.lost} lost"
    )
