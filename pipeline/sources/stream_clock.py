"""Wall time of a live camera's frames, with its uncertainty and session. Pure: every clock is an argument.

A session is a stretch of frames whose times fit together. Where the camera sends RTCP sender reports that are plausible, wall time is the camera's
clock; else it is the arrival of the frames. Whatever does not fit (a jump of the timestamps, a step of the host's clock, a reconnect) begins a new session.
"""

from __future__ import annotations

from dataclasses import dataclass

JUMP = 2.0  # seconds that a timestamp may be off what arrival says before it begins a new session
HOST_STEP = 1.0  # seconds that the host's wall clock may move against its monotonic clock
EARLIEST, LATEST = (
    -5.0,
    1.0,
)  # seconds that a camera's clock may be off arrival to be believed: pictures take a way, and come from no future
DRIFT = 0.001  # seconds per second that a camera's clock may be slow
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
        self._last, self._last_arrival = float("-inf"), 0.0
        self._fresh = True
        self.behind: float | None = None  # seconds that frames come later than they did at best, by their timestamps
        self._best = 0.0
        self.skew: float | None = None  # seconds that the camera's clock was ahead of the host's, when it last said

    def reconnected(self) -> None:
        """The next frame begins a new session."""
        self._anchor, self._fresh = None, True

    def stamp(self, pts: float | None, arrival: float, host_wall: float, reported: float | None = None) -> Stamp:
        """``pts``: the frame's timestamp in seconds, None where it has none. ``arrival``: monotonic. ``host_wall``: the host's wall clock at arrival.

        ``reported``: the wall time of timestamp 0 by the camera's sender reports, if any came.
        """
        offset = host_wall - arrival
        stepped = abs(offset - self._offset) > HOST_STEP
        began = self._anchor is None or (stepped and not self._reported) or self._jumped(pts, arrival)
        if began:
            wall, self._reported = self._first_wall(pts, arrival, host_wall, reported, stepped)
            self._session += 1
            self._anchor = (pts if pts is not None else arrival, wall, arrival)
            self._last = float("-inf")
        if stepped:
            self._offset = offset
        assert self._anchor is not None
        first_pts, first_wall, first_arrival = self._anchor
        elapsed = pts - first_pts if pts is not None and self._has_pts else arrival - first_arrival
        late = (arrival - first_arrival) - elapsed
        self._best = late if began else min(late, self._best + DRIFT * max(0.0, arrival - self._last_arrival))
        self.behind = late - self._best if self._has_pts else None
        wall = first_wall + elapsed
        if wall <= self._last:  # reordered or doubled: time does not go back within a session
            wall = self._last + 0.001
        self._last, self._last_arrival = wall, arrival
        drift = abs(elapsed - (arrival - first_arrival))
        return Stamp(wall, (0.05 if self._reported else FRESH) + drift, self._session, began)

    def _jumped(self, pts: float | None, arrival: float) -> bool:
        """Whether the timestamp does not fit the time that has passed."""
        if self._anchor is None or pts is None or not self._has_pts:
            return False
        first_pts, _, first_arrival = self._anchor
        return abs((pts - first_pts) - (arrival - first_arrival)) > JUMP + 0.001 * (arrival - first_arrival)

    def _first_wall(self, pts: float | None, arrival: float, host_wall: float, reported: float | None, stepped: bool) -> tuple[float, bool]:
        """The wall time of a session's first frame, and whether it is the camera's.

        Within a connection the report is the old one: after a jump the camera's clock is carried on by arrival.
        """
        if self._fresh:
            self._fresh, self.skew = False, None
            if reported is not None and pts is not None:
                self.skew = reported + pts - host_wall
                if EARLIEST <= self.skew <= LATEST:
                    return reported + pts, True
            return host_wall, False
        if self._reported or not stepped:
            return self._last + (arrival - self._last_arrival), self._reported
        return host_wall, False

    @property
    def _has_pts(self) -> bool:
        return self._anchor is not None and self._anchor[0] != self._anchor[2]
