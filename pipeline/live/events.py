"""``events.jsonl`` of live cameras: one JSON object per line, written at once, in files by day."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.formats.events import event_line, linker_line
from pipeline.identities.erasure import filter_events
from pipeline.live.guard import Guard
from tracker import Event
from tracker.linking.updates import Key

MOST_WAITING = 20_000  # lines kept while they cannot be written; the oldest are lost then


class EventLog:
    """Appends events below ``folder``: ``events-YYYYMMDD.jsonl``, by UTC. What cannot be written waits in memory; each line is written whole.

    ``also`` takes all events too, as ``also(kind, time, **values)``.
    """

    def __init__(self, folder: Path, also: Callable[..., None] | None = None) -> None:
        self.folder, self.guard, self._also = folder, Guard(f"{folder}: events"), also
        self._day = ""
        self._file: Any = None
        self._waiting: deque[tuple[str, bytes]] = deque()
        self.written = 0
        self.listeners: list[Callable[[str], None]] = []  # are handed each line

    def write(self, kind: str, time: float, **values: Any) -> None:
        self._append(time, event_line(kind, time, **values))
        if self._also is not None:
            self._also(kind, time, **values)

    def decided(self, event: Event) -> None:
        """A decision of the linker."""
        self._append(event.time, linker_line(event))
        if self._also is not None:
            values = asdict(event)
            self._also(values.pop("kind"), values.pop("time"), **values)

    def flush(self) -> None:
        """Write what waits, if there is anything."""
        if not self._waiting:
            return
        with self.guard.trying():
            while self._waiting:
                self._write(*self._waiting[0])
                self._waiting.popleft()
                self.written += 1

    def _append(self, time: float, line: str) -> None:
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.guard.lost += 1
        for listener in self.listeners:
            listener(line)
        self._waiting.append((datetime.fromtimestamp(time, UTC).strftime("%Y%m%d"), line.encode() + b"\n"))
        if self.guard.problem is None:
            self.flush()

    def _write(self, day: str, line: bytes) -> None:
        if self._file is None or day != self._day or os.fstat(self._file.fileno()).st_nlink == 0:  # 0: somebody has removed the file
            self._close_file()
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file, self._day = (self.folder / f"events-{day}.jsonl").open("ab", buffering=0), day
        size = os.fstat(self._file.fileno()).st_size
        try:
            done = self._file.write(line)
            if done != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(self._file.fileno(), size)  # no half line
            raise

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def forget(self, keys: set[Key]) -> None:
        """Take the events of tracks (camera, track) out of the file that is open; the others are nobody's."""
        self.flush()
        self._close_file()
        if self._day:
            with self.guard.trying():
                filter_events(self.folder / f"events-{self._day}.jsonl", keys)

    def close(self) -> None:
        self.flush()
        self.guard.lost += len(self._waiting)
        self._close_file()
