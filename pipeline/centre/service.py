"""``passerby link``: reads a site's stream from Redis, decides, and writes events; killed and started again it decides the same."""

from __future__ import annotations

import logging
import math
import secrets
import socket
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pydantic import BaseModel, ConfigDict

from pipeline.address import Address
from pipeline.centre.journal import EventJournal
from pipeline.centre.site_linking import SiteLinking
from pipeline.centre.visits import Visits
from pipeline.config import Centre as CentreSettings
from pipeline.errors import UsageError
from pipeline.formats.events import event_line
from pipeline.live.status import memory
from pipeline.messaging.broker import FIELD, away, events_key, lease_key, updates_key
from pipeline.messaging.messages import ModelFacts
from pipeline.messaging.publisher import Publisher
from tracker import Event

if TYPE_CHECKING:
    from redis import Redis

log = logging.getLogger(__name__)
GROUP, CONSUMER = "linker", "linker"  # one reader per site, whoever it is: what one left unfinished the next takes up
BATCH = 1000  # entries read at once
LEASE = 15_000  # milliseconds that a centre which died keeps the site
EVENTS_KEPT = 100_000  # of the stream of decisions
BEHIND = 60.0  # seconds that an edge may be behind the others before it is said


class _Row(NamedTuple):
    """An event to be told and written."""

    kind: str
    time: float
    key: str
    values: dict[str, Any]


class EdgeStatus(BaseModel):
    """``lag``: seconds behind the newest clock of all edges. ``missing``: messages that have not come; ``doubled``: that came again."""

    model_config = ConfigDict(frozen=True)

    clock: float | None
    lag: float | None
    idle: bool
    received: int
    doubled: int
    missing: int


class CentreStatus(BaseModel):
    """What ``status.json`` holds. ``watermark``: seconds since 1970 up to which all edges have published."""

    model_config = ConfigDict(frozen=True)

    site: str
    time: float
    connected: bool
    watermark: float | None
    waiting: int
    people: int
    events: int
    late: int
    refused: int
    lost: int
    memory: int
    edges: dict[str, EdgeStatus]


class LeaseLost(UsageError):
    """Another centre has taken the site."""


