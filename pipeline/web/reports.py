"""Figures for people who plan: visitors, stays, occupancy, flows; as pages, CSV and Parquet."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Annotated, Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response

from pipeline.store import Where
from pipeline.store.figures import FlowRow, HourRow, flows, hourly, place_visits, seen
from pipeline.web.asked import Filter, filter_of
from pipeline.web.guard import Viewer
from pipeline.web.pages import tags_of, zone_names
from pipeline.web.render import console_of, render
from pipeline.zones.files import csv_text
from pipeline.zones.people import PlaceRow, gaps, place_rows

router = APIRouter(include_in_schema=False)
WEEK = 7 * 86400.0
BUCKETS = {"minute": 60.0, "quarter hour": 900.0, "hour": 3600.0, "day": 86400.0}
MOST_BARS = 200
Table = Literal["visitors", "places", "flows"]


@dataclass(frozen=True)
class Report:
    """The tables of a time, in rows of ``each``: one of ``BUCKETS``."""

    where: Where
    each: str
    visitors: list[HourRow]
    places: list[PlaceRow]
    flows: list[FlowRow]


def report_of(request: Request, chosen: Filter, each: str) -> Report:
    """Of the time asked for, else of the last week that has sightings. ``each``: "": what suits the time."""
    console = console_of(request)
    where = chosen.where()
    if where.start is None:
        last = console.store.db.value("SELECT max(last) FROM partitions")
        until = where.end if where.end is not None else (last or 0.0)
        where = Where(where.cameras, until - WEEK, where.end, where.zone, without_tag=where.without_tag)
    first, last = console.store.db.row("SELECT min(first), max(last) FROM partitions") or (None, None)
    if not each:
        length = min(where.end or last or 0.0, last or 0.0) - max(where.start or 0.0, first or 0.0)
        each = next((name for name, seconds in BUCKETS.items() if length / seconds <= MOST_BARS), "day")
    people = Where(where.cameras, where.start, where.end, without_tag=where.without_tag)
    places = place_rows(place_visits(console.store, where, gaps(console.site())), BUCKETS[each])
    found = seen(console.store, people)
    return Report(where, each, hourly(found, BUCKETS[each], 2000), places, flows(console.store, found))


def each_of(each: Annotated[Literal["", "minute", "quarter hour", "hour", "day"], Query()] = "") -> str:
    return each


@router.get("/reports")
def reports(
    request: Request, who: Viewer, chosen: Annotated[Filter, Depends(filter_of)], each: Annotated[str, Depends(each_of)]
) -> Response:
    store = console_of(request).store
    found = report_of(request, chosen, each)
    store.audit.log(who.name, "viewed", None, view="reports")
    values: dict[str, Any] = {
        "chosen": chosen, "report": found, "buckets": BUCKETS, "cameras": store.sightings.cameras(), "zones": zone_names(request),
        "tags": tags_of(store), "most": max((row.people for row in found.visitors), default=0),
        "unique": store.people.count(Where(found.where.cameras, found.where.start, found.where.end, without_tag=found.where.without_tag)),
        "unassigned": store.sightings.count(Where(found.where.cameras, found.where.start, found.where.end, unassigned=True)),
        "waiting": store.corrections.open_pairs(),
    }  # fmt: skip
    return render(request, "reports.html", **values)


@router.get("/reports/{table}.{kind}")
def export(
    request: Request,
    who: Viewer,
    table: Table,
    kind: Literal["csv", "parquet"],
    chosen: Annotated[Filter, Depends(filter_of)],
    each: Annotated[str, Depends(each_of)],
) -> Response:
    """A table of the report. Times are seconds since 1970."""
    found = report_of(request, chosen, each)
    kinds: dict[str, tuple[type, Sequence[Any]]] = {
        "visitors": (HourRow, found.visitors), "places": (PlaceRow, found.places), "flows": (FlowRow, found.flows),
    }  # fmt: skip
    model, rows = kinds[table]
    columns = [field.name for field in fields(model)]
    console_of(request).store.audit.log(who.name, "exported", None, what=table, rows=len(rows))
    head = {"Content-Disposition": f'attachment; filename="{table}.{kind}"'}
    if kind == "csv":
        return Response(csv_text(map(asdict, rows), columns), media_type="text/csv; charset=utf-8", headers=head)
    file = io.BytesIO()
    pq.write_table(arrow(model, rows), file, compression="zstd")
    return Response(file.getvalue(), media_type="application/vnd.apache.parquet", headers=head)


def arrow(model: type, rows: Sequence[Any]) -> pa.Table:
    """Rows of a dataclass as a table whose types do not depend on the rows."""
    kinds = {"str": pa.string(), "int": pa.int64(), "float": pa.float64(), "Kind": pa.string()}
    schema = pa.schema([pa.field(field.name, kinds[str(field.type).split(" |")[0]]) for field in fields(model)])
    return pa.Table.from_pylist([asdict(row) for row in rows], schema)
