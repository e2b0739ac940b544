"""How RTP and RTCP reach a client: within the RTSP connection, or over UDP; whole, in part, or not at all."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from live.service import HOST

LIMIT = 4_000_000  # bytes that wait for a slow client before its pictures are left out


class Interleaved:
    """RTP and RTCP within the RTSP connection."""

    def __init__(self, writer: asyncio.StreamWriter, numbers: tuple[int, int]) -> None:
        self.header = f"RTP/AVP/TCP;unicast;interleaved={numbers[0]}-{numbers[1]}"
        self._writer, self._numbers = writer, numbers
        self._rest = b""  # of what was sent in part

    def send(self, packets: Sequence[bytes], rtcp: bool = False) -> None:
        if self._writer.transport.get_write_buffer_size() < LIMIT:
            self._write(self._rest + self._framed(packets, rtcp))
            self._rest = b""

    def send_half(self, packets: Sequence[bytes]) -> None:
        """Stop in the middle of a packet."""
        self._send_part(packets, 0.5)

    def trickle(self, packets: Sequence[bytes]) -> None:
        """Send the next byte."""
        self._send_part(packets, 0.0)

    def close(self) -> None:
        pass

    def _send_part(self, packets: Sequence[bytes], share: float) -> None:
        data = self._rest or self._framed(packets, False)
        size = max(1, int(share * len(data)))
        self._write(data[:size])
        self._rest = data[size:]

    def _framed(self, packets: Sequence[bytes], rtcp: bool) -> bytes:
        start = b"$" + bytes([self._numbers[rtcp]])
        return b"".join(start + len(packet).to_bytes(2, "big") + packet for packet in packets)

    def _write(self, data: bytes) -> None:
        if not self._writer.transport.is_closing():
            self._writer.write(data)


class Datagrams:
    """RTP and RTCP over a pair of UDP sockets."""

    def __init__(self, ports: tuple[int, int]) -> None:
        self._sockets = _udp_pair()
        self._ports = ports
        own = self._sockets[0].getsockname()[1]
        self.header = f"RTP/AVP;unicast;client_port={ports[0]}-{ports[1]};server_port={own}-{own + 1}"

    def send(self, packets: Sequence[bytes], rtcp: bool = False) -> None:
        for packet in packets:
            try:
                self._sockets[rtcp].sendto(packet, (HOST, self._ports[rtcp]))
            except OSError:  # nobody there, or the buffer is full: lost, as UDP is
                continue

    def send_half(self, packets: Sequence[bytes]) -> None:
        self.send([*packets[: len(packets) // 2], packets[len(packets) // 2][:-8]])

    def trickle(self, packets: Sequence[bytes]) -> None:
        self.send([packets[0][:1]])

    def close(self) -> None:
        for each in self._sockets:
            each.close()


def _udp_pair() -> tuple[socket.socket, socket.socket]:
    """Two UDP sockets on neighbouring ports, the first one even."""
    for _ in range(200):
        pair = socket.socket(type=socket.SOCK_DGRAM), socket.socket(type=socket.SOCK_DGRAM)
        try:
            pair[0].bind((HOST, 0))
            port = pair[0].getsockname()[1]
            if port % 2 == 0:
                pair[1].bind((HOST, port + 1))
                for each in pair:
                    each.setblocking(False)
                return pair
        except OSError:
            pass
        for each in pair:
            each.close()
    raise OSError("no two neighbouring UDP ports are free")
