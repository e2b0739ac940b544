"""``passerby live``, ``probe`` and ``validate``."""

from __future__ import annotations

import json
import logging
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any

import typer

log = logging.getLogger(__name__)
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def live(
    site: Annotated[Path, typer.Argument(help="Site file (YAML): a url per camera, and what is known of the site.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")],
    duration: Annotated[float | None, typer.Option(min=0, help="Stop after this many seconds.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, live.stall=5 for example.")] = None,
    detector: Annotated[str | None, typer.Option(help="Shipped name, .onnx file, or what ultralytics opens (yolo11m.pt).")] = None,
    reid: Annotated[str | None, typer.Option(help="Shipped name or bundle (.onnx); 'none': no identities.")] = None,
    status_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve /status, /healthz and /metrics on this loopback port.")
    ] = None,
    publish: Annotated[
        str | None, typer.Option(metavar="URL", help="Also publish updates to a broker, redis://HOST:PORT/DB, for passerby link.")
    ] = None,
    edge: Annotated[str | None, typer.Option(help="Name of this edge on the broker. Default: the host's name.")] = None,
    mqtt: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Publish to a broker: mqtt://USER@HOST:PORT/PREFIX, mqtts for TLS. For Home Assistant, too."),
    ] = None,
    mqtt_password_env: Annotated[str | None, typer.Option(help="Environment variable that holds the broker's password.")] = None,
    console_port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Serve the console on this port, with live pictures. Requires passerby[web].")
    ] = None,
    console_host: Annotated[
        str, typer.Option(help="Address of the console. Others than loopback need tokens: passerby tokens.")
    ] = "127.0.0.1",
    as_json: Json = False,
) -> None:
    """Track people in live cameras, and assign identities while they run.

    Ends with SIGINT or SIGTERM; outputs are complete then. SIGHUP reads the site file again.
    """
    from pipeline.config import load_config
    from pipeline.errors import PasserbyError, UsageError
    from pipeline.formats.site_file import SiteFile, load_site
    from pipeline.jobs.live import live as run_live
    from pipeline.jobs.signals import asked_by_hangup, stop_on_signals

    settings = load_config(config, set_ or (), {"detector.model": detector, "reid.model": reid})
    broker = None
    if mqtt is not None:
        from pipeline.live.mqtt import Broker

        if mqtt_password_env is not None and mqtt_password_env not in os.environ:
            raise UsageError(f"--mqtt-password-env: the environment variable {mqtt_password_env} is not set")
        broker = Broker.of(mqtt, None if mqtt_password_env is None else os.environ[mqtt_password_env])
    with ExitStack() as opened:
        screen = None
        if console_port is not None:
            from pipeline.cli.console import needed

            needed()
            from pipeline.web.serve import Address, live_console

            screen = opened.enter_context(live_console(settings, site, Address(console_host, console_port), out))
        stop, asked = opened.enter_context(stop_on_signals()), opened.enter_context(asked_by_hangup())

        def reload() -> SiteFile | None:
            if not asked():
                return None
            try:
                return load_site(site)
            except PasserbyError as error:
                log.error("the site file is not taken: %s", error)
                return None

        status = run_live(load_site(site), settings, out, status_port, stop, duration, reload, publish, edge, broker, screen)
    if as_json:
        print(status.model_dump_json(indent=1))
        return
    for name, camera in status.cameras.items():
        lost = ", ".join(f"{getattr(camera, fate)} {fate}" for fate in ("dropped", "corrupt", "failed") if getattr(camera, fate))
        print(f"{name}: {camera.processed} of {camera.received} frames processed{f' ({lost})' if lost else ''}")
    print(f"people: {status.people}, {status.events} events in {out}")
    if status.publisher is not None:
        sent = status.publisher
        print(f"published: {sent.sent} messages, {sent.dropped} dropped, {sent.spooled} bytes wait in {out / 'spool'}")
    for output, one in status.outputs.items():
        if one.failed:
            print(f"{output}: could not be written {one.failed} times, {one.lost} lines, rows or tracklets are lost")


def probe(
    url: Annotated[str, typer.Argument(help="Address of a stream: rtsp, rtsps, http or https.")],
    user: Annotated[str | None, typer.Option(help="User name.")] = None,
    password_env: Annotated[str | None, typer.Option(help="Environment variable that holds the password.")] = None,
    transport: Annotated[str, typer.Option(help="tcp or udp.")] = "tcp",
    timeout: Annotated[float, typer.Option(min=0.5, help="Seconds to wait for the first frame.")] = 8.0,
    as_json: Json = False,
) -> None:
    """Open a stream, wait for a frame, and print what it is: codec, size, rate, clock; or why it cannot be opened."""
    from pipeline.jobs.live import probe as look

    found = look(url, user, password_env, transport, timeout)
    print(json.dumps(found, indent=1) if as_json else "\n".join(f"{key}: {value}" for key, value in found.items()))
    if found["state"] != "running":
        raise typer.Exit(3)


def validate(
    site: Annotated[Path, typer.Argument(help="Site file (YAML).")],
    as_json: Json = False,
) -> None:
    """Check a site file, addresses and passwords included, without opening any camera, and print what it says."""
    from pipeline.formats.site_file import load_site
    from pipeline.jobs.live import check_cameras

    found = load_site(site)
    check_cameras(found)
    cameras: dict[str, Any] = {
        name: {"url": str(camera.address) if camera.url else None, "ground": camera.homography() is not None}
        for name, camera in found.cameras.items()
    }
    values = {"cameras": cameras, "links": len(found.links), "overlaps": [list(group) for group in found.overlaps or ()]}
    print(json.dumps(values, indent=1) if as_json else "\n".join([f"{n}: {c['url'] or 'no url'}" for n, c in cameras.items()] + ["valid"]))
