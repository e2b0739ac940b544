"""Files of zones: ``zone_visits.parquet`` (tracks), ``zone_visits.csv`` (people), ``zone_report.csv`` (per place and hour)."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import UsageError, writing
from pipeline.formats.paths import local
from pipeline.zones.people import Key, PersonVisit, PlaceRow, person_visits, place_rows
from pipeline.zones.watch import Visit

VISITS, PEOPLE, REPORT = "zone_visits.parquet", "zone_visits.csv", "zone_report.csv"
ZONE_FILES = (VISITS, PEOPLE, REPORT)
VERSION = "1"
SCHEMA = pa.schema(
    [
        pa.field("kind", pa.string(), False),
        pa.field("place", pa.string(), False),
        pa.field("camera", pa.string(), False),
        pa.field("track", pa.int64(), False),
        pa.field("start", pa.float64(), False),
        pa.field("end", pa.float64(), False),
        pa.field("direction", pa.string()),
    ],
    metadata={"passerby.zone_visits": VERSION, "times": "seconds, with the site's clock offsets"},
)
PEOPLE_COLUMNS = ("identity", "kind", "place", "start", "end", "dwell", "direction", "cameras")
REPORT_COLUMNS = tuple(PlaceRow.__dataclass_fields__)


def write_visits(out: Path, visits: Sequence[Visit], gaps: Mapping[str, float]) -> None:
    """Write ``zone_visits.parquet``. Raises OutputError."""
    with writing(out):
        scratch = out / f"{VISITS}.new"
        schema = SCHEMA.with_metadata({**(SCHEMA.metadata or {}), b"gaps": json.dumps(dict(gaps)).encode()})
        pq.write_table(pa.Table.from_pylist([asdict(visit) for visit in visits], schema), local(scratch), compression="zstd")
        scratch.replace(out / VISITS)


def read_visits(out: Path) -> tuple[list[Visit], dict[str, float]] | None:
    """The visits and gaps that ``write_visits`` wrote; None if there is no such file. Raises UsageError for another file."""
    path = out / VISITS
    if not path.is_file():
        return None
    try:
        table = pq.read_table(local(path))
    except (OSError, pa.ArrowInvalid) as error:
        raise UsageError(f"{path}: not a readable Parquet file ({str(error).splitlines()[0]})") from None
    if (table.schema.metadata or {}).get(b"passerby.zone_visits") != VERSION.encode():
        raise UsageError(f"{path}: not a table of zone visits of a supported version; recreate it with passerby associate --site")
    return [Visit(**row) for row in table.to_pylist()], json.loads(table.schema.metadata.get(b"gaps", b"{}"))


def write_zone_files(out: Path, visits: Sequence[Visit], identity_of: Mapping[Key, int], gaps: Mapping[str, float]) -> list[PersonVisit]:
    """Write the visits of tracks that have an identity, of people, and the report; returns the people's visits. Raises OutputError."""
    known = [visit for visit in visits if (visit.camera, visit.track) in identity_of]
    write_visits(out, known, gaps)
    people = person_visits(known, identity_of, gaps)
    with writing(out):
        (out / PEOPLE).write_text(csv_text(map(person_row, people), PEOPLE_COLUMNS), encoding="utf-8")
        (out / REPORT).write_text(csv_text(map(asdict, place_rows(people)), REPORT_COLUMNS), encoding="utf-8")
    return people


def remove_zone_files(out: Path) -> None:
    """Remove the files of an earlier run. Raises OutputError."""
    with writing(out):
        for name in ZONE_FILES:
            (out / name).unlink(missing_ok=True)


def person_row(visit: PersonVisit) -> dict[str, Any]:
    return asdict(visit) | {"cameras": " ".join(visit.cameras), "dwell": visit.dwell}


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str]) -> str:
    """CSV with a header; times and other real numbers with three digits."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    for row in rows:
        writer.writerow([f"{row[name]:.3f}" if isinstance(row[name], float) else row[name] for name in columns])
    return file.getvalue()