class Centre:
    """One site's centre; with ``parent`` it is an edge of a site above it, a person's visit a track there. Writes below ``out``. ``client``: of the broker at ``address``. Raises OSError where ``out`` cannot be written."""

    def __init__(
        self,
        client: Redis,
        address: Address,
        site: str,
        linking: SiteLinking,
        out: Path,
        settings: CentreSettings,
        parent: Callable[[ModelFacts | None], Publisher] | None = None,
    ) -> None:
        self.client, self.address, self.site, self.linking, self.settings = client, address, site, linking, settings
        self.out, self._state = out, out / "centre.state"
        out.mkdir(parents=True, exist_ok=True)
        more = linking.restore(self._state)
        self.lost = more.get("lost", 0)
        self.visits, self._parent, self._publisher = Visits(site, settings.visit_gap), parent, None  # type: Visits, Any, Publisher | None
        if "visits" in more:
            self.visits.restore(more["visits"])
        self.journal = EventJournal(out, more.get("sizes", {}))
        self._token = f"{socket.gethostname()}:{secrets.token_hex(8)}".encode()
        self._done: list[bytes] = []  # entries that the next snapshot acknowledges
        self._away = away()
        self._connected, self._waiting = False, 0
        self._saved, self._pause, self._leased = time.monotonic(), settings.snapshot, 0.0
        self._slow: set[str] = set()
        self._undone: list[_Row] = []  # decided, and not told and written yet

    def run(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Until ``stopped()``. Raises UsageError where the broker refuses, LeaseLost where another centre has taken the site."""
        wait = 0.25
        try:
            while not stopped():
                try:
                    if not self._connected and not self._begin(stopped):
                        continue
                    self._read(b">", block=200)
                    wait = 0.25
                    self._lease()
                    if time.monotonic() - self._saved >= self._pause:
                        self._snapshot()
                except self._away as error:
                    if self._connected:
                        log.warning("%s: away (%s); waiting for it", self.address, error)
                    self._connected = False
                    _sleep(wait, stopped)
                    wait = min(2 * wait, 5.0)
        finally:
            self._end()

    def _begin(self, stopped: Callable[[], bool]) -> bool:
        """Take the site, and what was delivered and never acknowledged: by a centre that died, or by an answer that did not arrive."""
        self._leased = 0.0
        if not self._take_lease(stopped):
            return False
        self._make_group()
        last = b"0"
        while not stopped():
            entries = self._entries(last, None)
            if not entries:
                break
            last = entries[-1][0]
            self._take(entries)
            self._lease()
        self._flush()
        self._connected = True
        return True

    def _make_group(self) -> None:
        from redis.exceptions import ResponseError

        try:
            self.client.xgroup_create(updates_key(self.site), GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):
                raise UsageError(f"{self.address}: refused ({error})") from None

    def _read(self, last: bytes, block: int) -> None:
        from redis.exceptions import ResponseError

        try:
            entries = self._entries(last, block)
        except ResponseError as error:
            if not str(error).startswith("NOGROUP"):
                raise UsageError(f"{self.address}: refused ({error})") from None
            log.warning("%s: has lost the site's stream or what was read of it; it is read from its start", self.address)
            self._make_group()
            return
        self._take(entries)

    def _entries(self, last: bytes, block: int | None) -> list[tuple[bytes, dict[bytes, bytes] | None]]:
        found: Any = self.client.xreadgroup(GROUP, CONSUMER, {updates_key(self.site): last}, count=BATCH, block=block)
        if isinstance(found, dict):
            return [entry for pages in found.values() for page in pages for entry in page]
        return [entry for _, entries in found or () for entry in entries]

    def _take(self, entries: list[tuple[bytes, dict[bytes, bytes] | None]]) -> None:
        for number, fields in entries:
            self._done.append(number)
            if not fields:  # the broker has cut it off before it was acknowledged
                self.lost += 1
                continue
            self.linking.take(int(number.split(b"-")[0]) / 1000, fields.get(FIELD, b""))
        if entries:
            self._decide()

    def _decide(self) -> None:
        rows = [_Row(event.kind, event.time, event.key, _details(event)) for event in self.linking.advance()]
        rows += [
            _Row("camera_state", one.time, f"{one.edge}/{one.session}/{one.number}",
                 {"edge": one.edge, "camera": one.camera, "state": one.state, "reason": one.reason})
            for one in self.linking.states
        ]  # fmt: skip
        self.linking.states = []
        self._undone += [row for row in rows if self.journal.is_new(row.key)]
        self._flush()
        self._tell_parent()

    def _tell_parent(self) -> None:
        linker = self.linking.linker
        if self._parent is None or linker is None or linker.time is None:
            return
        if self._publisher is None:
            self._publisher = self._parent(self.linking.model)
        for update in self.visits.updates(linker):
            self._publisher.update(update)
        self._publisher.clock(linker.time)

    def _flush(self) -> None:
        """Tell and write what was decided. The stream first: a crash between the two makes a double there, never a loss."""
        for begin in range(0, len(self._undone), BATCH):
            pipe = self.client.pipeline(transaction=False)
            for row in self._undone[begin : begin + BATCH]:
                line = event_line(row.kind, row.time, key=row.key, **row.values)
                pipe.xadd(events_key(self.site), {b"event": line}, maxlen=EVENTS_KEPT, approximate=True)
            pipe.execute()
        for row in self._undone:
            self.journal.write(row.kind, row.time, row.key, **row.values)
        self._undone = []

    def _snapshot(self) -> None:
        """Save, then acknowledge what is in it, then trim the stream to what is still of use."""
        began = time.monotonic()
        self.linking.save(self._state, {"lost": self.lost, "sizes": self.journal.sizes(), "visits": self.visits.state()})
        done, self._done = self._done, []
        key = updates_key(self.site)
        for begin in range(0, len(done), BATCH):
            self.client.xack(key, GROUP, *done[begin : begin + BATCH])
        if done:
            self.client.xtrim(key, minid=max(int(done[-1].split(b"-")[0]) - int(1000 * self.settings.keep), 0), approximate=True)
        self._waiting = self._behind()
        _write_whole(self.out / "status.json", self.status().model_dump_json(indent=1) + "\n")
        for name, edge in self.status().edges.items():
            self._warn(name, edge)
        took = time.monotonic() - began
        self._saved, self._pause = time.monotonic(), max(self.settings.snapshot, 20 * took)

    def _behind(self) -> int:
        """Entries of the stream that were not delivered yet."""
        groups: Any = self.client.xinfo_groups(updates_key(self.site))
        return next((int(group.get("lag") or 0) for group in groups if group["name"] == GROUP.encode()), 0)

    def _warn(self, name: str, edge: EdgeStatus) -> None:
        behind = edge.lag is not None and edge.lag > BEHIND and not edge.idle
        if behind and name not in self._slow:
            log.warning("edge %s is %.0f s behind the others, and the site waits for it: is its clock right?", name, edge.lag)
        (self._slow.add if behind else self._slow.discard)(name)

    def status(self) -> CentreStatus:
        edges = self.linking.edges
        newest = max((one.clock for one in edges.known.values()), default=-math.inf)
        return CentreStatus(
            site=self.site,
            time=time.time(),
            connected=self._connected,
            watermark=_finite(edges.watermark),
            waiting=self._waiting,
            people=self.linking.people,
            events=self.journal.written,
            late=self.linking.late + (self.linking.linker.late if self.linking.linker else 0),
            refused=self.linking.refused,
            lost=self.lost,
            memory=memory(),
            edges={
                name: EdgeStatus(
                    clock=_finite(one.clock),
                    lag=_finite(newest - one.clock) if math.isfinite(one.clock) else None,
                    idle=edges.is_idle(name),
                    received=one.received,
                    doubled=one.doubles,
                    missing=one.missing,
                )
                for name, one in edges.known.items()
            },
        )

    # one centre per site

    def _take_lease(self, stopped: Callable[[], bool]) -> bool:
        told = False
        while not self.client.set(lease_key(self.site), self._token, nx=True, px=LEASE):
            held: Any = self.client.get(lease_key(self.site))
            if held == self._token:
                break
            if not told:
                log.warning("site %s is held by %s; waiting until it stops", self.site, (held or b"").decode(errors="replace"))
                told = True
            _sleep(0.5, stopped)
            if stopped():
                return False
        self._leased = time.monotonic()
        return True

    def _lease(self) -> None:
        if time.monotonic() - self._leased < LEASE / 3000:
            return
        if self.client.get(lease_key(self.site)) != self._token and not self.client.set(
            lease_key(self.site), self._token, nx=True, px=LEASE
        ):
            raise LeaseLost(f"site {self.site}: another centre has taken it while this one stood still")
        self.client.pexpire(lease_key(self.site), LEASE)
        self._leased = time.monotonic()

    def _end(self) -> None:
        """Save what is decided and give the site back, if the broker is there."""
        try:
            if self._connected:
                self._flush()
                self._snapshot()
                if self.client.get(lease_key(self.site)) == self._token:
                    self.client.delete(lease_key(self.site))
        except self._away as error:
            log.warning("%s: away (%s); what it has not been told of is decided again at the next start", self.address, error)
        finally:
            self.journal.close()
            if self._publisher is not None:
                self._publisher.close()


def _details(event: Event) -> dict[str, Any]:
    return {key: value for key, value in asdict(event).items() if key not in ("kind", "time")}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _sleep(seconds: float, stopped: Callable[[], bool]) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until and not stopped():
        time.sleep(0.05)


def _write_whole(path: Path, text: str) -> None:
    scratch = path.with_suffix(".new")
    scratch.write_text(text, encoding="utf-8")
    scratch.replace(path)
