"""Log in and out, and whether the console is there."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import RedirectResponse, Response

from pipeline.web.guard import COOKIE, Viewer, guard_of, other_site
from pipeline.web.render import keep_session, render

router = APIRouter(include_in_schema=False)


def here(path: str) -> str:
    """``path`` if it is one of ours, else the first page: a login must not lead elsewhere."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) and path.isprintable() and "\\" not in path else "/"


@router.get("/login")
def login_page(request: Request, next: Annotated[str, Query(max_length=2000)] = "/") -> Response:
    if guard_of(request).open:
        return RedirectResponse(here(next), 303)
    return render(request, "login.html", next=here(next), problem=None)


@router.post("/login")
async def log_in(
    request: Request, token: Annotated[str, Form(max_length=200)] = "", next: Annotated[str, Form(max_length=2000)] = "/"
) -> Response:
    guard = guard_of(request)
    if (reason := other_site(request)) is not None:
        raise HTTPException(403, reason)
    address = request.client.host if request.client else "unknown"
    if wait := guard.logins.wait(address):
        text = f"too many attempts; try again in {wait:.0f} s"
        return render(request, "login.html", 429, {"Retry-After": str(int(wait) + 1)}, next=here(next), problem=text)
    who = await run_in_threadpool(guard.tokens.check, token.strip())
    if who is None:
        return render(request, "login.html", 401, next=here(next), problem="this token is not known here")
    guard.sessions.end(request.cookies.get(COOKIE))
    response = RedirectResponse(here(next), 303)
    keep_session(request, response, guard.sessions.begin(who))
    request.app.state.console.store.audit.log(who.name, "logged in")
    return response


@router.post("/logout")
def log_out(request: Request, who: Viewer) -> Response:
    guard_of(request).sessions.end(request.cookies.get(COOKIE))
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/")
    return response


@router.get("/healthz")
def health() -> dict[str, bool]:
    return {"healthy": True}
