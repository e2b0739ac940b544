"""RTP and RTCP as bytes (RFC 3550), H.264 (RFC 6184) and H.265 (RFC 7798) cut into payloads: no sockets, no clocks."""

from __future__ import annotations

import random
import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

CLOCK = 90_000  # ticks of an RTP timestamp in a second
NTP_EPOCH = 2_208_988_800  # seconds from 1900 to 1970
PAYLOAD_TYPE = 96
STAP_A, FU_A = 24, 28  # of H.264
AP, FU = 48, 49  # of H.265


class Codec(StrEnum):
    """What differs between H.264 and H.265 NAL units."""

    H264 = "h264"
    H265 = "h265"

    @property
    def header_size(self) -> int:
        return 1 if self is Codec.H264 else 2

    def nal_type(self, nal: bytes) -> int:
        return nal[0] & 0x1F if self is Codec.H264 else nal[0] >> 1 & 0x3F

    def with_type(self, nal: bytes, number: int) -> bytes:
        """The header of ``nal`` with another type."""
        return bytes([nal[0] & 0xE0 | number]) if self is Codec.H264 else bytes([nal[0] & 0x81 | number << 1, nal[1]])

    def parameter_sets(self, nals: Sequence[bytes]) -> tuple[bytes, ...]:
        """SPS and PPS, or VPS, SPS and PPS."""
        wanted = (7, 8) if self is Codec.H264 else (32, 33, 34)
        return tuple(nal for nal in nals if self.nal_type(nal) in wanted)


class Unit(NamedTuple):
    """An access unit: all NAL units of one picture."""

    codec: Codec
    nals: list[bytes]
    key: bool
    shift: int = 0  # pictures that it is shown after it is sent (B pictures)


def nal_units(stream: bytes) -> list[bytes]:
    """The NAL units of an Annex B byte stream, without start codes."""
    return [nal for nal in re.split(rb"\x00{2,}\x01", stream) if nal]


def fragments(nal: bytes, codec: Codec, mtu: int) -> list[bytes]:
    """A large NAL unit as FU-A (H.264) or FU (H.265) payloads of at most ``mtu`` bytes."""
    header, body = codec.with_type(nal, FU_A if codec is Codec.H264 else FU), nal[codec.header_size :]
    size = mtu - len(header) - 1
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    flags = [(0x80 if index == 0 else 0) | (0x40 if index == len(pieces) - 1 else 0) for index in range(len(pieces))]
    return [header + bytes([flag | codec.nal_type(nal)]) + piece for flag, piece in zip(flags, pieces, strict=True)]


def aggregate(nals: Sequence[bytes], codec: Codec) -> bytes:
    """Small NAL units in one payload: STAP-A (H.264) or AP (H.265)."""
    header = codec.with_type(max(nals, key=lambda nal: nal[0] & 0x60), STAP_A) if codec is Codec.H264 else bytes([AP << 1, 1])
    return header + b"".join(struct.pack(">H", len(nal)) + nal for nal in nals)


def payloads(nals: Sequence[bytes], codec: Codec, mtu: int = 1400) -> list[bytes]:
    """RTP payloads of at most ``mtu`` bytes: neighbours that fit share one, large NAL units are cut."""
    found: list[bytes] = []
    together: list[bytes] = []

    def close() -> None:
        if together:
            found.append(together[0] if len(together) == 1 else aggregate(together, codec))
            together.clear()

    for nal in nals:
        if codec.header_size + sum(2 + len(other) for other in [*together, nal]) > mtu:
            close()
        if len(nal) > mtu:
            found.extend(fragments(nal, codec, mtu))
        else:
            together.append(nal)
    close()
    return found


def rtp_packet(payload: bytes, sequence: int, timestamp: int, ssrc: int, marker: bool) -> bytes:
    """An RTP packet; ``marker`` is set on the last one of a picture."""
    kind = PAYLOAD_TYPE | (0x80 if marker else 0)
    return struct.pack(">BBHII", 0x80, kind, sequence & 0xFFFF, timestamp & 0xFFFFFFFF, ssrc) + payload


def sender_report(ssrc: int, wall: float, timestamp: int, packets: int, octets: int) -> bytes:
    """An RTCP sender report: ``wall`` (seconds since 1970) is the time of ``timestamp``."""
    seconds, fraction = divmod(round((wall + NTP_EPOCH) * 2**32), 2**32)
    words = (seconds, fraction, timestamp, packets, octets)
    return struct.pack(">BBHIIIIII", 0x80, 200, 6, ssrc, *(word & 0xFFFFFFFF for word in words))


@dataclass
class Flow:
    """One RTP stream to one client: numbers its packets and counts them."""

    mtu: int = 1400
    base: int = field(default_factory=lambda: random.getrandbits(32))  # timestamp of moment 0
    ssrc: int = field(default_factory=lambda: random.getrandbits(32))
    sequence: int = field(default_factory=lambda: random.getrandbits(16))
    packets: int = 0
    octets: int = 0

    def timestamp(self, moment: float) -> int:
        """RTP timestamp of ``moment`` in seconds."""
        return self.base + round(moment * CLOCK)

    def picture(self, nals: Sequence[bytes], codec: Codec, moment: float) -> list[bytes]:
        """The packets of one picture, shown at ``moment`` (seconds)."""
        pieces = payloads(nals, codec, self.mtu)
        made = [
            rtp_packet(piece, self.sequence + index, self.timestamp(moment), self.ssrc, index == len(pieces) - 1)
            for index, piece in enumerate(pieces)
        ]
        self.sequence += len(pieces)
        self.packets += len(pieces)
        self.octets += sum(map(len, pieces))
        return made

    def report(self, wall: float, moment: float) -> bytes:
        """A sender report: ``wall`` is the camera's time at ``moment``."""
        return sender_report(self.ssrc, wall, self.timestamp(moment), self.packets, self.octets)


def disturbed(packets: Sequence[bytes], loss: float, duplicate: float, reorder: float, rng: random.Random) -> list[bytes]:
    """``packets`` as a bad network delivers them: some lost, some twice, some swapped with their neighbour (shares from 0 to 1)."""
    arrived = [packet for packet in packets if rng.random() >= loss]
    arrived = [copy for packet in arrived for copy in [packet] * (2 if rng.random() < duplicate else 1)]
    for index in range(len(arrived) - 1):
        if rng.random() < reorder:
            arrived[index], arrived[index + 1] = arrived[index + 1], arrived[index]
    return arrived
