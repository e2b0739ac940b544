"""``events.jsonl`` of live cameras: one JSON object per line, written at once, in files by day."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.formats.events import event_line, linker_line
from tracker import Event


class EventLog:
    """Appends events below ``folder``: ``events-YYYYMMDD.jsonl``, by UTC."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._day = ""
        self._file: Any = None
        self.written = 0

    def write(self, kind: str, time: float, **values: Any) -> None:
        """Raises OSError where it cannot be written."""
        self._append(time, event_line(kind, time, **values))

    def decided(self, event: Event) -> None:
        """A decision of the linker. Raises OSError where it cannot be written."""
        self._append(event.time, linker_line(event))

    def _append(self, time: float, line: str) -> None:
        day = datetime.fromtimestamp(time, UTC).strftime("%Y%m%d")
        if day != self._day:
            self.close()
            self._file, self._day = (self.folder / f"events-{day}.jsonl").open("a", encoding="utf-8"), day
        self._file.write(line + "\n")
        self._file.flush()
        self.written += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
