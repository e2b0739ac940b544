"""Templates, and what all pages share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse

from pipeline.web import shown
from pipeline.web.access import LOCAL
from pipeline.web.guard import COOKIE, guard_of

if TYPE_CHECKING:
    from pipeline.web.app import Console

TEMPLATES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True,
    undefined=jinja2.StrictUndefined,
)  # fmt: skip
TEMPLATES.filters.update(
    {name: getattr(shown, name) for name in ("clock", "day", "stamp", "span", "lasting", "percent", "words", "level", "tint", "field_time")}
)


def console_of(request: Request) -> Console:
    console: Console = request.app.state.console
    return console


def render(request: Request, template: str, status: int = 200, headers: dict[str, str] | None = None, **values: Any) -> HTMLResponse:
    """A page. From loopback, where no tokens are, it begins the session that its forms need."""
    guard, console = guard_of(request), console_of(request)
    session, begun = guard.session(request), None
    if session is None and guard.open and not request.headers.get("authorization"):
        begun = guard.sessions.begin(LOCAL)
        session = guard.sessions.get(begun)
    who = guard.principal(request) or (session.principal if session else None)
    waiting = console.store.corrections.open_pairs() if who is not None and not request.headers.get("hx-request") else 0
    html = TEMPLATES.get_template(template).render(
        who=who, csrf=session.csrf if session else "", zone=shown.zone_name(), has_live=console.live is not None, open_pairs=waiting,
        path=request.url.path, open_access=guard.open, **values,
    )  # fmt: skip
    response = HTMLResponse(html, status, headers)
    if begun is not None:
        keep_session(request, response, begun)
    return response


def keep_session(request: Request, response: HTMLResponse | Any, name: str) -> None:
    """Set the cookie of a session."""
    response.set_cookie(COOKIE, name, httponly=True, samesite="lax", secure=request.url.scheme == "https", path="/")
