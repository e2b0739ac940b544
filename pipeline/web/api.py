"""The API: what the pages show, as JSON. ``/api/openapi.json`` describes it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Body, Depends, HTTPException, Query, Request, UploadFile
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline.store import Camera, Correction, Identity, Sighting, UncertainPair, Visit, Where
from pipeline.store.search import Found
from pipeline.web import searching
from pipeline.web.asked import Filter, Id, filter_of
from pipeline.web.guard import Reviewer, Viewer
from pipeline.web.media import feed_of
from pipeline.web.now import states
from pipeline.web.render import console_of
from pipeline.web.reports import Table, each_of, report_of
from pipeline.web.search import MOST_PICTURES, by_embeddings, by_sighting, limit, people_in

router = APIRouter(prefix="/api", tags=["console"])
Limit = Annotated[int, Query(ge=1, le=1000)]
BOX_LIMIT = 400  # sightings of a video whose boxes are given at once


class Answered(BaseModel):
    """An answer about two sightings."""

    model_config = ConfigDict(extra="forbid")

    a: int = Field(ge=0, lt=2**53)
    b: int = Field(ge=0, lt=2**53)
    answer: Literal["same", "different", "unsure"]


@router.get("/openapi.json", include_in_schema=False)
def schema(request: Request, who: Viewer) -> Response:
    return JSONResponse(request.app.openapi())


@router.get("/cameras")
def cameras(request: Request, who: Viewer) -> list[Camera]:
    """All cameras."""
    return console_of(request).store.sightings.cameras()


@router.get("/status")
def status(request: Request, who: Viewer) -> dict[str, Any]:
    """State of each camera, as far as it is known, and what the store holds."""
    store = console_of(request).store
    return {
        "cameras": states(request),
        "sightings": store.sightings.count(),
        "people": store.people.count(),
        "open_pairs": store.corrections.open_pairs(),
    }


@router.get("/people")
def people(request: Request, who: Viewer, chosen: Annotated[Filter, Depends(filter_of)], limit: Limit = 50) -> list[Identity]:
    """People, as the filter and ``order`` say; ``page`` counts from 1, with ``limit`` people each."""
    store = console_of(request).store
    store.audit.log(who.name, "listed", None, view="api/people")
    return store.people.query(chosen.where(), chosen.order, limit, (chosen.page - 1) * limit, chosen.name or None, chosen.tag or None)


@router.get("/people/{identity}")
def person(request: Request, who: Viewer, identity: Id) -> Identity:
    """A person; one that became part of another is that one now."""
    store = console_of(request).store
    found = store.people.get(store.people.now(identity))
    store.audit.log(who.name, "viewed", f"identity:{found.id}")
    return found


@router.get("/people/{identity}/sightings")
def sightings_of(
    request: Request, who: Viewer, identity: Id, limit: Limit = 200, page: Annotated[int, Query(ge=1, le=100_000)] = 1
) -> list[Sighting]:
    """The sightings of a person, earliest first."""
    store = console_of(request).store
    now = store.people.get(store.people.now(identity)).id
    store.audit.log(who.name, "viewed", f"identity:{now}")
    return store.sightings.query(Where(identities=(now,)), "start", limit, (page - 1) * limit)


@router.get("/people/{identity}/similar")
def similar(request: Request, who: Viewer, identity: Id, top: Annotated[int, Query(ge=1, le=50)] = 8) -> list[dict[str, Any]]:
    """Other people who look like this one: identity, a sighting, and P(same), best first."""
    return [
        {"identity": who_else, "sighting": hit.sighting.id, "probability": hit.probability}
        for who_else, hit in searching.similar(console_of(request).gallery, identity, top)
    ]


@router.get("/sightings")
def sightings(request: Request, who: Viewer, chosen: Annotated[Filter, Depends(filter_of)], limit: Limit = 200) -> list[Sighting]:
    """Sightings in the time and cameras asked for, latest first."""
    store = console_of(request).store
    store.audit.log(who.name, "listed", None, view="api/sightings")
    return store.sightings.query(chosen.where(), "-start", limit, (chosen.page - 1) * limit)


@router.get("/sightings/{sighting}/visits")
def visits(request: Request, who: Viewer, sighting: Id) -> list[Visit]:
    """Stays of a sighting in zones."""
    store = console_of(request).store
    return store.sightings.visits(store.sightings.get(sighting).id)


@router.get("/boxes/{source}/{camera}")
def boxes(
    request: Request,
    who: Viewer,
    source: Id,
    camera: Id,
    start: Annotated[float, Query(ge=-1e12, le=1e12, allow_inf_nan=False)] = 0.0,
    seconds: Annotated[float, Query(gt=0, le=3600, allow_inf_nan=False)] = 600.0,
) -> dict[str, Any]:
    """Boxes to draw over a video: per sighting its identity, name, and ``points``: seconds of the video and x1, y1, x2, y2 px each.

    ``start``: seconds of the video. ``next``: where to ask on from, if not everything fitted in.
    """
    store = console_of(request).store
    feed = feed_of(request, source, camera)
    begin = feed.epoch + start
    found = [
        one for one in store.sightings.query(Where((feed.camera,), begin, begin + seconds), "start", BOX_LIMIT * 2) if one.source == source
    ]
    people = {one.identity for one in found if one.identity is not None}
    names = {one.id: one.name for one in store.people.query(Where(identities=tuple(people)))} if people else {}
    tracks = []
    for one in found[:BOX_LIMIT]:
        path = store.sightings.path(one.id)
        points = np.c_[path.times - feed.epoch, path.boxes].round(2)
        tracks.append({"sighting": one.id, "identity": one.identity, "name": names.get(one.identity or -1), "points": points.tolist()})
    size = next((one.size for one in store.sightings.cameras() if one.id == camera), None)
    later = found[BOX_LIMIT].start - feed.epoch if len(found) > BOX_LIMIT else None
    return {"camera": feed.camera, "size": size, "tracks": tracks, "next": later}


@router.get("/search")
def search(
    request: Request,
    who: Viewer,
    sighting: Annotated[int, Query(ge=0, lt=2**53)],
    chosen: Annotated[Filter, Depends(filter_of)],
    top: Annotated[int, Query(ge=1, le=500)] = 20,
) -> Found:
    """Who looks like the person of a sighting, likeliest first. Without a ``match`` among them, nobody here matches."""
    return by_sighting(request, who, sighting, chosen.where(), top)


@router.post("/search")
def search_by_picture(
    request: Request,
    who: Viewer,
    picture: list[UploadFile],
    chosen: Annotated[Filter, Depends(filter_of)],
    person: Annotated[int, Query(ge=1, le=24)] = 1,
    top: Annotated[int, Query(ge=1, le=500)] = 20,
) -> Found:
    """Who looks like the person of the pictures; ``person``: which one, from left to right, where they show several."""
    limit(request, who)
    if not 1 <= len(picture) <= MOST_PICTURES:
        raise HTTPException(422, f"picture: from one to {MOST_PICTURES}")
    people = people_in(request, [one.file.read() for one in picture])
    if any(person > len(one) for one in people if len(one) > 1):
        raise HTTPException(422, f"person: {person} is more than a picture shows")
    rows = np.stack([one[person - 1 if len(one) > 1 else 0].embedding for one in people])
    return by_embeddings(request, who, rows, chosen.where(), top)


@router.get("/review")
def queue(
    request: Request, who: Reviewer, limit: Limit = 50, identity: Annotated[int | None, Query(ge=0, lt=2**53)] = None
) -> list[UncertainPair]:
    """Uncertain pairs without an answer, the least certain first."""
    return console_of(request).store.corrections.queue(limit, identity=identity)


@router.post("/review")
def answer(request: Request, who: Reviewer, answered: Annotated[Answered, Body()]) -> Correction:
    """Answer a pair: a correction, which ``/api/review/undo`` takes back."""
    store = console_of(request).store
    store.audit.log(who.name, "answered", f"sighting:{answered.a}", answer=answered.answer)
    return store.corrections.answer(answered.a, answered.b, answered.answer, who.name)


@router.post("/review/undo/{correction}")
def undo(request: Request, who: Reviewer, correction: Id) -> Correction:
    """Take a correction back."""
    store = console_of(request).store
    store.corrections.undo(correction, who.name)
    return store.corrections.get(correction)


@router.get("/reports/{table}")
def report(
    request: Request, who: Viewer, table: Table, chosen: Annotated[Filter, Depends(filter_of)], each: Annotated[str, Depends(each_of)]
) -> list[dict[str, Any]]:
    """A table of the report; ``/reports/TABLE.csv`` and ``.parquet`` give it as files."""
    return [asdict(row) for row in getattr(report_of(request, chosen, each), table)]
