"""The sink protocol: where a camera's frames, tracks and finished tracklets go."""

from __future__ import annotations

from pipeline.formats.tracklet import Tracklet
from pipeline.sources.frame import Frame
from tracker import Tracks


class Sink:
    """One output of a run. Override what the output needs; the rest does nothing.

    ``take`` gets every processed frame with its tracks, ``finish`` each tracklet once, when its track has ended. A sink must not change
    ``frame.image``. Whoever opened a sink closes it, once, after the last frame.
    """

    def take(self, frame: Frame, tracks: Tracks) -> None:
        """One processed frame and the tracks in it."""

    def finish(self, tracklet: Tracklet) -> None:
        """A track that has ended."""

    def close(self) -> None:
        """Write what is pending. Raises OutputError or OSError where that fails."""
