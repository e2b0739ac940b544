"""The sink interface: outputs that take a camera's frames, tracks and finished tracklets."""

from __future__ import annotations

from pipeline.formats.tracklet import Tracklet
from pipeline.sources.frame import Frame
from tracker import Tracks


class Sink:
    """One output of a run. Override the methods that it needs; the others do nothing.

    ``take`` gets every processed frame with its tracks, ``finish`` each tracklet when its track has ended. A sink must not change
    ``frame.image``. The code that opened a sink closes it, once, after the last frame.
    """

    def take(self, frame: Frame, tracks: Tracks) -> None:
        """Take one processed frame and its tracks."""

    def finish(self, tracklet: Tracklet) -> None:
        """Take the tracklet of a track that has ended."""

    def close(self) -> None:
        """Write pending data. Raises OutputError or OSError if that fails."""
