"""An edge's way to the broker: messages are numbered, sent by a thread, and kept on disk while the broker is away."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline.address import Address
from pipeline.config import Publish
from pipeline.messaging.broker import FIELD, away, connect, updates_key
from pipeline.messaging.messages import AnyMessage, BlindMessage, CameraStateMessage, ClockMessage, ModelFacts, encode, tracklet
from pipeline.messaging.spool import Spool
from tracker import TrackletUpdate

log = logging.getLogger(__name__)
BATCH = 200  # messages of a round trip


class PublisherStatus(BaseModel):
    """Messages: ``sent`` (doubles included), ``waiting`` in memory, ``dropped`` for want of space; ``spooled`` bytes on disk."""

    model_config = ConfigDict(frozen=True)

    connected: bool
    sent: int
    waiting: int
    spooled: int
    dropped: int
    message: str | None


class Publisher:
    """Publishes an edge's updates, camera states and clock to ``url``; no call waits for the broker or the disk.

    ``site``, ``edge``: names; ``model``: of the embeddings. ``folder``: of the spool. What a stop or a crash leaves in the spool is sent by the next start. Raises UsageError for
    an address that is none, OSError where the folder cannot be written.
    """

    def __init__(self, url: str, site: str, edge: str, folder: Path, model: ModelFacts | None, settings: Publish | None = None) -> None:
        self.model, self.settings, self.address, self.edge = model, settings or Publish(), Address(url), edge
        self.session = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%f")
        self._client, self._key = connect(url), updates_key(site)
        self._spool = Spool(folder, self.settings.spool * 1_000_000)
        self._away = away()
        self._lock = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._sent: deque[bytes] = deque(maxlen=self.settings.repeat)
        self._number = 0
        self._count = 0
        self._connected, self._message = True, None  # type: bool, str | None
        self._unwritten = 0
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="publisher", daemon=True)
        self._thread.start()

    def update(self, update: TrackletUpdate) -> None:
        model = None if self.model is None else self.model.sha256
        self._put(lambda number: tracklet(self.edge, self.session, number, update, model))

    def camera_state(self, camera: str, time: float, state: str, reason: str | None) -> None:
        self._put(
            lambda number: CameraStateMessage(
                edge=self.edge, session=self.session, number=number, camera=camera, time=time, state=state, reason=reason
            )
        )

    def blind(self, camera: str, time: float, start: float, end: float | None) -> None:
        """Noticed at ``time``: the camera saw nothing from ``start`` to ``end``; None: not known yet."""
        self._put(
            lambda number: BlindMessage(edge=self.edge, session=self.session, number=number, camera=camera, time=time, start=start, end=end)
        )

    def clock(self, time: float) -> None:
        """All updates up to ``time``, seconds since 1970, have been given."""
        self._put(lambda number: ClockMessage(edge=self.edge, session=self.session, number=number, time=time, model=self.model))

    def _put(self, make: Callable[[int], AnyMessage]) -> None:
        with self._lock:
            self._waiting.append(encode(make(self._number)))
            self._number += 1
            self._lock.notify()

    @property
    def status(self) -> PublisherStatus:
        dropped = self._spool.dropped + self._unwritten
        return PublisherStatus(
            connected=self._connected, sent=self._count, waiting=len(self._waiting), spooled=self._spool.size, dropped=dropped,
            message=self._message,
        )  # fmt: skip

    def close(self, timeout: float = 5.0) -> None:
        """Send what waits for up to ``timeout`` seconds; the rest stays in the spool."""
        with self._lock:
            self._ending, self._deadline = True, time.monotonic() + timeout
            self._lock.notify()
        self._thread.join(timeout + 10)
        self._client.close()
        if self._spool:
            log.warning("%s: %d bytes of messages wait in %s for the next start", self.address, self._spool.size, self._spool.folder)
        self._spool.close()

    # the thread

    def _run(self) -> None:
        wait, attempt, ending = 0.0, 0.0, False  # seconds to the next attempt, and when it is due
        while True:
            with self._lock:
                idle = not self._waiting and not (self._spool and time.monotonic() >= attempt)
                if idle and not self._ending:
                    self._lock.wait(max(0.05, attempt - time.monotonic()) if self._spool else None)
                new = list(self._waiting)
                self._waiting.clear()
                if self._ending and not ending:
                    ending, attempt = True, 0.0  # a last attempt, now
            if self._spool or time.monotonic() < attempt:
                self._keep(new)
                new = []
            if time.monotonic() >= attempt:
                done = self._send(new)
                if done is None:
                    wait = 0.0
                else:
                    self._keep([*self._sent, *done])
                    self._sent.clear()
                    wait = min(max(2 * wait, 0.25), self.settings.backoff)
                    attempt = time.monotonic() + wait
            if ending and not self._waiting and (not self._spool or not self._connected or time.monotonic() > self._deadline):
                return

    def _keep(self, messages: Sequence[bytes]) -> None:
        try:
            self._spool.append(messages)
        except OSError as error:
            self._unwritten += len(messages)
            log.error("%s: cannot be written (%s); %d messages are lost", self._spool.folder, error.strerror or error, len(messages))

    def _send(self, new: list[bytes]) -> list[bytes] | None:
        """The spool's messages, a batch of them, or ``new`` where it is empty. None if all is well, else what of ``new`` was not sent."""
        spooled = self._spool.peek(BATCH)
        for begin in range(0, len(spooled or new), BATCH):
            some = (spooled or new)[begin : begin + BATCH]
            try:
                pipe = self._client.pipeline(transaction=False)
                for message in some:
                    pipe.xadd(self._key, {FIELD: message})
                pipe.execute()
            except self._away as error:
                if self._connected:
                    log.warning("%s: away (%s); messages are kept on disk", self.address, error)
                self._connected, self._message = False, str(error)
                return [] if spooled else new[begin:]
            except Exception as error:  # refused: not mended by waiting, but by the server's administrator; nothing is lost meanwhile
                if self._connected or self._message != str(error):
                    log.error("%s: refuses messages (%s); they are kept on disk", self.address, error)
                self._connected, self._message = False, str(error)
                return [] if spooled else new[begin:]
            if not self._connected:
                log.warning("%s: back; %d bytes of messages are sent now", self.address, self._spool.size)
            self._connected, self._message = True, None
            self._count += len(some)
            self._sent.extend(some)
            if spooled:
                self._spool.remove(len(some))
        return None
