"""Erasure of a person: work that takes a while, in a thread, since their videos are encoded anew."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Form, HTTPException, Request
from fastapi.responses import RedirectResponse, Response

from pipeline.errors import PasserbyError
from pipeline.jobs.forget import forget
from pipeline.store import Where
from pipeline.web.asked import Id
from pipeline.web.guard import Admin
from pipeline.web.render import console_of, render

log = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)
_starting = threading.Lock()


@dataclass
class Erasing:
    """An erasure. It says nothing of whom: that is what it erases. ``notes``: what its user should know."""

    actor: str
    began: float = field(default_factory=time.time)
    running: bool = True
    said: str = ""
    notes: tuple[str, ...] = ()


@router.post("/people/{identity}/forget")
def erase(request: Request, who: Admin, identity: Id, sure: Annotated[bool, Form()] = False) -> Response:
    """Erase a person from the store, its runs, their videos and exports. There is no way back."""
    console = console_of(request)
    now = console.store.people.get(console.store.people.now(identity)).id
    if not sure:
        raise HTTPException(422, "tick that you are sure: an erasure cannot be taken back")
    with _starting:
        before: list[Erasing] = getattr(request.app.state, "erasing", [])
        if any(one.running for one in before):
            raise HTTPException(409, "another erasure is being done; wait until it is over")
        work = Erasing(who.name)
        request.app.state.erasing = [work, *before[:19]]

    def run() -> None:
        try:
            done = forget(console.store.path, Where(identities=(now,)), who.name, console.config.store, console.config.output)
            work.said, work.notes = f"{done.sightings} sightings erased", done.notes
        except PasserbyError as error:
            work.said = str(error)
        except Exception:
            log.exception("an erasure failed")
            work.said = "failed; the log of the console says more"
        finally:
            work.running = False

    threading.Thread(target=run, name="erase", daemon=False).start()
    return RedirectResponse("/erasures", 303)


@router.get("/erasures")
def erasures(request: Request, who: Admin) -> Response:
    """The erasures since the console began, and how far they are."""
    works: list[Erasing] = getattr(request.app.state, "erasing", [])
    return render(request, "_erasures.html" if request.headers.get("hx-request") else "erasures.html", works=works)
