"""The console as a FastAPI application."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from pipeline.config import Config
from pipeline.errors import OutputError, PasserbyError, UsageError
from pipeline.formats.site_file import SiteFile, load_site
from pipeline.jobs.search import Gallery
from pipeline.live.screen import LiveScreen
from pipeline.report.run_record import version
from pipeline.store import Store
from pipeline.web import api, erase, login, media, now, pages, reports, review, search, site_pages
from pipeline.web.guard import Guard, Shield
from pipeline.web.render import render

log = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "static"
PARTS = (login, pages, review, search, reports, site_pages, erase, now, media, api)


@dataclass
class Console:
    """What the console shows: a store; the site file, if any; live cameras of this process, if any. ``config``: the models that search by picture."""

    store: Store
    config: Config = field(default_factory=Config)
    site_path: Path | None = None
    live: LiveScreen | None = None

    def __post_init__(self) -> None:
        self.gallery = Gallery(self.store, self.config)

    def site(self) -> SiteFile:
        """The site file as it is now; an empty site without one, or before it is written. Raises UsageError for an invalid one."""
        if self.site_path is None or not self.site_path.is_file():
            return SiteFile()
        return load_site(self.site_path)


def create_app(console: Console, guard: Guard) -> FastAPI:
    """The application. ``guard`` decides who may do what."""
    app = FastAPI(
        title="passerby console", version=version(), docs_url=None, redoc_url=None, openapi_url=None,
        description="Sightings, people and reports of a store. Send a token as `Authorization: Bearer NAME.SECRET`.",
    )  # fmt: skip
    app.state.console, app.state.guard = console, guard
    app.mount("/static", Static(directory=STATIC), name="static")
    for part in PARTS:
        app.include_router(part.router)
    app.add_exception_handler(HTTPException, _told)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(PasserbyError, _refused)
    app.add_middleware(Shield, guard=guard, failed=_failed)
    return app


class Static(StaticFiles):
    """Our own few files, which change with the version alone."""

    def file_response(self, *args: Any, **values: Any) -> Response:
        response = super().file_response(*args, **values)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _answer(request: Request, code: int, text: str, headers: dict[str, str] | None = None) -> Response:
    """An error as JSON for programs, as a message for a part of a page, as a page for people."""
    if request.url.path.startswith("/api/") or request.headers.get("authorization"):
        return JSONResponse({"detail": text}, code, headers)
    if request.headers.get("hx-request"):
        return HTMLResponse(f'<p class="message bad" role="alert">{escape(text)}</p>', code, headers)
    return render(request, "error.html", code, headers, code=code, text=text)


async def _told(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    wants_page = request.method == "GET" and not request.url.path.startswith(("/api/", "/media/"))
    if error.status_code == 401 and wants_page and not request.headers.get("authorization"):
        there = request.url.path + (f"?{request.url.query}" if request.url.query else "")
        if request.headers.get("hx-request"):
            return Response(status_code=401, headers={"HX-Redirect": "/login"})
        return RedirectResponse(f"/login?next={quote(there)}", 303)
    text = {404: "there is nothing at this address", 405: "this address cannot be used that way"}.get(error.status_code, "")
    detail = str(error.detail)
    return _answer(request, error.status_code, text if detail in ("Not Found", "Method Not Allowed") else detail, dict(error.headers or {}))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return _answer(request, 422, f"{'.'.join(map(str, first['loc'][1:])) or 'request'}: {first['msg']}")


async def _refused(request: Request, error: Exception) -> Response:
    """What the store says of unknown people, cameras and the like, and of a disk that is full."""
    text = str(error).replace(str(request.app.state.console.store.path), "the store")  # where it lies is nobody's business
    return _answer(request, 404 if isinstance(error, UsageError) else 503 if isinstance(error, OutputError) else 400, text)


def _failed(request: Request, error: Exception) -> Response:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _answer(request, 500, "internal error; the log of the console says more")
