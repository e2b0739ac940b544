"""``people/``: one contact sheet per tracklet, with its crops in time order."""

from __future__ import annotations

from datetime import tzinfo
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from pipeline.formats.tracklet import CROP_HEIGHT, Tracklet
from pipeline.formats.wall_clock import LIVE, local_time

COLUMNS, CELL, CAPTION, HEADER = 6, 96, 16, 26
PAPER, INK, FAINT = 250, (40, 40, 40), (120, 120, 120)


def clock(seconds: float) -> str:
    """72.5 -> ``1:12.5``, 3672.5 -> ``1:01:12.5``."""
    minutes, rest = divmod(max(0.0, seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def moment(seconds: float, epoch: float | None, zone: tzinfo | None = None) -> str:
    """Wall-clock time of day where ``epoch``, seconds since 1970 of time 0, is known; else ``clock``."""
    return clock(seconds) if epoch is None else local_time(epoch + seconds, zone).strftime("%H:%M:%S")


def contact_sheet(tracklet: Tracklet, epoch: float | None = None, zone: tzinfo | None = None) -> np.ndarray:
    """(h, w, 3) uint8 BGR: a header and the tracklet's crops, six per row, each with its time: of day where ``epoch`` is known."""
    epoch = 0.0 if tracklet.times[0] >= LIVE else epoch
    day = "" if epoch is None else f"{local_time(epoch + tracklet.times[0], zone):%Y-%m-%d} "
    start, end = (moment(time, epoch, zone) for time in (tracklet.times[0], tracklet.times[-1]))
    rows = -(-len(tracklet.crops) // COLUMNS)
    sheet = np.full((HEADER + rows * (CROP_HEIGHT + CAPTION) + 4, COLUMNS * CELL + 8, 3), PAPER, np.uint8)
    head = f"{tracklet.camera}  track {tracklet.track}  {day}{start} - {end}  {len(tracklet.frames)} boxes"
    cv2.putText(sheet, head, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.45, INK, 1, cv2.LINE_AA)
    for at, (jpeg, time) in enumerate(zip(tracklet.crops, tracklet.crop_times, strict=True)):
        crop: Any = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        if crop.shape[1] > CELL - 4:
            crop = cv2.resize(crop, (CELL - 4, max(1, round(crop.shape[0] * (CELL - 4) / crop.shape[1]))))
        top, left = HEADER + at // COLUMNS * (CROP_HEIGHT + CAPTION), 4 + at % COLUMNS * CELL
        inset = (CELL - crop.shape[1]) // 2
        sheet[top : top + crop.shape[0], left + inset : left + inset + crop.shape[1]] = crop
        cv2.putText(
            sheet, moment(time, epoch, zone), (left + 24, top + CROP_HEIGHT + 12), cv2.FONT_HERSHEY_SIMPLEX, 0.35, FAINT, 1, cv2.LINE_AA
        )
    return sheet


def write_sheet(folder: Path, tracklet: Tracklet, epoch: float | None = None, zone: tzinfo | None = None) -> Path:
    path = folder / f"{tracklet.camera}-{tracklet.track:05d}.jpg"
    path.write_bytes(cv2.imencode(".jpg", contact_sheet(tracklet, epoch, zone), [cv2.IMWRITE_JPEG_QUALITY, 88])[1].tobytes())
    return path


def identity_sheet(identity: int, sheets: list[Path], max_rows: int = 12) -> np.ndarray:
    """(h, w, 3) uint8 BGR: the first row of each tracklet's sheet, one below the other, at most ``max_rows``."""
    rows = [np.full((HEADER, COLUMNS * CELL + 8, 3), 235, np.uint8)]
    more = f", {len(sheets) - max_rows} not shown" if len(sheets) > max_rows else ""
    head = f"person {identity}: {len(sheets)} tracklet{'s' if len(sheets) != 1 else ''}{more}"
    cv2.putText(rows[0], head, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, INK, 1, cv2.LINE_AA)
    for path in sheets[:max_rows]:
        sheet = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
        if sheet is not None and sheet.shape[1] == rows[0].shape[1]:
            rows.append(sheet[: HEADER + CROP_HEIGHT + CAPTION])
    return np.concatenate(rows)
