"""What every answer and every request goes through: security headers, the size of what comes in, and who asks."""

from __future__ import annotations

import hmac
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import urlsplit

from fastapi import Depends, HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.web.access import LOCAL, Principal, RateLimit, Role, Session, Sessions, Tokens

COOKIE = "passerby_session"
LOOPBACK = ("localhost", "127.0.0.1", "::1", "[::1]")
MAX_BODY = 24_000_000  # bytes: a few pictures
SAFE = ("GET", "HEAD", "OPTIONS")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; media-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Access to the console: tokens, sessions and limits. ``tokens`` without any: open, for loopback alone."""

    def __init__(self, tokens: Tokens) -> None:
        self.tokens, self.sessions = tokens, Sessions()
        self.logins = RateLimit(10, 60.0)  # failed or not, per address
        self.searches = RateLimit(30, 60.0)  # per person: each is a pass through the models

    @property
    def open(self) -> bool:
        """Whether nobody needs a token."""
        return not self.tokens.read()

    def session(self, connection: HTTPConnection) -> Session | None:
        """The session of a request's cookie, if it still holds: its token must not have been removed, nor have got another role."""
        found = self.sessions.get(connection.cookies.get(COOKIE))
        if found is None:
            return None
        known = LOCAL.role if self.open and found.principal == LOCAL else self.tokens.role(found.principal.name)
        return found if known == found.principal.role else None

    def principal(self, connection: HTTPConnection) -> Principal | None:
        """Whom a request comes from: its bearer token, its session, or loopback where no tokens are."""
        kind, _, token = connection.headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self.tokens.check(token.strip())
        session = self.session(connection)
        if session is not None:
            return session.principal
        return LOCAL if self.open else None

    def forged(self, connection: HTTPConnection, sent: str | None) -> str | None:
        """Why a request that changes something may come from another site; None if it does not."""
        if connection.headers.get("authorization", "").lower().startswith("bearer "):
            return None  # no browser sends it by itself
        if (reason := other_site(connection)) is not None:
            return reason
        session = self.session(connection)
        if session is None:
            return "no session: load a page first, or send a bearer token"
        if sent is None or not hmac.compare_digest(sent.encode(), session.csrf.encode()):
            return "the CSRF token is missing or wrong: reload the page"
        return None


def other_site(connection: HTTPConnection) -> str | None:
    """Whether a browser says that the request comes from another site: why, or None."""
    origin, host = connection.headers.get("origin"), connection.headers.get("host", "")
    if connection.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        return "it comes from another site"
    if origin is not None and urlsplit(origin).netloc != host:
        return f"its origin is {origin[:80]}, not this console"
    return None


def guard_of(request: HTTPConnection) -> Guard:
    guard: Guard = request.app.state.guard
    return guard


def at_least(role: Role) -> Callable[..., Any]:
    """A dependency: the principal, if they have ``role`` or more, and if what changes something comes from a page of ours."""

    async def check(request: Request) -> Principal:
        guard = guard_of(request)
        who = await run_in_threadpool(guard.principal, request)  # a new token is hashed
        if who is None:
            raise HTTPException(401, "log in, or send a bearer token", {"WWW-Authenticate": "Bearer"})
        if who.role < role:
            raise HTTPException(403, f"this needs the role {role.name.lower()}; {who.name} is {who.role.name.lower()}")
        if request.method not in SAFE:
            sent = request.headers.get("x-csrf-token")
            if sent is None and request.headers.get("content-type", "").startswith(("application/x-www-form-urlencoded", "multipart/")):
                value = (await request.form(max_files=16, max_fields=200)).get("csrf")
                sent = value if isinstance(value, str) else None
            if (reason := guard.forged(request, sent)) is not None:
                raise HTTPException(403, reason)
        return who

    check.role = role  # type: ignore[attr-defined]
    return check


Viewer = Annotated[Principal, Depends(at_least(Role.VIEWER))]
Reviewer = Annotated[Principal, Depends(at_least(Role.REVIEWER))]
Admin = Annotated[Principal, Depends(at_least(Role.ADMIN))]


class Shield:
    """ASGI: security headers on every answer, a limit of the body, and for a console without tokens the names it may be called by.

    ``failed`` answers where something else than an expected error was raised. The names keep a page of another site, whose name resolves to 127.0.0.1, from reading what loopback may.
    """

    def __init__(self, app: ASGIApp, guard: Guard, failed: Callable[[Request, Exception], Response], max_body: int = MAX_BODY) -> None:
        self.app, self.guard, self.failed, self.max_body = app, guard, failed, max_body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        if self.guard.open and host_of(headers.get("host", "")) not in LOOPBACK:
            await refuse(scope, receive, send, 421, "a console without tokens answers to localhost alone")
            return
        if scope["type"] == "websocket":
            await self.app(scope, receive, send)
            return
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length) > self.max_body:
            await refuse(scope, receive, send, 413, f"a request may have {self.max_body // 1_000_000} MB at most")
            return
        taken, started = 0, False

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self.max_body:
                raise TooLarge
            return message

        async def with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                found = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    found[name] = value
                if "cache-control" not in found:
                    found["Cache-Control"] = "no-store"
            await send(message)

        try:
            await self.app(scope, limited, with_headers)
        except TooLarge:
            if not started:
                await refuse(scope, receive, send, 413, f"a request may have {self.max_body // 1_000_000} MB at most")
        except Exception as error:
            answer = self.failed(Request(scope), error)
            if not started:
                await answer(scope, receive, with_headers)


class TooLarge(Exception):
    """The body is longer than it may be."""


async def refuse(scope: Scope, receive: Receive, send: Send, code: int, text: str) -> None:
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close", "code": 1008, "reason": text})
        return
    body = (text + "\n").encode()
    headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": code, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def host_of(text: str) -> str:
    """The host of a Host header, without its port."""
    if text.startswith("["):
        return text.partition("]")[0] + "]"
    return text.partition(":")[0].lower()
