"""``passerby live`` and ``probe``: from a site file to a running service."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import detectors
from pipeline.config import Config
from pipeline.engine.cameras import RESERVED
from pipeline.errors import SourceError, UsageError, writing
from pipeline.formats.paths import is_safe_name
from pipeline.formats.site_file import CameraEntry, SiteFile
from pipeline.live.newest import Reader
from pipeline.live.service import LiveRun
from pipeline.live.status import LiveStatus
from pipeline.sources.mailbox import Arrivals
from pipeline.sources.paced_file import PacedFileReader
from pipeline.sources.stream import StreamOptions, StreamReader, with_credentials
from reid import Embedder


def live(
    site: SiteFile, config: Config, out: Path, status_port: int | None, stopped: Callable[[], bool], duration: float | None = None
) -> LiveStatus:
    """Run the site's cameras until ``stopped()`` or for ``duration`` seconds; returns the last status.

    Raises UsageError for a site without cameras or a password that is not there, ModelError, and OutputError.
    """
    entries = check_cameras(site)
    if not entries:
        raise UsageError("the site file has no camera with a url")
    detector = detectors.load_detector(settings=config.detector)
    embedder = None if config.reid.model == "none" else Embedder(settings=config.reid)

    def readers(arrivals: Arrivals) -> Mapping[str, Reader]:
        return {name: reader(name, entry, config, arrivals) for name, entry in entries.items()}

    with writing(out):
        run = LiveRun(readers, config, out, site, detector, embedder, status_port)
        run.run(stopped, duration)
    return run.status()


def check_cameras(site: SiteFile) -> dict[str, CameraEntry]:
    """The cameras that have a url, by name. Opens none of them.

    Raises UsageError for a name that cannot be a folder's and for a password that is not there, SourceError for an address that is none.
    """
    entries = {name: entry for name, entry in site.cameras.items() if entry.url}
    for name, entry in entries.items():
        if not is_safe_name(name) or name.lower() in RESERVED:
            raise UsageError(f"camera {name[:60]!r}: not usable as a folder's name; expected letters, digits, '_', '-' and '.'")
        try:
            secret = password(name, entry)
            if entry.address.is_url:
                with_credentials(entry.address.raw, entry.user, secret)
            elif not Path(entry.address.raw).exists():
                raise SourceError(f"{entry.address}: no such file; a stream's address begins with rtsp, rtsps, http or https")
        except SourceError as error:
            raise SourceError(f"camera {name}: {error}") from None
    return entries


def reader(name: str, entry: CameraEntry, config: Config, arrivals: Arrivals) -> Reader:
    """The reader of a camera. Raises UsageError for a password that is not there, SourceError for an address that is none."""
    address = entry.address
    if not address.is_url:
        return PacedFileReader(name, address.raw, arrivals)
    settings = config.live
    options = StreamOptions(
        entry.transport,
        settings.open_timeout,
        settings.stall,
        entry.rate,
        entry.verify,
        None if entry.ca_file is None else str(entry.ca_file),
    )
    return StreamReader(name, with_credentials(address.raw, entry.user, password(name, entry)), options, arrivals)


def password(name: str, entry: CameraEntry) -> str | None:
    """From the environment or a file. Raises UsageError where it is not there."""
    if entry.password_env is not None:
        if entry.password_env not in os.environ:
            raise UsageError(f"camera {name}: password_env: the environment variable {entry.password_env} is not set")
        return os.environ[entry.password_env]
    if entry.password_file is not None:
        try:
            return entry.password_file.read_text(encoding="utf-8").strip("\n")
        except OSError as error:
            raise UsageError(f"camera {name}: password_file {entry.password_file}: not readable ({error.strerror})") from None
    return None


def probe(url: str, user: str | None, password_env: str | None, transport: str, timeout: float) -> dict[str, Any]:
    """Open a stream, once, and wait up to ``timeout`` seconds for a frame. Raises UsageError and SourceError as ``reader`` does."""
    if transport not in ("tcp", "udp"):
        raise UsageError(f"--transport {transport}: tcp or udp")
    if password_env is not None and user is None:
        raise UsageError("--password-env requires --user")
    entry = CameraEntry(url=url, user=user, password_env=password_env, transport=transport)  # type: ignore[arg-type]
    options = StreamOptions(entry.transport, timeout, timeout)
    stream = StreamReader("probe", with_credentials(url, user, password("probe", entry)), options, Arrivals(), once=True)
    stream.start()
    until = time.monotonic() + timeout
    while time.monotonic() < until and stream.status.connection.state == "connecting":
        time.sleep(0.02)
    if stream.status.connection.state == "running":
        time.sleep(1.0)  # for the rate
    status, now = stream.status, time.monotonic()
    stream.stop()
    stream.join(2.0)
    facts: dict[str, Any] = {"address": str(entry.address), "state": "running" if status.size else "failed"}
    if status.size is None:
        return facts | {"reason": status.connection.reason or "timeout", "message": status.message or f"no frame within {timeout:g} s"}
    seconds = max(now - (status.connection.ran_since or until), 1e-3)
    return facts | {
        "codec": status.codec, "width": status.size[0], "height": status.size[1],
        "rate": round(status.counts.received / seconds, 1), "clock": "sender reports" if (status.uncertainty or 1) < 0.3 else "arrival",
    }  # fmt: skip
