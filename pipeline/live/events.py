"""``events.jsonl`` of live cameras: one JSON object per line, written at once, in files by day."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pipeline.address import redact

VERSION = 1


class EventLog:
    """Appends events below ``folder``: ``events-YYYYMMDD.jsonl``, by UTC. Each has ``v``, ``time`` (seconds since 1970) and ``kind``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._day = ""
        self._file: Any = None
        self.written = 0

    def write(self, kind: str, time: float, **values: Any) -> None:
        """Raises OSError where it cannot be written."""
        day = datetime.fromtimestamp(time, UTC).strftime("%Y%m%d")
        if day != self._day:
            self.close()
            self._file, self._day = (self.folder / f"events-{day}.jsonl").open("a", encoding="utf-8"), day
        self._file.write(redact(json.dumps({"v": VERSION, "time": round(time, 3), "kind": kind, **values})) + "\n")
        self._file.flush()
        self.written += 1

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
