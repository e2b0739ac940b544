"""``passerby convert``: tracks in other tools' formats."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

log = logging.getLogger(__name__)
FORMATS = {".txt": "mot", ".json": "coco", ".xml": "cvat"}


def convert(
    rows: Annotated[
        Path, typer.Argument(metavar="FILE", help="Tracks or detections: MOTChallenge or VisDrone text, COCO JSON, or CVAT XML.")
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", help="File to write: .txt (MOTChallenge), .json (COCO) or .xml (CVAT for video 1.1).")
    ],
    to: Annotated[str | None, typer.Option("--to", help="mot, visdrone, coco or cvat. Default: by the ending of the file.")] = None,
    video: Annotated[str | None, typer.Option(help="Its video, for the size of the pictures.")] = None,
    people: Annotated[bool, typer.Option("--people", help="Leave out classes that do not mean a person.")] = False,
) -> None:
    """Convert tracks or detections, to correct them in CVAT for example; passerby reads all of these formats."""
    from pipeline.errors import UsageError, writing
    from pipeline.formats.annotations import coco_json, cvat_xml, visdrone_text
    from pipeline.formats.mot import mot_text, read_mot
    from pipeline.sources.open import open_source

    kind = to or FORMATS.get(out.suffix.lower())
    if kind not in ("mot", "visdrone", "coco", "cvat"):
        raise UsageError(f"{to or out}: unknown format; expected mot, visdrone, coco or cvat, or a file ending of {', '.join(FORMATS)}")
    found = read_mot(rows)
    if people:
        found = found.people()
        if found.note:
            log.warning("%s", found.note)
    if kind == "cvat" and (found.ids < 0).any():
        raise UsageError(f"{rows}: has detections without an id, but CVAT's XML for video holds tracks; write COCO instead (.json)")
    size = None
    if video is not None:
        source = open_source(video)
        size = source.width, source.height
    if out.exists() and out.resolve() == rows.resolve():
        raise UsageError(f"{out}: the file to write is the file to read")
    match kind:
        case "mot":
            text = mot_text(found)
        case "visdrone":
            text = visdrone_text(found)
        case "coco":
            text = coco_json(found, size)
        case _:
            text = cvat_xml(found, size)
    with writing(out):
        out.write_text(text, encoding="utf-8")
    print(f"written: {out} ({len(found)} boxes)")
