"""The views of people and cameras."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Form, HTTPException, Query, Request
from fastapi.responses import RedirectResponse, Response

from pipeline.report.page import lanes
from pipeline.store import Identity, Sighting, Store, Where
from pipeline.web.asked import ORDERS, PAGE, Filter, Id, filter_of
from pipeline.web.guard import Admin, Reviewer, Viewer
from pipeline.web.journey import journey
from pipeline.web.render import console_of, render
from pipeline.web.searching import similar as similar_people
from pipeline.web.shown import Axis

router = APIRouter(include_in_schema=False)
MOST_BARS = 4000  # sightings drawn on a page of people
SHOWN = 100  # sightings of a person or a camera on one page


@dataclass(frozen=True)
class Row:
    """A person in the list, with the sightings to draw."""

    person: Identity
    sightings: list[Sighting]

    @property
    def lanes(self) -> list[list[Sighting]]:
        return lanes(self.sightings)[:6]


def person_rows(store: Store, people: Sequence[Identity], where: Where) -> list[Row]:
    """The people of a page with their sightings in the time asked for, latest first where there are too many."""
    ids = tuple(person.id for person in people)
    found = store.sightings.query(Where(where.cameras, where.start, where.end, where.zone, ids), "-start", MOST_BARS) if ids else []
    by_person: dict[int, list[Sighting]] = defaultdict(list)
    for one in found:
        by_person[one.identity or 0].append(one)
    return [Row(person, by_person[person.id]) for person in people]


def uncertain_of(store: Store, ids: Sequence[int]) -> set[int]:
    """Those of ``ids`` that an unanswered pair says may be somebody else."""
    wanted, out = set(ids), set[int]()
    pairs = store.corrections.queue(1000)
    sides = {one for pair in pairs for one in (pair.a, pair.b)}
    identity_of = {one.id: one.identity for one in store.sightings.query(Where(sightings=tuple(sides)))} if sides else {}
    for pair in pairs:
        out |= {who for side in (pair.a, pair.b) if (who := identity_of.get(side)) in wanted and who is not None}
    return out


@router.get("/")
def first_page(request: Request, who: Viewer) -> Response:
    return RedirectResponse("/now" if console_of(request).live is not None else "/people", 303)


@router.get("/people")
def people(request: Request, who: Viewer, chosen: Annotated[Filter, Depends(filter_of)]) -> Response:
    store, where = console_of(request).store, chosen.where()
    number = chosen.name.strip().lstrip("#")
    if number.isdigit() and int(number) < 2**53:
        now = store.people.now(int(number))
        found = store.people.query(name=chosen.name, limit=PAGE)
        found = [*_one(store, now), *(one for one in found if one.id != now)]
        total = len(found)
    else:
        total = store.people.count(where, chosen.name or None, chosen.tag or None)
        found = store.people.query(where, chosen.order, PAGE, (chosen.page - 1) * PAGE, chosen.name or None, chosen.tag or None)
    rows = person_rows(store, found, where)
    every = [one for row in rows for one in row.sightings]
    axis = Axis.over([time for one in every for time in (one.start, one.end)], chosen.start, chosen.end)
    cameras = store.sightings.cameras()
    values: dict[str, Any] = {
        "chosen": chosen, "rows": rows, "total": total, "axis": axis, "cameras": cameras, "orders": ORDERS, "page_size": PAGE,
        "doubts": uncertain_of(store, [one.id for one in found]), "assumed": any(one.clock == "assumed" for one in every), "zones": zone_names(request),
        "tags": tags_of(store), "nothing_yet": not cameras or not any(camera.sightings for camera in cameras),
    }  # fmt: skip
    store.audit.log(who.name, "listed", None, view="people", people=len(found))
    return render(request, "_people_rows.html" if request.headers.get("hx-target") == "results" else "people.html", **values)


def _one(store: Store, identity: int) -> list[Identity]:
    return store.people.query(Where(identities=(identity,)), limit=1)


def zone_names(request: Request) -> list[str]:
    """Zones that the site file has."""
    return sorted({name for place in console_of(request).site().cameras.values() for name in place.zones})


def camera_ids(store: Store) -> dict[str, int]:
    """The numbers of cameras, as addresses have them."""
    return dict(store.db.rows("SELECT name, id FROM cameras"))


def tags_of(store: Store) -> list[str]:
    return [row[0] for row in store.db.rows("SELECT DISTINCT tag FROM tags ORDER BY tag LIMIT 100")]


@router.get("/people/{identity}")
def person(request: Request, who: Viewer, identity: Id, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
    store = console_of(request).store
    now = store.people.now(identity)
    if now != identity:
        return RedirectResponse(f"/people/{now}", 303)
    return _person(request, who.name, store, store.people.get(identity), page)


def _person(request: Request, actor: str, store: Store, found: Identity, page: int = 1) -> Response:
    where = Where(identities=(found.id,))
    sightings = store.sightings.query(where, "-start", SHOWN, (page - 1) * SHOWN)
    pairs = store.corrections.queue(20, identity=found.id)
    sides = tuple(one for pair in pairs for one in (pair.a, pair.b))
    others = {one.id: one for one in store.sightings.query(Where(sightings=sides))} if sides else {}
    axis = Axis.over([time for one in sightings for time in (one.start, one.end)])
    store.audit.log(actor, "viewed", f"identity:{found.id}")
    values: dict[str, Any] = {
        "person": found, "sightings": sightings, "page": page, "pages": -(-found.sightings // SHOWN), "axis": axis,
        "strips": strips(sightings), "doubts": [(pair, _other(pair.a, pair.b, others, found.id)) for pair in pairs],
        "visits": {one.id: store.sightings.visits(one.id) for one in sightings}, "pictures": pictures(store, sightings[:8]),
        "journey": journey(console_of(request).site(), sightings), "history": store.people.history(found.id)[-30:][::-1], "named": {one.id: one for one in sightings},
        "ids": camera_ids(store), "first_video": next((one for one in reversed(sightings) if one.video), None), "assumed": any(one.clock == "assumed" for one in sightings),
    }  # fmt: skip
    return render(request, "person.html", **values)


def _other(a: int, b: int, sightings: Mapping[int, Sighting], identity: int) -> tuple[Sighting | None, Sighting | None]:
    """The pair's sighting of this person, and the other one."""
    one, other = sightings.get(a), sightings.get(b)
    return (one, other) if one is not None and one.identity == identity else (other, one)


