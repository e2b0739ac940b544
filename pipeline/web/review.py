"""Uncertain pairs as a queue: same, different, don't know; each answer is a correction that can be taken back."""

from __future__ import annotations

import io
import zipfile
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Query, Request
from fastapi.responses import RedirectResponse, Response

from pipeline.formats.paths import safe_name
from pipeline.store import Sighting, Store
from pipeline.web.guard import Reviewer
from pipeline.web.render import console_of, render

router = APIRouter(prefix="/review", include_in_schema=False)
MOST_PAIRS = 2000  # answered pairs in a training set
Number = Annotated[int, Form(ge=0, lt=2**53)]


def queue_page(request: Request, identity: int | None, last: int | None) -> Response:
    """The first pair of the queue, or what to say without one. ``last``: the correction that can be taken back."""
    store = console_of(request).store
    pairs = store.corrections.queue(1, identity=identity)
    pair = pairs[0] if pairs else None
    values: dict[str, Any] = {
        "pair": pair, "one": side(store, pair.a) if pair else None, "other": side(store, pair.b) if pair else None,
        "waiting": store.corrections.open_pairs(), "identity": identity, "last": last,
        "answered": store.db.value("SELECT count(*) FROM pairs WHERE answer IS NOT NULL"),
    }  # fmt: skip
    return render(request, "_pair.html" if request.headers.get("hx-request") else "review.html", **values)


def side(store: Store, sighting: int) -> tuple[Sighting, list[int], int]:
    """A sighting of a pair, the numbers of its pictures, and how many sightings its person has."""
    found = store.sightings.get(sighting)
    person = store.people.get(found.identity).sightings if found.identity is not None else 0
    return found, [crop.number for crop in store.sightings.crops(sighting)][:6], person


@router.get("")
def review(request: Request, who: Reviewer, identity: Annotated[int | None, Query(ge=0, lt=2**53)] = None) -> Response:
    return queue_page(request, identity, None)


@router.post("")
def answer(
    request: Request,
    who: Reviewer,
    a: Number,
    b: Number,
    answer: Annotated[Literal["same", "different", "unsure"], Form()],
    identity: Annotated[int | None, Form(ge=0, lt=2**53)] = None,
) -> Response:
    store = console_of(request).store
    correction = store.corrections.answer(a, b, answer, who.name)
    store.audit.log(who.name, "answered", f"sighting:{a}", answer=answer)
    if identity is not None:
        identity = store.people.now(identity)
    if request.headers.get("hx-request"):
        return queue_page(request, identity, correction.id)
    return RedirectResponse("/review" + (f"?identity={identity}" if identity is not None else ""), 303)


@router.post("/undo")
def undo(request: Request, who: Reviewer, correction: Number) -> Response:
    store = console_of(request).store
    store.corrections.undo(correction, who.name)
    store.audit.log(who.name, "undid", None, correction=correction)
    return queue_page(request, None, None) if request.headers.get("hx-request") else RedirectResponse("/review", 303)


@router.get("/training.zip")
def training(request: Request, who: Reviewer) -> Response:
    """The crops of all sightings that somebody called the same or different, one folder per person, as ``passerby reid train --data`` reads it."""
    store = console_of(request).store
    rows = store.db.rows("SELECT a, b FROM pairs WHERE answer IN ('same', 'different') ORDER BY answered DESC LIMIT ?", (MOST_PAIRS,))
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for sighting in sorted({one for row in rows for one in row}):
            found = store.sightings.get(sighting)
            if found.identity is None:
                continue
            for crop in store.sightings.crops(sighting):
                name = f"{found.identity:05d}/{safe_name(found.camera, 'camera')}_{sighting}_{crop.number:02d}.jpg"
                archive.writestr(name, crop.jpeg)
    store.audit.log(who.name, "exported", None, what="training pairs", pairs=len(rows))
    return Response(file.getvalue(), media_type="application/zip", headers={"Content-Disposition": 'attachment; filename="pairs.zip"'})
