"""``passerby link``: the centre of a site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from pipeline.address import Address
from pipeline.centre.service import Centre, CentreStatus
from pipeline.centre.site_linking import SiteLinking
from pipeline.config import Config
from pipeline.errors import UsageError, writing
from pipeline.formats.site_file import SiteFile
from pipeline.messaging.broker import check, checked_name, connect
from pipeline.messaging.messages import ModelFacts
from pipeline.messaging.publisher import Publisher


def link(
    site: SiteFile,
    url: str,
    out: Path,
    config: Config,
    edges: Sequence[str],
    stopped: Callable[[], bool],
    publish: str | None = None,
    parent: str | None = None,
) -> CentreStatus:
    """Decide from what the ``site``'s edges publish to ``url`` until ``stopped()``; returns the last status.

    ``edges``: names of those to wait for before the first decision. ``publish``, ``parent``: address of a broker and name of a site there of which this one
    is an edge. Raises UsageError for an address that is none, a broker that refuses, and where another centre
    has the site; SourceError where the broker does not answer at the start; OutputError where ``out`` cannot be written.
    """
    expected = [checked_name("edge", name) for name in edges]
    client = connect(url)
    check(client, url)
    linking = SiteLinking(site, config.linker, config.association, expected, config.centre.idle)
    above: Callable[[ModelFacts | None], Publisher] | None = None
    if publish is not None:
        if parent is None or parent == site.name:
            raise UsageError("--publish requires --parent NAME, the name of the site above, which is another than this one's")
        connect(publish).close()
        above = partial(Publisher, publish, checked_name("--parent", parent), site.name, out / "spool", settings=config.publish)
    with writing(out):
        centre = Centre(client, Address(url), site.name, linking, out, config.centre, above)
        centre.run(stopped)
    client.close()
    return centre.status()
