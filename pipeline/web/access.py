"""Who may do what: tokens with roles, sessions, rate limits. Tokens are kept as argon2 hashes; nothing else of them is."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from pipeline.errors import UsageError, writing

FILE = "console-tokens.json"
NAME = re.compile(r"^[\w-]{1,40}$", re.ASCII)
IDLE, LONGEST = 12 * 3600.0, 7 * 86400.0  # seconds until a session that is not used, and any session, ends
REMEMBER = 300.0  # seconds that a verified bearer token is not hashed again
MAX_SESSIONS = 2000


class Role(IntEnum):
    """Each may do what those before it may. viewer: look and search; reviewer: correct, name and tag; admin: settings, erasure, audit log."""

    VIEWER = 1
    REVIEWER = 2
    ADMIN = 3

    @classmethod
    def of(cls, text: str) -> Role:
        """Raises UsageError for an unknown name."""
        try:
            return cls[text.upper()]
        except KeyError:
            raise UsageError(f"role {text!r}: must be one of {', '.join(role.name.lower() for role in cls)}") from None


@dataclass(frozen=True)
class Principal:
    """Whom a request comes from."""

    name: str
    role: Role


LOCAL = Principal("local", Role.ADMIN)  # loopback without tokens


class Tokens:
    """The tokens of ``path`` (JSON, readable by its owner alone). A token is ``NAME.SECRET``. A changed file is read again."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.path, self._clock = path, clock
        self._hasher, self._lock = PasswordHasher(), threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._known: dict[str, tuple[Role, str]] = {}
        self._verified: dict[bytes, tuple[str, float]] = {}
        self._nobody = self._hasher.hash(secrets.token_urlsafe(16))  # an unknown name takes as long as a wrong secret
        self.read()

    def read(self) -> dict[str, tuple[Role, str]]:
        """Role and hash by name. Raises UsageError for a damaged file."""
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._known, self._stamp = {}, None
            return self._known
        except OSError as error:
            raise UsageError(f"{self.path}: not readable ({error.strerror})") from None
        stamp = found.st_mtime_ns, found.st_size
        if stamp != self._stamp:
            try:
                values = json.loads(self.path.read_text(encoding="utf-8"))["tokens"]
                known = {name: (Role.of(one["role"]), str(one["hash"])) for name, one in values.items()}
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                raise UsageError(f"{self.path}: not a file of console tokens ({error})") from None
            with self._lock:
                self._known, self._stamp, self._verified = known, stamp, {}
        return self._known

    def role(self, name: str) -> Role | None:
        """The role of a name now, None if it has no token."""
        found = self.read().get(name)
        return None if found is None else found[0]

    def add(self, name: str, role: Role) -> str:
        """A new token for ``name``; an earlier one is void. Raises UsageError for an unsuitable name, OutputError."""
        if not NAME.match(name):
            raise UsageError(f"name {name!r}: expected up to 40 letters, digits, '_' and '-'")
        secret = secrets.token_urlsafe(24)
        self._write({**self.read(), name: (role, self._hasher.hash(secret))})
        return f"{name}.{secret}"

    def remove(self, name: str) -> None:
        """Raises UsageError for an unknown name, OutputError."""
        known = dict(self.read())
        if name not in known:
            raise UsageError(f"no token of {name!r} in {self.path}; there are {', '.join(known) or 'none'}")
        del known[name]
        self._write(known)

    def check(self, token: str) -> Principal | None:
        """Whose token it is; None for a wrong one."""
        known = self.read()
        digest, now = hashlib.sha256(token.encode("utf-8", "replace")).digest(), self._clock()
        with self._lock:
            name, until = self._verified.get(digest, ("", 0.0))
        if name in known and now < until:
            return Principal(name, known[name][0])
        name, _, secret = token.partition(".")
        role, kept = known.get(name, (None, self._nobody))
        try:
            self._hasher.verify(kept, secret)
        except (VerificationError, InvalidHashError):
            return None
        if role is None:
            return None
        with self._lock:
            self._verified = {key: one for key, one in self._verified.items() if one[1] > now} | {digest: (name, now + REMEMBER)}
        return Principal(name, role)

    def _write(self, known: dict[str, tuple[Role, str]]) -> None:
        text = json.dumps(
            {"version": 1, "tokens": {name: {"role": role.name.lower(), "hash": kept} for name, (role, kept) in known.items()}}
        )
        scratch = self.path.with_suffix(".new")
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with os.fdopen(os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
                file.write(text)
            scratch.replace(self.path)
        self._stamp = None


@dataclass
class Session:
    """A browser that has logged in (or came from loopback where that is enough). ``csrf`` must come with whatever changes something."""

    principal: Principal
    csrf: str
    began: float
    used: float
    kept: dict[str, object] = field(default_factory=dict)  # pictures of a search, for example; gone with the session


class Sessions:
    """Sessions in memory: a restart ends them all."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._open: dict[str, Session] = {}

    def begin(self, principal: Principal) -> str:
        """The id of a new session, for its cookie."""
        now, name = self._clock(), secrets.token_urlsafe(32)
        with self._lock:
            self._open = {key: one for key, one in self._open.items() if self._lasts(one, now)}
            if len(self._open) >= MAX_SESSIONS:
                del self._open[min(self._open, key=lambda key: self._open[key].used)]
            self._open[name] = Session(principal, secrets.token_urlsafe(24), now, now)
        return name

    def get(self, name: str | None) -> Session | None:
        now = self._clock()
        with self._lock:
            found = self._open.get(name or "")
            if found is None or not self._lasts(found, now):
                return None
            found.used = now
            return found

    def end(self, name: str | None) -> None:
        with self._lock:
            self._open.pop(name or "", None)

    @staticmethod
    def _lasts(session: Session, now: float) -> bool:
        return now - session.used < IDLE and now - session.began < LONGEST


class RateLimit:
    """At most ``count`` per ``seconds`` for each key."""

    def __init__(self, count: int, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self.count, self.seconds, self._clock = count, seconds, clock
        self._lock = threading.Lock()
        self._times: dict[str, deque[float]] = {}

    def wait(self, key: str) -> float:
        """0 if the key may go on, which is counted; else the seconds until it may."""
        now = self._clock()
        with self._lock:
            if len(self._times) > 10_000:
                self._times = {name: times for name, times in self._times.items() if times and now - times[-1] < self.seconds}
            times = self._times.setdefault(key, deque())
            while times and now - times[0] >= self.seconds:
                times.popleft()
            if len(times) >= self.count:
                return self.seconds - (now - times[0])
            times.append(now)
            return 0.0
