"""The state of one live camera's connection, as a pure state machine: times come in, states and waiting times come out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Literal

State = Literal["connecting", "running", "stalled", "waiting", "refused", "closed"]
Reason = Literal["authentication", "not found", "refused", "timeout", "unsupported codec", "TLS", "decode", "ended", "stalled", "failed"]
SLOW: frozenset[Reason] = frozenset({"authentication"})  # cameras lock accounts that try too often


@dataclass(frozen=True)
class Backoff:
    """Seconds between attempts: ``first``, then ``factor`` times as long each time, ``longest`` at most, spread by ``jitter`` (a share).

    After a wrong password ``slow`` at least. A connection that has run for ``stable`` seconds starts again from ``first``.
    """

    first: float = 0.25
    factor: float = 2.0
    longest: float = 30.0
    slow: float = 30.0
    jitter: float = 0.2
    stable: float = 10.0

    def delay(self, attempt: int, reason: Reason, random: float) -> float:
        """Before attempt ``attempt`` (from 1) after ``reason``; ``random`` in 0..1."""
        plain = min(self.first * self.factor ** min(attempt - 1, 30), self.longest)
        if reason in SLOW:
            plain = max(plain, self.slow)
        return plain * (1 + self.jitter * (2 * random - 1)) if attempt > 1 else plain


@dataclass(frozen=True)
class Connection:
    """What is known of a connection. Every transition gives a new one; ``now`` is the monotonic clock, seconds.

    ``reason``: why it is not running. ``failures``: in a row, since it was last stable. ``retry_at``: when the next attempt is due.
    """

    state: State = "connecting"
    reason: Reason | None = None
    since: float = 0.0
    failures: int = 0
    connects: int = 0
    retry_at: float = 0.0
    last_frame: float | None = None
    ran_since: float | None = None
    backoff: Backoff = field(default_factory=Backoff)

    def connecting(self, now: float) -> Connection:
        return replace(self, state="connecting", since=now, last_frame=None, ran_since=None)

    def frame(self, now: float) -> Connection:
        """A frame has come."""
        if self.state == "running":
            stable = self.ran_since is not None and now - self.ran_since >= self.backoff.stable
            return replace(self, last_frame=now, failures=0 if stable else self.failures)
        ran = self.ran_since if self.state == "stalled" else None
        connects = self.connects + (ran is None)
        return replace(
            self, state="running", reason=None, since=now, last_frame=now, ran_since=now if ran is None else ran, connects=connects
        )

    def quiet(self, now: float, stall: float) -> Connection:
        """Nothing has come just now: stalled where no frame came for ``stall`` seconds."""
        if self.state == "running" and self.last_frame is not None and now - self.last_frame >= stall:
            return replace(self, state="stalled", reason="stalled", since=now)
        return self

    def failed(self, now: float, reason: Reason, random: Callable[[], float]) -> Connection:
        """The connection ended or could not be made: wait and try again, without end."""
        stable = self.ran_since is not None and now - self.ran_since >= self.backoff.stable
        failures = 1 if stable else self.failures + 1
        state: State = "refused" if reason in ("authentication", "not found", "unsupported codec", "TLS") else "waiting"
        retry = now + self.backoff.delay(failures, reason, random())
        return replace(self, state=state, reason=reason, since=now, failures=failures, retry_at=retry, last_frame=None, ran_since=None)

    def closed(self, now: float) -> Connection:
        return replace(self, state="closed", since=now)
