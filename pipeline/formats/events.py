"""Lines of ``events.jsonl``: one JSON object per event, the same from recorded runs and from live cameras."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from pipeline.address import redact
from tracker import Event

VERSION = 1


def event_line(kind: str, time: float, **values: Any) -> str:
    """A line without its end. Each has ``v``, the version of this format, ``time`` in seconds and ``kind``; credentials are redacted."""
    return redact(json.dumps({"v": VERSION, "time": round(time, 3), "kind": kind, **values}))


def linker_line(event: Event) -> str:
    """The line of a decision of the on-line linker."""
    values = asdict(event)
    return event_line(values.pop("kind"), values.pop("time"), key=event.key, **values)
