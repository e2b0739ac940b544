"""How long what live cameras write is kept, per kind."""

from __future__ import annotations

import logging
import re
import shutil
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from pipeline.config import Live

log = logging.getLogger(__name__)
DAY = 86_400.0
EVERY = 600.0  # seconds between two looks
_STAMP = re.compile(r"^(?:events-)?(\d{8})(?:T(\d{6}))?")


def older(paths: Iterable[Path], before: float) -> Iterator[Path]:
    """Those whose name says a time before ``before``, seconds since 1970; others are nobody's business."""
    for path in paths:
        if (found := _STAMP.match(path.name)) is None:
            continue
        try:
            time = datetime.strptime(found[1] + (found[2] or "235959"), "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()
        except ValueError:
            continue
        if time < before:
            yield path


def expired(out: Path, settings: Live, now: float) -> list[Path]:
    """Files and folders below ``out`` that are kept no longer. A segment that is open is never among them."""
    segments = [one for one in (out / "segments").glob("*") if one.suffix != ".open"]
    found: list[Path] = []
    if settings.keep_tracks is not None:
        found += older(segments, now - DAY * settings.keep_tracks)
    if settings.keep_images is not None:
        of = [one for one in older(segments, now - DAY * settings.keep_images) if one not in found]
        found += [path for one in of for path in (one / "people", one / "crops.parquet") if path.exists()]
    if settings.keep_events is not None:
        found += older(out.glob("events-*.jsonl"), now - DAY * settings.keep_events)
    if settings.keep_clips is not None:
        found += older((out / "clips").glob("*"), now - DAY * settings.keep_clips)
    return found


class Retention:
    """Removes what is kept no longer, in a thread of its own, so that no camera waits for the disk."""

    def __init__(self, out: Path, settings: Live) -> None:
        self._out, self._settings = out, settings
        self._next, self._thread = float("-inf"), threading.Thread()

    def sweep(self, now: float) -> None:
        """Look, if it is time to. ``now``: seconds since 1970."""
        if now < self._next or self._thread.is_alive():
            return
        self._next = now + EVERY
        self._thread = threading.Thread(target=self.remove, args=(now,), name="retention", daemon=True)
        self._thread.start()

    def remove(self, now: float) -> int:
        """Remove what has expired at ``now``; returns how many files and folders."""
        removed = 0
        for path in expired(self._out, self._settings, now):
            try:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
                removed += 1
            except OSError as error:
                log.error("%s: cannot be removed (%s)", path, error.strerror or error)
        if removed:
            log.info("%s: %d files and folders were kept long enough and are removed", self._out, removed)
        return removed
