"""Settings: zones, lines, areas and links, drawn on the cameras' pictures and saved in the site file."""

from __future__ import annotations

import hashlib
import logging
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import yaml
from fastapi import APIRouter, Body, HTTPException, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline.errors import PasserbyError, UsageError, writing
from pipeline.formats.site_file import SiteFile
from pipeline.formats.validation import validated
from pipeline.formats.yaml_file import read_yaml
from pipeline.store import Store
from pipeline.store.figures import count_zones
from pipeline.web.guard import Admin
from pipeline.web.render import console_of, render
from tracker.site import CameraPlace, Line, Link, Zone

log = logging.getLogger(__name__)
router = APIRouter()
AREAS = tuple(name for name in ("only", "ignore", "private") if name in CameraPlace.model_fields)  # lists of polygons
_saving = threading.Lock()


class CameraDrawing(BaseModel):
    """What was drawn for a camera. ``version``: of the site file that it was drawn on; another one now is a conflict."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(max_length=64)
    zones: dict[str, Zone] = Field(default={}, max_length=100)
    lines: dict[str, Line] = Field(default={}, max_length=100)
    areas: dict[str, list[list[tuple[float, float]]]] = Field(default={}, max_length=8)


class Links(BaseModel):
    """The ways between cameras. ``version`` as in ``CameraDrawing``."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(max_length=64)
    links: list[Link] = Field(max_length=500)


@dataclass
class Counting:
    """The work of counting zones anew, in a thread of its own."""

    done: int = 0
    of: int = 0
    running: bool = False
    said: str = ""
    stop: threading.Event = field(default_factory=threading.Event)

    def run(self, store: Store, site: SiteFile) -> None:
        def progress(done: int, of: int) -> bool:
            self.done, self.of = done, of
            return not self.stop.is_set()

        try:
            visits, crossings = count_zones(store, site, progress)
            self.said = f"{visits} visits and {crossings} crossings counted" + (", then stopped" if self.stop.is_set() else "")
        except PasserbyError as error:
            self.said = str(error)
        except Exception:
            log.exception("counting zones failed")
            self.said = "internal error; the log of the console says more"
        finally:
            self.running = False


def version_of(path: Path | None) -> str:
    """Of the site file as it is; "new" before there is one."""
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path is not None and path.is_file() else "new"


@router.get("/settings", include_in_schema=False)
def settings(request: Request, who: Admin, camera: Annotated[str, Query(max_length=200)] = "") -> Response:
    console = console_of(request)
    site, known = console.site(), console.store.sightings.cameras()
    names = sorted({*(one.name for one in known), *site.cameras})
    if camera and camera not in names:
        raise HTTPException(404, f"no camera {camera[:60]!r}")
    name = camera or next(iter(names), "")
    place: CameraPlace = site.cameras.get(name) or CameraPlace()
    about = next((one for one in known if one.name == name), None)
    drawing = {
        "zones": {key: zone.model_dump(mode="json") for key, zone in place.zones.items()},
        "lines": {key: line.model_dump(mode="json") for key, line in place.lines.items()},
        "areas": {key: getattr(place, key) for key in AREAS},
    }
    size = about.size if about is not None and about.size is not None else (1280, 720)
    return render(
        request, "settings.html", names=names, name=name, about=about, drawing=drawing, size=size, site_path=console.site_path, links=site.links,
        version=version_of(console.site_path), areas=AREAS, counting=counting_of(request), overlaps=site.overlaps,
    )  # fmt: skip


@router.put("/api/site/cameras/{camera:path}", tags=["site"])
def draw(request: Request, who: Admin, camera: str, drawing: Annotated[CameraDrawing, Body()]) -> dict[str, str]:
    """Save what was drawn for a camera in the site file; everything else in it stays."""
    console = console_of(request)
    if camera not in {one.name for one in console.store.sightings.cameras()} | set(console.site().cameras):
        raise HTTPException(404, f"no camera {camera[:60]!r}")
    if unknown := set(drawing.areas) - set(AREAS):
        raise HTTPException(422, f"areas: {sorted(unknown)[0][:40]!r} is not one of {', '.join(AREAS)}")

    def change(values: dict[str, Any]) -> None:
        place = values.setdefault("cameras", {}).get(camera)
        place = values["cameras"][camera] = dict(place) if isinstance(place, dict) else {}
        drawn: dict[str, Any] = {
            "zones": {name: zone.model_dump(mode="json", exclude_defaults=True) for name, zone in drawing.zones.items()},
            "lines": {name: line.model_dump(mode="json", exclude_defaults=True) for name, line in drawing.lines.items()},
        } | {name: [[list(point) for point in polygon] for polygon in drawing.areas.get(name, ())] for name in AREAS}
        for key, value in drawn.items():
            if value:
                place[key] = value
            else:
                place.pop(key, None)

    return {"version": _save(request, who.name, drawing.version, change, f"camera:{camera}")}


@router.put("/api/site/links", tags=["site"])
def link(request: Request, who: Admin, links: Annotated[Links, Body()]) -> dict[str, str]:
    """Save the ways between cameras in the site file; everything else in it stays."""

    def change(values: dict[str, Any]) -> None:
        values["links"] = [one.model_dump(mode="json", exclude_defaults=True) for one in links.links]

    return {"version": _save(request, who.name, links.version, change, "links")}


def _save(request: Request, actor: str, version: str, change: Any, subject: str) -> str:
    """Apply ``change`` to the values of the site file, check them, and write it; the earlier file stays beside it. Returns the new version."""
    console = console_of(request)
    path = console.site_path
    if path is None:
        raise HTTPException(409, "the console was started without a site file: give one with --site")
    with _saving:
        if version != version_of(path):
            raise HTTPException(409, "the site file has changed meanwhile: reload the page, and draw again")
        values = dict(read_yaml(path, "site file").values or {}) if path.is_file() else {}
        change(values)
        try:
            validated(SiteFile, values, lambda keys: "")
        except UsageError as error:
            raise HTTPException(422, str(error)) from None
        scratch = path.with_suffix(".new")
        with writing(path):
            if path.is_file():
                path.with_name(path.name + ".before").write_bytes(path.read_bytes())
            scratch.write_text(
                yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None, width=140), encoding="utf-8"
            )
            scratch.replace(path)
        console.store.audit.log(actor, "changed site", subject)
        return version_of(path)


def counting_of(request: Request) -> Counting:
    found: Counting | None = getattr(request.app.state, "counting", None)
    if found is None:
        found = request.app.state.counting = Counting()
    return found


@router.post("/settings/count", include_in_schema=False)
def count(request: Request, who: Admin) -> Response:
    """Count all recorded sightings anew with the zones of now."""
    console = console_of(request)
    site = console.site()
    with _saving:
        counting = counting_of(request)
        if not counting.running:
            counting = request.app.state.counting = Counting(running=True)
            console.store.audit.log(who.name, "counted zones")
            threading.Thread(target=counting.run, args=(console.store, site), name="zones", daemon=True).start()
    return render(request, "_counting.html", counting=counting)


@router.get("/settings/count", include_in_schema=False)
def counting(request: Request, who: Admin) -> Response:
    return render(request, "_counting.html", counting=counting_of(request))


@router.post("/settings/count/stop", include_in_schema=False)
def stop_counting(request: Request, who: Admin) -> Response:
    counting_of(request).stop.set()
    return render(request, "_counting.html", counting=counting_of(request))
