"""Events on disk, each once: after a crash the same events are decided again, and those that were written are left out."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.live.events import EventLog

log = logging.getLogger(__name__)


class EventJournal:
    """An ``EventLog`` below ``folder`` that knows what was written after ``sizes``, the bytes of each file when the state was saved.

    A line that a crash cut off is removed. Raises OSError where the files cannot be read or written.
    """

    def __init__(self, folder: Path, sizes: Mapping[str, int]) -> None:
        self._log = EventLog(folder)
        self._folder, self._already = folder, set[str]()
        for path in sorted(folder.glob("events-*.jsonl")):
            with path.open("rb+") as file:
                file.seek(min(sizes.get(path.name, 0), path.stat().st_size))
                begin, content = file.tell(), file.read()
                whole = content[: content.rfind(b"\n") + 1]
                if len(whole) < len(content):
                    log.warning("%s: its last line is cut off; removed", path)
                    file.truncate(begin + len(whole))
            self._already.update(str(json.loads(line)["key"]) for line in whole.splitlines())

    def is_new(self, key: str) -> bool:
        return key not in self._already

    def write(self, kind: str, time: float, key: str, **values: Any) -> None:
        """Write an event, unless it is there already."""
        if key in self._already:
            self._already.discard(key)
            return
        self._log.write(kind, time, key=key, **values)

    @property
    def written(self) -> int:
        return self._log.written

    def sizes(self) -> dict[str, int]:
        """Bytes of each file, to be saved with the state whose events are all written."""
        return {path.name: path.stat().st_size for path in self._folder.glob("events-*.jsonl")}

    def close(self) -> None:
        self._log.close()
