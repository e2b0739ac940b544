"""``passerby link``: the centre of a site."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.address import Address
from pipeline.centre.service import Centre, CentreStatus
from pipeline.centre.site_linking import SiteLinking
from pipeline.config import Config
from pipeline.errors import writing
from pipeline.formats.site_file import SiteFile
from pipeline.messaging.broker import check, checked_name, connect


def link(site: SiteFile, url: str, out: Path, config: Config, edges: Sequence[str], stopped: Callable[[], bool]) -> CentreStatus:
    """Decide from what the ``site``'s edges publish to ``url`` until ``stopped()``; returns the last status.

    ``edges``: names of those to wait for before the first decision. Raises UsageError for an address that is none, a broker that refuses, and where another centre
    has the site; SourceError where the broker does not answer at the start; OutputError where ``out`` cannot be written.
    """
    expected = [checked_name("edge", name) for name in edges]
    client = connect(url)
    check(client, url)
    linking = SiteLinking(site, config.linker, config.association, expected, config.centre.idle)
    with writing(out):
        centre = Centre(client, Address(url), site.name, linking, out, config.centre)
        centre.run(stopped)
    client.close()
    return centre.status()
