"""A bare RTSP client for tests of the camera: it sees each packet, which a decoder hides."""

from __future__ import annotations

import contextlib
import re
import socket
import struct
import time
from collections.abc import Iterator
from typing import NamedTuple, Self

from live.rtp import NTP_EPOCH


class Packet(NamedTuple):
    """An RTP packet."""

    sequence: int
    timestamp: int
    marker: bool
    payload: bytes


class Report(NamedTuple):
    """An RTCP sender report; ``wall`` in seconds since 1970."""

    wall: float
    timestamp: int
    packets: int
    octets: int


def parse_rtp(data: bytes) -> Packet:
    _, kind, sequence, timestamp, _ = struct.unpack(">BBHII", data[:12])
    return Packet(sequence, timestamp, bool(kind & 0x80), data[12:])


def parse_report(data: bytes) -> Report:
    seconds, fraction, timestamp, packets, octets = struct.unpack(">IIIII", data[8:28])
    return Report(seconds + fraction / 2**32 - NTP_EPOCH, timestamp, packets, octets)


class RawClient:
    """One connection to ``port``, over TCP; ``request`` asks, ``messages`` reads what comes."""

    def __init__(self, port: int, path: str = "main", timeout: float = 3.0) -> None:
        self._url = f"rtsp://127.0.0.1:{port}/{path}"
        self._socket = socket.create_connection(("127.0.0.1", port), timeout)
        self._received = b""
        self._count, self._timeout = 0, timeout

    def request(self, method: str, track: str = "", **headers: str) -> tuple[int, str]:
        """Status and the response's text."""
        self._count += 1
        lines = [f"{method} {self._url}{track} RTSP/1.0", f"CSeq: {self._count}", *(f"{name}: {text}" for name, text in headers.items())]
        self._socket.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        while b"\r\n\r\n" not in self._received:
            self._receive(len(self._received) + 1)
        head = self._take(self._received.index(b"\r\n\r\n") + 4)
        length = re.search(rb"Content-Length: (\d+)", head)
        text = (head + self._take(int(length[1]) if length else 0)).decode()
        return int(text.split(" ")[1]), text

    def play(self) -> Self:
        """Set up and play, over TCP."""
        assert self.request("SETUP", "/track0", Transport="RTP/AVP/TCP;unicast;interleaved=0-1")[0] == 200
        assert self.request("PLAY")[0] == 200
        return self

    def messages(self, seconds: float) -> Iterator[Packet | Report | bytes]:
        """What comes within ``seconds``: packets, reports, and bytes that are neither; ends with the connection."""
        end = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError, EOFError):
            while time.monotonic() < end:
                self._receive(4, end)
                length = int.from_bytes(self._received[2:4], "big")
                self._receive(4 + length, end)
                head, data = self._take(4), self._take(length)
                yield parse_report(data) if head[1] else parse_rtp(data) if data[0] >> 6 == 2 else data

    def packets(self, seconds: float) -> list[Packet]:
        """The RTP packets that come within ``seconds``."""
        return [message for message in self.messages(seconds) if isinstance(message, Packet)]

    def reports(self, seconds: float) -> list[Report]:
        """The sender reports that come within ``seconds``."""
        return [message for message in self.messages(seconds) if isinstance(message, Report)]

    def pending(self, seconds: float) -> bytes:
        """The bytes that come within ``seconds``, whatever they are; ConnectionResetError after RST, EOFError after FIN without a byte."""
        end = time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while True:
                self._receive(len(self._received) + 1, end)
        return self._take(len(self._received))

    @property
    def unfinished(self) -> bytes:
        """What has come of a message that is not whole."""
        return self._received

    def _take(self, size: int) -> bytes:
        self._receive(size)
        taken, self._received = self._received[:size], self._received[size:]
        return taken

    def _receive(self, size: int, end: float | None = None) -> None:
        """Wait until ``size`` bytes are there; raises TimeoutError at ``end``, EOFError where the connection ends."""
        end = end or time.monotonic() + self._timeout
        while len(self._received) < size:
            self._socket.settimeout(max(0.001, end - time.monotonic()))
            more = self._socket.recv(65_536)
            if not more:
                raise EOFError
            self._received += more

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()
