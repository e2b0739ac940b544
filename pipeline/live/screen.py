"""What live cameras show right now: the newest picture of each with its tracks, for a wall. Nothing of it is kept."""

from __future__ import annotations

import json
import struct
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.live.status import LiveStatus
from pipeline.sinks.sink import Sink
from pipeline.sources.frame import Frame
from tracker import Tracks
from tracker.linking.updates import Key

WIDTH = 512  # px of a picture on the wall
HEAD = struct.Struct("<I")  # length of the JSON that comes before the JPEG


@dataclass(frozen=True, eq=False)
class Newest:
    """A camera's newest picture: its ``number``, wall time, (h, w, 3) BGR, and tracks."""

    number: int
    time: float
    image: np.ndarray
    tracks: Tracks


class LiveScreen:
    """The newest picture of each camera. The run is given ``sink(camera)``, and tells with ``identities`` who the tracks are.

    Readers may be in any thread.
    """

    def __init__(self) -> None:
        self.status: Callable[[], LiveStatus] | None = None
        self.identities: Mapping[Key, int] = {}
        self._show: Callable[[int], int | None] = lambda identity: identity
        self._lock = threading.Lock()
        self._newest: dict[str, Newest] = {}
        self._sent: dict[str, tuple[int, bytes]] = {}

    def begin(self, status: Callable[[], LiveStatus], show: Callable[[int], int | None]) -> None:
        """The run has begun. ``status``: of it; ``show(number)``: under which number a person is shown, None: not yet. From any thread."""
        self.status, self._show = status, show

    def sink(self, camera: str) -> Sink:
        return _ScreenSink(self, camera)

    def take(self, camera: str, frame: Frame, tracks: Tracks) -> None:
        before = self._newest.get(camera)
        self._newest[camera] = Newest(1 if before is None else before.number + 1, frame.time, frame.image, tracks)

    def numbers(self) -> dict[str, int]:
        """The number of each camera's newest picture, which grows with every one."""
        return {name: one.number for name, one in list(self._newest.items())}

    def tracks(self) -> list[Key]:
        """The tracks in the newest pictures."""
        return [(name, track) for name, one in list(self._newest.items()) for track in one.tracks.ids.tolist()]

    def jpeg(self, camera: str) -> bytes | None:
        """The newest picture in full size, None before the first."""
        found = self._newest.get(camera)
        return None if found is None else _jpeg(found.image, 88)

    def message(self, camera: str) -> bytes | None:
        """The newest picture, small, behind its JSON and that behind its length: what the wall's WebSocket sends. None before the first.

        JSON: ``camera``, ``number``, ``time`` (seconds since 1970), ``size`` (width, height in px of the boxes), ``tracks``: x1, y1, x2, y2, track,
        identity or null, each.
        """
        found = self._newest.get(camera)
        if found is None:
            return None
        with self._lock:
            number, sent = self._sent.get(camera, (0, b""))
        if number == found.number:
            return sent
        height, width = found.image.shape[:2]
        known = self.identities
        tracks = []
        for track, box in zip(found.tracks.ids.tolist(), found.tracks.boxes.tolist(), strict=True):
            identity = known.get((camera, track))
            tracks.append([*(round(value, 1) for value in box), track, None if identity is None else self._show(identity)])
        about = {"camera": camera, "number": found.number, "time": round(found.time, 3), "size": [width, height], "tracks": tracks}
        head = json.dumps(about, separators=(",", ":")).encode()
        small = (
            found.image
            if width <= WIDTH
            else cv2.resize(found.image, (WIDTH, max(1, round(height * WIDTH / width))), interpolation=cv2.INTER_AREA)
        )
        sent = HEAD.pack(len(head)) + head + _jpeg(small, 72)
        with self._lock:
            self._sent[camera] = found.number, sent
        return sent


class _ScreenSink(Sink):
    def __init__(self, screen: LiveScreen, camera: str) -> None:
        self._screen, self._camera = screen, camera

    def take(self, frame: Frame, tracks: Tracks) -> None:
        self._screen.take(self._camera, frame, tracks)


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes())
