"""Run the pipeline from Python.

``run(Request.of(["gate.mp4"], out="out"))`` does what ``passerby run gate.mp4 -o out`` does, and returns the content of ``run.json``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.config import Config
    from pipeline.jobs.run import Request, run
    from pipeline.report.run_record import RunRecord

__all__ = ["Config", "Request", "RunRecord", "run"]
_HOMES = {
    "Config": "pipeline.config",
    "Request": "pipeline.jobs.run",
    "run": "pipeline.jobs.run",
    "RunRecord": "pipeline.report.run_record",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that ``passerby --help`` is fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
