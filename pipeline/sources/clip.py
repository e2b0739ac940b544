"""Short clips of a live camera: the packets that came, as they came, in an MP4 file. Nothing is encoded anew."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

MOST_BYTES = 32_000_000  # of packets kept for a clip's beginning
CODECS = ("h264", "hevc")


@dataclass(frozen=True)
class KeptPacket:
    """A packet's content and times (in the stream's time base), and when it came (monotonic seconds)."""

    content: bytes
    pts: int
    dts: int
    key: bool
    arrival: float


class PacketRing:
    """The packets of the last ``seconds``, from a key frame on."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._packets: deque[KeptPacket] = deque()
        self._bytes = 0

    def add(self, packet: Any, now: float) -> KeptPacket | None:
        """Keep a packet; None for one without a time."""
        if packet.pts is None or not packet.size:
            return None
        kept = KeptPacket(bytes(packet), packet.pts, packet.pts if packet.dts is None else packet.dts, bool(packet.is_keyframe), now)
        self._packets.append(kept)
        self._bytes += len(kept.content)
        while self._spare(now):
            self._bytes -= len(self._packets.popleft().content)
        return kept

    def _spare(self, now: float) -> bool:
        """Whether the first packet is not needed: it is no key frame, or a later key frame is old enough."""
        if not self._packets:
            return False
        if not self._packets[0].key or self._bytes > MOST_BYTES:
            return True
        later = next((one for one in list(self._packets)[1:] if one.key), None) if self._packets[0].arrival < now - self.seconds else None
        return later is not None and later.arrival <= now - self.seconds

    def packets(self) -> list[KeptPacket]:
        return list(self._packets)


class Clip:
    """Writes packets of ``stream`` to ``path`` until ``until`` (monotonic seconds). Raises FFmpeg's errors and OSError where it cannot be
    written, ValueError for a codec that MP4 does not take.
    """

    def __init__(self, path: Path, stream: Any, packets: list[KeptPacket], until: float) -> None:
        if stream.codec_context.name not in CODECS:
            raise ValueError(f"clips are of H.264 and H.265, not {stream.codec_context.name}")
        self.path, self.until = path, until
        path.parent.mkdir(parents=True, exist_ok=True)
        self._scratch, self._base, self._first = path.with_suffix(".part"), stream.time_base, 0
        self._container: Any = av.open(f"file:{self._scratch.absolute()}", "w", format="mp4", options={"movflags": "+faststart"})
        try:
            self._stream = self._container.add_stream_from_template(stream)
            self._last = -1
            self._first = packets[0].dts if packets else 0
            for packet in packets:
                self.add(packet)
        except BaseException:
            self._container.close()
            self._scratch.unlink(missing_ok=True)
            raise

    def add(self, kept: KeptPacket) -> None:
        dts = max(kept.dts - self._first, self._last + 1)  # it must grow
        self._last = dts
        packet = av.Packet(kept.content)
        packet.dts, packet.pts, packet.time_base, packet.is_keyframe = dts, max(kept.pts - self._first, dts), self._base, kept.key
        packet.stream = self._stream
        self._container.mux(packet)

    def close(self) -> None:
        self._container.close()
        self._scratch.replace(self.path)
