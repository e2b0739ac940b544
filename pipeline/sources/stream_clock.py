"""Wall time of a live camera's frames, with its uncertainty and session. Pure: every clock is an argument.

A session is a stretch of frames whose times fit together. Where the camera sends RTCP sender reports, wall time is the camera's clock; else it is
the arrival of the frames. Whatever does not fit (a jump of the timestamps, a step of the host's clock, a reconnect) begins a new session.
"""

from __future__ import annotations

from dataclasses import dataclass

JUMP = 2.0  # seconds that a timestamp may be off what arrival says before it begins a new session
HOST_STEP = 1.0  # seconds that the host's wall clock may move against its monotonic clock
FRESH = 0.5  # of a packet's way: the uncertainty of a time that only arrival tells


@dataclass(frozen=True)
class Stamp:
    """``wall``: seconds since 1970; ``uncertainty``: seconds either way; ``session``: counts from 1; ``began``: first of its session."""

    wall: float
    uncertainty: float
    session: int
    began: bool


class StreamClock:
    """Stamps the frames of one camera. ``first_session``: the number of the first one, for a process that goes on from an earlier one."""

    def __init__(self, first_session: int = 1) -> None:
        self._session = first_session - 1
        self._anchor: tuple[float, float, float] | None = None  # timestamp, wall time and monotonic arrival of the session's first frame
        self._reported = False
        self._offset = 0.0  # host's wall clock less its monotonic clock, at the session's begin
        self._last = float("-inf")

    def reconnected(self) -> None:
        """The next frame begins a new session."""
        self._anchor = None

    def stamp(self, pts: float | None, arrival: float, host_wall: float, reported: float | None = None) -> Stamp:
        """``pts``: the frame's timestamp in seconds, None where it has none. ``arrival``: monotonic. ``host_wall``: the host's wall clock at arrival.

        ``reported``: the wall time of timestamp 0 by the camera's sender reports, if any came.
        """
        offset = host_wall - arrival
        if self._anchor is not None and abs(offset - self._offset) > HOST_STEP:
            self._anchor = None
        began = self._anchor is None
        if self._anchor is not None and pts is not None:
            first_pts, _, first_arrival = self._anchor
            if abs((pts - first_pts) - (arrival - first_arrival)) > JUMP + 0.001 * (arrival - first_arrival):
                began = True
        if began:
            self._session += 1
            self._offset = offset
            self._reported = reported is not None and pts is not None
            wall = reported + pts if reported is not None and pts is not None else host_wall
            self._anchor = (pts if pts is not None else arrival, wall, arrival)
            self._last = float("-inf")
        assert self._anchor is not None
        first_pts, first_wall, first_arrival = self._anchor
        elapsed = pts - first_pts if pts is not None and self._has_pts else arrival - first_arrival
        wall = first_wall + elapsed
        if wall <= self._last:  # reordered or doubled: time does not go back within a session
            wall = self._last + 0.001
        self._last = wall
        drift = abs(elapsed - (arrival - first_arrival))
        return Stamp(wall, (0.05 if self._reported else FRESH) + drift, self._session, began)

    @property
    def _has_pts(self) -> bool:
        return self._anchor is not None and self._anchor[0] != self._anchor[2]
