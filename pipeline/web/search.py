"""Search by picture or by a sighting: who else looks like this person, and where."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, HTTPException, Query, Request, UploadFile
from fastapi.responses import RedirectResponse, Response

from pipeline.errors import UsageError
from pipeline.store import Store, Where
from pipeline.store.search import Found, Threshold
from pipeline.web import searching
from pipeline.web.access import Principal
from pipeline.web.asked import Filter, filter_of
from pipeline.web.guard import Viewer, guard_of
from pipeline.web.pages import zone_names
from pipeline.web.render import console_of, render
from pipeline.web.searching import Candidate

router = APIRouter(include_in_schema=False)
MOST_PICTURES, KEPT, KEPT_FOR = 5, 8, 1800.0  # pictures of a search; searches kept in a session, and for how long
TOP = 40


@dataclass(frozen=True, eq=False)
class Upload:
    """The pictures of a search; they stay in memory until the session ends or a while has passed."""

    at: float
    pictures: list[list[Candidate]]


def limit(request: Request, who: Principal) -> None:
    """Raises HTTPException if ``who`` searches too often."""
    if wait := guard_of(request).searches.wait(who.name):
        raise HTTPException(429, f"too many searches; try again in {wait:.0f} s", {"Retry-After": str(int(wait) + 1)})


def by_sighting(request: Request, who: Principal, sighting: int, where: Where, top: int) -> Found:
    """Who looks like a sighting's person; logged. Raises HTTPException if it cannot be searched for."""
    gallery = console_of(request).gallery
    one = gallery.store.sightings.get(sighting)
    if gallery.store.vectors.get(sighting) is None:
        raise HTTPException(404, f"sighting {one.name} has no embedding: it cannot be searched for")
    limit(request, who)
    found = gallery.searcher.by_sighting(sighting, where, top)
    gallery.store.audit.log(who.name, "searched", f"sighting:{sighting}", compared=found.compared, matches=len(found.matches))
    return found


def by_embeddings(request: Request, who: Principal, rows: np.ndarray, where: Where, top: int) -> Found:
    """Who looks like the person of ``rows`` (n, d); logged. A store without embeddings has nobody."""
    gallery = console_of(request).gallery
    if not gallery.store.vectors.count():
        return nobody(gallery.store)
    found = gallery.searcher.by_vectors(rows, where, top)
    gallery.store.audit.log(who.name, "searched", None, pictures=len(rows), compared=found.compared, matches=len(found.matches))
    return found


def nobody(store: Store) -> Found:
    """What a search of an empty store finds."""
    return Found((), Threshold(0.0, store.settings.false_positive_rate, 0), 0)


def people_in(request: Request, pictures: Sequence[bytes]) -> list[list[Candidate]]:
    """The people in each picture. Raises HTTPException for what is no picture."""
    try:
        return searching.people_in(console_of(request).gallery, pictures)
    except UsageError as error:
        raise HTTPException(422, str(error).replace(str(console_of(request).store.path), "the store")) from None


@router.get("/search")
def search_page(
    request: Request,
    who: Viewer,
    chosen: Annotated[Filter, Depends(filter_of)],
    sighting: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    upload: Annotated[str, Query(max_length=64)] = "",
) -> Response:
    """The search form; with ``sighting`` or ``upload``, and who was chosen in each picture (``person0`` ...), its results."""
    store, kept, person = console_of(request).store, _kept(request, upload), _numbers(request)
    found: Found | None = None
    if sighting is not None:
        found = by_sighting(request, who, sighting, chosen.where(), TOP)
    elif kept is not None and len(person) == len(kept.pictures):
        rows = _chosen(kept.pictures, person)
        limit(request, who)
        found = by_embeddings(request, who, rows, chosen.where(), TOP)
    people = {hit.sighting.identity for hit in found.hits if hit.sighting.identity is not None} if found is not None else set()
    values: dict[str, Any] = {
        "chosen": chosen, "sighting": None if sighting is None else store.sightings.get(sighting), "upload": upload, "kept": kept,
        "person": person, "found": found, "cameras": store.sightings.cameras(), "zones": zone_names(request),
        "names": {one.id: one for one in store.people.query(Where(identities=tuple(people)))} if people else {},
        "gone": bool(upload) and kept is None,
    }  # fmt: skip
    return render(request, "_hits.html" if request.headers.get("hx-target") == "results" else "search.html", **values)


@router.post("/search")
def search_by_picture(request: Request, who: Viewer, picture: list[UploadFile]) -> Response:
    """Take pictures, find the people in them, and show results, or ask who is meant where there are several."""
    session = guard_of(request).session(request)
    limit(request, who)
    if session is None:
        raise HTTPException(400, "pictures are kept with a session: log in, or use /api/search")
    data = [one.file.read() for one in picture if one.size]
    if not data:
        raise HTTPException(422, "picture: choose a file first")
    if len(data) > MOST_PICTURES:
        raise HTTPException(422, f"picture: {MOST_PICTURES} at most")
    pictures = people_in(request, data)
    now, name = time.monotonic(), secrets.token_urlsafe(12)
    uploads = {key: one for key, one in session.kept.items() if isinstance(one, Upload) and now - one.at < KEPT_FOR}
    for oldest in sorted(uploads, key=lambda key: uploads[key].at)[: max(0, len(uploads) - KEPT + 1)]:
        del uploads[oldest]
    session.kept = {**uploads, name: Upload(now, pictures)}
    query = f"/search?upload={name}"
    if all(len(people) == 1 for people in pictures):
        query += "".join(f"&person{at}=0" for at in range(len(pictures)))
    if request.headers.get("hx-request"):
        return Response(status_code=204, headers={"HX-Redirect": query})
    return RedirectResponse(query, 303)


def _numbers(request: Request) -> list[int]:
    """Who is meant in each picture. Raises HTTPException."""
    given = [request.query_params.get(f"person{at}") for at in range(MOST_PICTURES)]
    texts = [text for text in given if text is not None]
    if not all(text.isascii() and text.isdigit() and len(text) < 4 for text in texts):
        raise HTTPException(422, "person: expected the number of a person in the picture")
    return list(map(int, texts))


def _kept(request: Request, upload: str) -> Upload | None:
    session = guard_of(request).session(request)
    found = session.kept.get(upload) if session is not None and upload else None
    return found if isinstance(found, Upload) and time.monotonic() - found.at < KEPT_FOR else None


def _chosen(pictures: Sequence[Sequence[Candidate]], person: Sequence[int]) -> np.ndarray:
    """(m, d) embeddings of whom was chosen in each picture. Raises HTTPException."""
    for people, number in zip(pictures, person, strict=True):
        if not 0 <= number < len(people):
            raise HTTPException(422, f"person: {number} is not one of the {len(people)} in the picture")
    return np.stack([people[number].embedding for people, number in zip(pictures, person, strict=True)])
