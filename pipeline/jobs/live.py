"""``passerby live`` and ``probe``: from a site file to a running service."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import detectors
from detectors.runtime.checkout import commit
from pipeline.config import Config
from pipeline.engine.cameras import RESERVED
from pipeline.errors import PasserbyError, SourceError, UsageError, writing
from pipeline.formats.paths import is_safe_name, safe_name
from pipeline.formats.site_file import CameraEntry, SiteFile
from pipeline.live.guard import Guard
from pipeline.live.mqtt import Broker, Mqtt
from pipeline.live.newest import Reader
from pipeline.live.screen import LiveScreen
from pipeline.live.service import LiveRun
from pipeline.live.status import LiveStatus, OutputStatus
from pipeline.messaging.broker import checked_name
from pipeline.messaging.messages import ModelFacts
from pipeline.messaging.publisher import Publisher
from pipeline.report.run_record import CameraRecord, ModelRecords, RunRecord, model_records, timing, version
from pipeline.sources.mailbox import Arrivals
from pipeline.sources.paced_file import PacedFileReader
from pipeline.sources.stream import StreamOptions, StreamReader, with_credentials
from reid import Embedder

log = logging.getLogger(__name__)


class LiveRecord(RunRecord):
    """``run.json`` of live cameras: as of a run, kept current. ``running``: it was when this was written, at ``updated``."""

    running: bool
    updated: str
    outputs: dict[str, OutputStatus]


def live(
    site: SiteFile,
    config: Config,
    out: Path,
    status_port: int | None,
    stopped: Callable[[], bool],
    duration: float | None = None,
    reload: Callable[[], SiteFile | None] = lambda: None,
    publish: str | None = None,
    edge: str | None = None,
    broker: Broker | None = None,
    screen: LiveScreen | None = None,
) -> LiveStatus:
    """Run the site's cameras until ``stopped()`` or for ``duration`` seconds; returns the last status.

    ``reload`` is asked between steps: another site file, or None to go on with this one. ``publish``: address of a broker to publish to, as
    ``edge`` (default: the host's name). ``broker``: of MQTT. ``screen``: shows the cameras' pictures. Raises UsageError for a site without
    cameras or a password that is not there, ModelError, and OutputError.
    """
    entries = check_cameras(site)
    if not entries:
        raise UsageError("the site file has no camera with a url")
    detector = detectors.load_detector(settings=config.detector)
    embedder = None if config.reid.model == "none" else Embedder(settings=config.reid)
    models = model_records(detector, embedder)

    def readers(arrivals: Arrivals) -> Mapping[str, Reader]:
        return {name: reader(name, entry, config, arrivals) for name, entry in entries.items()}

    mqtt = None if broker is None else Mqtt(broker)
    with writing(out):
        publisher = None if publish is None else _publisher(publish, site.name, edge, out, embedder, config)
        run = LiveRun(readers, config, out, site, detector, embedder, status_port, publisher, screen=screen)
    record, due, told = Guard(f"{out / 'run.json'}"), 0.0, 0.0
    run.more_guards["run.json"] = record
    if mqtt is not None:
        run.more_guards["mqtt"] = mqtt.guard
        run.events.listeners.append(mqtt.event)

    def write(running: bool) -> None:
        with record.trying():
            write_record(out, live_record(run, entries, models, running))

    def between() -> None:
        nonlocal entries, due, told
        if (new := reload()) is not None:
            entries = change(run, entries, new, config)
        if time.monotonic() >= due:
            due = time.monotonic() + config.live.save
            write(True)
        if mqtt is not None and time.monotonic() >= told:
            told = time.monotonic() + 1
            mqtt.tell(run.status())

    try:
        run.run(stopped, duration, between)
    finally:
        if mqtt is not None:
            mqtt.tell(run.status())
            mqtt.close()
    write(False)
    return run.status()


def live_record(run: LiveRun, entries: Mapping[str, CameraEntry], models: ModelRecords, running: bool) -> LiveRecord:
    """What ``run.json`` says now."""
    status = run.status()
    cameras = {}
    for name, one in status.cameras.items():
        width, height = one.size or (0, 0)
        result = run.cameras[name].result
        said = None if one.state in ("running", "closed") else f"{one.state}{f' ({one.reason})' if one.reason else ''}"
        cameras[name] = CameraRecord(
            path=str(entries[name].address), width=width, height=height, rate=round(one.received / max(status.uptime, 1e-3), 2),
            duration=round(status.uptime, 3), frames_in=one.received - one.in_hand, processed=one.processed, skipped=one.dropped,
            failed=one.corrupt + one.failed, tracks=result.tracks, frames_detected=result.detected, detections_confident=result.confident,
            detections_embedded=result.embedded, error=said, warnings=[],
        )  # fmt: skip
    inference = {
        "detector": getattr(getattr(run.detector, "session", None), "seconds", 0.0),
        "reid": run.embedder.session.seconds if run.embedder else 0.0,
    }
    results = [one.result for one in run.cameras.values()]
    return LiveRecord(
        passerby=version(), commit=commit(), began=datetime.fromtimestamp(status.began, UTC).isoformat(timespec="seconds"), exit_code=0,
        models=models, cameras=cameras, not_opened={}, timing=timing(results, run.watch, inference, status.uptime),
        config=run.config.as_dict(), running=running, updated=datetime.now(UTC).isoformat(timespec="seconds"), outputs=status.outputs,
    )  # fmt: skip


def write_record(out: Path, record: LiveRecord) -> None:
    """Write ``run.json``, whole or not at all. Raises OSError."""
    out.mkdir(parents=True, exist_ok=True)
    scratch = out / "run.json.new"
    record.write(scratch)
    scratch.replace(out / "run.json")


def change(run: LiveRun, before: Mapping[str, CameraEntry], site: SiteFile, config: Config) -> dict[str, CameraEntry]:
    """Let ``run`` go on with another site file; returns its cameras. One that cannot be used is said, and changes nothing."""
    try:
        entries = check_cameras(site)
        if not entries:
            raise UsageError("the site file has no camera with a url")
        changed = [name for name, entry in entries.items() if name not in before or reached(before[name]) != reached(entry)]

        def readers(arrivals: Arrivals, sessions: Mapping[str, int]) -> Mapping[str, Reader]:
            return {name: reader(name, entries[name], config, arrivals, sessions[name]) for name in changed}

        gone = sorted(set(before) - set(entries))
        run.reload(site, gone, readers)
    except PasserbyError as error:
        log.error("the site file is not taken: %s", error)
        return dict(before)
    log.warning("the site file is read again: %d cameras, %s new or changed, %s gone", len(entries), changed or "none", gone or "none")
    return entries


def reached(entry: CameraEntry) -> dict[str, Any]:
    """How a camera is reached: what needs another connection where it changes. A password in a file or variable may have changed as well."""
    keys = ("url", "substream", "user", "password_env", "password_file", "transport", "rate", "verify", "ca_file")
    return {key: getattr(entry, key) for key in keys} | {"password": password("", entry)}


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
                for url in filter(None, (entry.url, entry.substream)):
                    with_credentials(url, entry.user, secret)
            elif not Path(entry.address.raw).exists():
                raise SourceError(f"{entry.address}: no such file; a stream's address begins with rtsp, rtsps, http or https")
        except SourceError as error:
            raise SourceError(f"camera {name}: {error}") from None
    return entries


def _publisher(url: str, site: str, edge: str | None, out: Path, embedder: Embedder | None, config: Config) -> Publisher:
    """Raises UsageError for a wrong address or name, and without a re-ID model."""
    if embedder is None:
        raise UsageError("--publish requires a re-ID model: without embeddings there is nothing to link")
    name = checked_name("--edge", edge or safe_name(socket.gethostname(), "edge"))
    evidence = embedder.facts.evidence
    model = ModelFacts.model_validate({"sha256": embedder.session.sha256, "evidence": None if evidence is None else evidence.model_dump()})
    return Publisher(url, site, name, out / "spool", model, config.publish)


def reader(name: str, entry: CameraEntry, config: Config, arrivals: Arrivals, first_session: int = 1) -> Reader:
    """The reader of a camera. Raises UsageError for a password that is not there, SourceError for an address that is none."""
    address = entry.address
    if not address.is_url:
        return PacedFileReader(name, address.raw, arrivals, first_session)
    settings = config.live
    options = StreamOptions(
        entry.transport,
        settings.open_timeout,
        settings.stall,
        entry.rate,
        entry.verify,
        None if entry.ca_file is None else str(entry.ca_file),
        settings.clip_before if settings.clips else 0.0,
    )
    main, sub = (
        None if url is None else with_credentials(url, entry.user, password(name, entry)) for url in (address.raw, entry.substream)
    )
    assert main is not None
    return StreamReader(name, main, options, arrivals, first_session, substream=sub)


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