def strips(sightings: Sequence[Sighting]) -> dict[str, list[list[Sighting]]]:
    """The sightings by camera, in lanes, for a timeline."""
    by_camera: dict[str, list[Sighting]] = defaultdict(list)
    for one in sightings:
        by_camera[one.camera].append(one)
    return {camera: lanes(mine)[:8] for camera, mine in sorted(by_camera.items())}


def pictures(store: Store, sightings: Sequence[Sighting]) -> list[tuple[Sighting, int]]:
    """Crops of a person's latest sightings, as (sighting, crop number), best first."""
    out = []
    for one in sightings:
        crops = store.sightings.crops(one.id)
        out += [(one, crop.number) for crop in sorted(crops, key=lambda crop: not crop.best)[:2]]
    return out[:12]


@router.get("/people/{identity}/similar")
def similar(request: Request, who: Viewer, identity: Id) -> Response:
    """The part of a person's page that takes a search."""
    found = similar_people(console_of(request).gallery, identity, 6)
    ids = tuple(one for one, _ in found)
    names = {one.id: one for one in console_of(request).store.people.query(Where(identities=ids))} if ids else {}
    return render(request, "_similar.html", similar=found, names=names)


@router.post("/people/{identity}/name")
def rename(request: Request, who: Reviewer, identity: Id, name: Annotated[str, Form(max_length=80)] = "") -> Response:
    store = console_of(request).store
    store.people.rename(identity, " ".join(name.split()) or None, who.name)
    store.audit.log(who.name, "named", f"identity:{identity}")
    return RedirectResponse(f"/people/{identity}", 303)


@router.post("/people/{identity}/tag")
def tag(
    request: Request,
    who: Reviewer,
    identity: Id,
    tag: Annotated[str, Form(min_length=1, max_length=40)],
    on: Annotated[bool, Form()] = True,
) -> Response:
    store = console_of(request).store
    word = " ".join(tag.split())
    if not word:
        raise HTTPException(422, "tag: must not be empty")
    store.people.tag(identity, word, who.name, on)
    store.audit.log(who.name, "tagged" if on else "untagged", f"identity:{identity}", tag=word)
    return RedirectResponse(f"/people/{identity}", 303)


@router.post("/people/{identity}/split")
def split(request: Request, who: Reviewer, identity: Id, sighting: Annotated[list[int], Form(min_length=1, max_length=SHOWN)]) -> Response:
    """Sightings that are not this person become one of their own."""
    store = console_of(request).store
    if any(not 0 <= one < 2**53 for one in sighting):
        raise HTTPException(422, "sighting: not a number of one")
    store.corrections.split(identity, sighting, who.name)
    store.audit.log(who.name, "split", f"identity:{identity}", sightings=len(sighting))
    return RedirectResponse(f"/people/{identity}", 303)


@router.post("/people/{identity}/merge")
def merge(request: Request, who: Reviewer, identity: Id, other: Annotated[int, Form(ge=1, lt=2**53)]) -> Response:
    """Another number is this person too."""
    store = console_of(request).store
    store.corrections.merge([identity, other], who.name)
    store.audit.log(who.name, "merged", f"identity:{min(identity, other)}")
    return RedirectResponse(f"/people/{store.people.now(identity)}", 303)


@router.get("/cameras")
def cameras(
    request: Request,
    who: Viewer,
    chosen: Annotated[Filter, Depends(filter_of)],
    at: Annotated[float | None, Query(allow_inf_nan=False)] = None,
) -> Response:
    """The timeline of one or several cameras, with their videos in step."""
    store = console_of(request).store
    known = store.sightings.cameras()
    names = chosen.cameras or tuple(one.name for one in known[:1])
    where = Where(names or None, chosen.start, chosen.end)
    sightings = store.sightings.query(where, "-start", 2000)[::-1] if names else []
    axis = Axis.over([time for one in sightings for time in (one.start, one.end)], chosen.start, chosen.end)
    feeds = {name: [feed for feed in store.sightings.feeds(name) if feed.first is not None] for name in names}
    shown = at if at is not None else axis.start
    store.audit.log(who.name, "viewed", None, view="cameras", cameras=len(names))
    values: dict[str, Any] = {
        "ids": camera_ids(store), "chosen": chosen, "known": known, "names": names, "strips": strips(sightings), "axis": axis, "feeds": feeds, "at": shown,
        "count": len(sightings), "total": store.sightings.count(where) if names else 0, "assumed": any(one.clock == "assumed" for one in sightings),
        "people": {one.id: one for one in store.people.query(Where(identities=tuple({s.identity for s in sightings if s.identity is not None})), "id")}
        if sightings else {},
    }  # fmt: skip
    return render(request, "cameras.html", **values)


@router.get("/audit")
def audit(request: Request, who: Admin, page: Annotated[int, Query(ge=1, le=100_000)] = 1) -> Response:
    """Who looked at what, and changed what."""
    entries = console_of(request).store.audit.query(limit=200, offset=(page - 1) * 200)
    return render(request, "audit.html", entries=entries, page=page, size=200)
