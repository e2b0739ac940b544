"""Redis: a connection from an address, the names of a site's streams, and what goes wrong, as errors for users."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from pipeline.address import Address
from pipeline.errors import SourceError, UsageError
from pipeline.formats.paths import is_safe_name

if TYPE_CHECKING:
    from redis import Redis

FIELD = b"message"  # of a stream's entries
SCHEMES = ("redis://", "rediss://", "unix://")


def updates_key(site: str) -> str:
    """The stream to which the edges of a site publish."""
    return f"passerby:{site}:updates"


def events_key(site: str) -> str:
    """The stream to which the centre publishes its decisions."""
    return f"passerby:{site}:events"


def lease_key(site: str) -> str:
    return f"passerby:{site}:linker"


def checked_name(what: str, name: str) -> str:
    """Raises UsageError for a name that is not safe in file names and keys."""
    if not is_safe_name(name):
        raise UsageError(f"{what} {name[:60]!r}: expected letters, digits, '_', '-' and '.'")
    return name


def connect(url: str, timeout: float = 5.0) -> Redis:
    """A client; it connects when it is first used. Raises UsageError for another address than Redis's, and without the extra ``redis``."""
    if not url.startswith(SCHEMES):
        raise UsageError(f"{Address(url)}: expected the address of a Redis server, redis://HOST:PORT/DB, rediss:// or unix://")
    try:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry
    except ImportError:
        raise UsageError("redis:// addresses require the extra redis: pip install 'passerby[redis]'") from None
    try:
        return redis.Redis.from_url(url, socket_timeout=timeout, socket_connect_timeout=timeout, retry=Retry(NoBackoff(), 0))
    except ValueError as error:
        raise UsageError(f"{Address(url)}: not an address of Redis ({error})") from None


def away() -> tuple[type[Exception], ...]:
    """Errors after which the same may work later: no connection, a server that loads its data or is out of memory."""
    from redis import exceptions as wrong

    return wrong.ConnectionError, wrong.TimeoutError, wrong.BusyLoadingError, wrong.OutOfMemoryError, wrong.ReadOnlyError


def check(client: Redis, url: str) -> None:
    """Ask the server once. Raises UsageError where it is too old or refuses the password, SourceError where it does not answer."""
    from redis import exceptions as wrong

    shown = Address(url)
    try:
        found: Any = client.info("server")
    except (wrong.AuthenticationError, wrong.NoPermissionError, wrong.ResponseError) as error:
        raise UsageError(f"{shown}: refused ({error})") from None
    except away() as error:
        raise SourceError(f"{shown}: does not answer ({error})") from None
    version = re.match(r"(\d+)\.(\d+)", str(found.get("redis_version", "")))
    if version and (int(version[1]), int(version[2])) < (6, 2):
        raise UsageError(f"{shown}: Redis {version[0]}; 6.2 or newer is required")
