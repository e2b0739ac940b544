"""``passerby serve``: the console over a store; also the console of live cameras, in a thread of theirs."""

from __future__ import annotations

import ipaddress
import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import uvicorn

from pipeline.config import Config
from pipeline.errors import OutputError, UsageError, writing
from pipeline.formats.site_file import load_site
from pipeline.jobs.store import store_of
from pipeline.live.screen import LiveScreen
from pipeline.store import open_store
from pipeline.web.access import FILE, Tokens
from pipeline.web.app import Console, create_app
from pipeline.web.guard import Guard

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Address:
    """Where the console listens. ``proxies``: whose X-Forwarded headers are believed, None: nobody's; ``tokens``: their file."""

    host: str = "127.0.0.1"
    port: int = 8080
    proxies: str | None = None
    tokens: Path | None = None

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        try:
            loopback = ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            loopback = self.host == "localhost"
        return loopback and self.proxies is None


def token_file(place: Path) -> Path:
    """Where the tokens of a console lie: beside its store."""
    return (place if place.is_dir() else place.parent) / FILE


def guard_for(address: Address, tokens: Path) -> Guard:
    """Raises UsageError for a console that others can reach and that has no tokens."""
    guard = Guard(Tokens(address.tokens or tokens))
    if not address.local and guard.open:
        why = "others could reach it" if address.proxies is None else "a proxy passes on requests of others"
        raise UsageError(
            f"the console at {address.host} needs tokens: {why}; make one with passerby tokens add NAME --role viewer --file {guard.tokens.path}"
        )
    return guard


def server_of(console: Console, guard: Guard, address: Address) -> uvicorn.Server:
    """The server, not started yet."""
    config = uvicorn.Config(
        create_app(console, guard), host=address.host, port=address.port, proxy_headers=address.proxies is not None,
        forwarded_allow_ips=address.proxies or "", server_header=False, log_level="warning", access_log=False, log_config=None,
        timeout_graceful_shutdown=3, ws_max_size=65536, limit_concurrency=400,
    )  # fmt: skip
    return uvicorn.Server(config)


def listening(address: Address) -> socket.socket:
    """A socket that listens; port 0: any free one. Raises OutputError."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        return socket.create_server((address.host, address.port), family=family, backlog=256)
    except OSError as error:
        raise OutputError(f"{address.host}:{address.port}: cannot listen there ({error.strerror or error})") from None


def url_of(address: Address, held: socket.socket) -> str:
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f"http://{host}:{held.getsockname()[1]}/"


def serve(place: Path, site: Path | None, address: Address, config: Config) -> None:
    """Serve the console of a store, or of the output folder that has one, until a signal. Prints its address. ``config``: for searches by picture.

    Raises UsageError for a missing store, an invalid site file and missing tokens, OutputError where it cannot listen.
    """
    guard = guard_for(address, token_file(place))
    if site is not None and site.is_file():
        load_site(site)  # a mistake in it is told now
    with open_store(place, config.store) as store, listening(address) as held:
        server = server_of(Console(store, config, site), guard, address)
        print(f"console: {url_of(address, held)}", flush=True)
        server.run([held])


@contextmanager
def live_console(config: Config, site: Path, address: Address, out: Path) -> Iterator[LiveScreen]:
    """The console of live cameras into ``out``, in a thread, while the block runs; gives what is to be shown their pictures. Raises as ``serve``."""
    if not config.store.enabled:
        raise UsageError("the console shows what the store holds, and store.enabled is false")
    guard = guard_for(address, token_file(out))
    load_site(site)
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    feed = LiveScreen()
    with store_of(out, config.store) as store, listening(address) as held:
        server = server_of(Console(store, config, site, feed), guard, address)
        thread = threading.Thread(target=server.run, args=([held],), name="console", daemon=True)
        thread.start()
        print(f"console: {url_of(address, held)}", flush=True)
        try:
            yield feed
        finally:
            server.should_exit = True
            thread.join(5)
