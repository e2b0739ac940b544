"""A sink that may fail: it is closed then, and the run goes on without it."""

from __future__ import annotations

import contextlib
import logging

from pipeline.errors import PasserbyError
from pipeline.formats.tracklet import Tracklet
from pipeline.sinks.sink import Sink
from pipeline.sources.frame import Frame
from tracker import Tracks

log = logging.getLogger(__name__)


class Guarded(Sink):
    """``sink`` under the ``name`` of its file. ``failed``: why it was closed early, or None."""

    def __init__(self, name: str, sink: Sink) -> None:
        self.name, self._sink = name, sink
        self.failed: str | None = None

    def take(self, frame: Frame, tracks: Tracks) -> None:
        if self.failed is None:
            try:
                self._sink.take(frame, tracks)
            except Exception as error:
                self._fail(error)

    def finish(self, tracklet: Tracklet) -> None:
        if self.failed is None:
            try:
                self._sink.finish(tracklet)
            except Exception as error:
                self._fail(error)

    def close(self) -> None:
        if self.failed is None:
            try:
                self._sink.close()
            except Exception as error:
                self._fail(error, close=False)

    def _fail(self, error: Exception, close: bool = True) -> None:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        self.failed = reason if isinstance(error, PasserbyError) else f"cannot be written ({reason})"
        log.debug("%s failed", self.name, exc_info=error)
        if close:
            with contextlib.suppress(Exception):  # what is written so far stays
                self._sink.close()
