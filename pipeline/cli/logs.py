"""Logging of the command: ``passerby: message`` or JSON lines on standard error, with credentials redacted and without repeats of libav."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from pipeline.address import redact

LEVELS = ("debug", "info", "warning", "error")


class PlainFormatter(logging.Formatter):
    """``passerby: message``; messages of other libraries include the logger's name."""

    def format(self, record: logging.LogRecord) -> str:
        name = "passerby" if record.name.split(".")[0] in ("pipeline", "reid", "detectors", "tracker") else f"passerby: {record.name}"
        trace = f"\n{self.formatException(record.exc_info)}" if record.exc_info else ""
        return redact(f"{name}: {record.getMessage()}{trace}")


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time (UTC), level, logger, message."""

    def format(self, record: logging.LogRecord) -> str:
        values = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            values["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(values)


class RepeatFilter(logging.Filter):
    """Drops repeated messages of libav: a damaged stream gives the same one at every frame."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if not record.name.startswith("libav"):
            return True
        text = f"{record.name}{record.getMessage()}"
        if text in self._seen or len(self._seen) > 1000:
            return False
        self._seen.add(text)
        return True


def configure_logging(level: str = "warning", as_json: bool = False) -> None:
    """Log to standard error at ``level`` and above. ``info`` and ``debug`` include libav's own messages."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else PlainFormatter())
    handler.addFilter(RepeatFilter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for noisy in ("matplotlib", "PIL", "asyncio", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    if level in ("debug", "info"):
        import av.logging

        av.logging.set_level(av.logging.WARNING if level == "info" else av.logging.INFO)
