"""RTP, RTCP and RTSP texts of the test camera: pure functions, read back by code of the test's own."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.raw_client import parse_report, parse_rtp
from live.rtp import Codec, Flow, disturbed, nal_units, payloads
from live.rtsp import Request, authorised, challenge, channels, client_ports, digest, response, sdp

HEADERS = {
    Codec.H264: [b"\x67", b"\x68", b"\x06", b"\x65", b"\x41"],
    Codec.H265: [b"\x40\x01", b"\x42\x01", b"\x44\x01", b"\x26\x01", b"\x02\x01"],
}


def read_payloads(found: list[bytes], codec: Codec) -> list[bytes]:
    """The NAL units in RTP payloads, as a receiver puts them together."""
    size, single, cut = (1, 24, 28) if codec is Codec.H264 else (2, 48, 49)
    nals: list[bytes] = []
    for payload in found:
        kind = codec.nal_type(payload)
        if kind == single:
            rest = payload[size:]
            while rest:
                length = int.from_bytes(rest[:2], "big")
                nals.append(rest[2 : 2 + length])
                rest = rest[2 + length :]
        elif kind == cut:
            if payload[size] & 0x80:
                nals.append(codec.with_type(payload, payload[size] & (0x1F if codec is Codec.H264 else 0x3F)))
            nals[-1] += payload[size + 1 :]
        else:
            nals.append(payload)
    return nals


@st.composite
def pictures(draw: st.DrawFn) -> tuple[Codec, list[bytes]]:
    codec = draw(st.sampled_from(Codec))
    sizes = draw(st.lists(st.integers(1, 500), min_size=1, max_size=8))
    return codec, [draw(st.sampled_from(HEADERS[codec])) + random.Random(size).randbytes(size) for size in sizes]


@given(pictures(), st.integers(20, 300))
def test_payloads_give_the_units_back(picture, mtu):
    codec, nals = picture
    found = payloads(nals, codec, mtu)
    assert read_payloads(found, codec) == nals
    assert max(map(len, found)) <= mtu


def test_small_neighbours_share_a_payload_and_large_units_are_cut():
    nals = [b"\x67ab", b"\x68c", b"\x65" + bytes(250)]
    together, *cut = payloads(nals, Codec.H264, 100)
    assert together == b"\x78\x00\x03\x67ab\x00\x02\x68c"  # STAP-A, with the highest importance of the two
    assert [piece[:2] for piece in cut] == [b"\x7c\x85", b"\x7c\x05", b"\x7c\x45"]  # FU-A: start, middle, end of a type 5


def test_an_h265_unit_is_cut_with_its_own_type():
    cut = payloads([b"\x26\x01" + bytes(150)], Codec.H265, 100)
    assert [piece[:3] for piece in cut] == [b"\x62\x01\x93", b"\x62\x01\x53"]  # FU: start, end of a type 19


@given(st.lists(st.binary(min_size=1, max_size=20).map(lambda body: b"\x65" + body.replace(b"\x00", b"\x07")), max_size=5))
def test_annex_b_is_split_at_start_codes_of_either_length(nals):
    assert nal_units(b"".join(b"\x00\x00\x00\x01" + nal for nal in nals)) == nals
    assert nal_units(b"".join(b"\x00\x00\x01" + nal for nal in nals)) == nals


def test_a_flow_numbers_marks_and_counts_its_packets_and_wraps():
    flow = Flow(mtu=100, base=2**32 - 90_000, sequence=65_535)
    first = [parse_rtp(packet) for packet in flow.picture([b"\x65" + bytes(150)], Codec.H264, 0.5)]
    second = [parse_rtp(packet) for packet in flow.picture([b"\x41" + bytes(50)], Codec.H264, 1.5)]
    assert [packet.sequence for packet in first + second] == [65_535, 0, 1]
    assert [packet.marker for packet in first + second] == [False, True, True]
    assert [packet.timestamp for packet in first + second] == [2**32 - 45_000] * 2 + [45_000]
    report = parse_report(flow.report(1_700_000_000.25, 2.0))
    assert report.wall == pytest.approx(1_700_000_000.25, abs=1e-6)
    assert (report.timestamp, report.packets) == (90_000, 3)
    assert report.octets == sum(len(packet.payload) for packet in first + second)


def test_a_sender_report_has_the_form_of_the_standard():
    report = Flow(base=7, ssrc=0xABCD).report(0.0, 0.0)
    assert struct.unpack(">BBHI", report[:8]) == (0x80, 200, 6, 0xABCD)
    assert len(report) == 4 * (6 + 1)


def test_disturbed_loses_doubles_and_swaps():
    packets = [bytes([index]) for index in range(200)]
    rng = random.Random(1)
    assert disturbed(packets, 0, 0, 0, rng) == packets
    assert disturbed(packets, 1, 0, 0, rng) == []
    assert disturbed(packets, 0, 1, 0, rng) == [packet for packet in packets for _ in range(2)]
    assert 5 < 200 - len(disturbed(packets, 0.1, 0, 0, rng)) < 40
    swapped = disturbed(packets, 0, 0, 0.1, rng)
    assert swapped != packets
    assert sorted(swapped) == packets


def test_a_description_holds_the_parameter_sets():
    text = sdp(Codec.H264, 12.5, (b"\x67\x42\xc0\x0a", b"\x68\xce"))
    assert "a=rtpmap:96 H264/90000\r\n" in text
    assert "profile-level-id=42C00A; sprop-parameter-sets=Z0LACg==,aM4=\r\n" in text
    assert "a=framerate:12.5\r\n" in text
    assert "sprop-vps=QAE=; sprop-sps=QgE=; sprop-pps=RAE=\r\n" in sdp(Codec.H265, 10, (b"\x40\x01", b"\x42\x01", b"\x44\x01"))
    assert "sprop" not in sdp(Codec.H264, 10, ())


def test_a_request_is_read_and_answered():
    request = Request.parse("SETUP rtsp://127.0.0.1:5/a/b/track0 RTSP/1.0\r\nCSeq: 3\r\nTransport: RTP/AVP/TCP;interleaved=2-3\r\n\r\n")
    assert (request.method, request.path, request.headers["transport"]) == ("SETUP", "a/b", "RTP/AVP/TCP;interleaved=2-3")
    assert response(request, headers={"Session": "1"}) == b"RTSP/1.0 200 OK\r\nCSeq: 3\r\nSession: 1\r\n\r\n"
    assert response(request, body="v=0").endswith(b"Content-Length: 3\r\n\r\nv=0")
    with pytest.raises(ValueError):
        Request.parse("noise\r\n\r\n")


def test_transports():
    assert channels("RTP/AVP/TCP;unicast;interleaved=4-5") == (4, 5)
    assert channels("RTP/AVP/TCP;unicast") == (0, 1)
    assert channels("RTP/AVP/UDP;unicast;client_port=7000-7001") is None
    assert client_ports("RTP/AVP;unicast;client_port=7000-7001") == (7000, 7001)
    with pytest.raises(ValueError):
        client_ports("RTP/AVP;multicast")


def test_digest_is_that_of_the_standard():  # the example of RFC 2069, with its erratum
    found = digest("Mufasa", "CircleOfLife", "testrealm@host.com", "dcd98b7102dd2f0e8b11d0f600bfb0c093", "GET", "/dir/index.html")
    assert found == "1949323746fe6a43ef61f9606e7febea"


def test_authorisation_is_checked_in_each_part():
    uri, nonce = "rtsp://127.0.0.1/main", "n0"
    right = {"username": "admin", "realm": "camera", "nonce": nonce, "uri": uri}
    right["response"] = digest("admin", "p@ss/w#rd", "camera", nonce, "DESCRIBE", uri)

    def accepted(fields: dict[str, str]) -> bool:
        header = "Digest " + ", ".join(f'{name}="{text}"' for name, text in fields.items())
        return authorised(Request("DESCRIBE", uri, {"authorization": header}), "digest", "admin", "p@ss/w#rd", nonce)

    assert accepted(right)
    for name in right:
        assert not accepted(right | {name: "other"})
    basic = Request("DESCRIBE", uri, {"authorization": "Basic YWRtaW46cEBzcy93I3Jk"})
    assert authorised(basic, "basic", "admin", "p@ss/w#rd", nonce)
    assert not authorised(basic, "basic", "admin", "other", nonce)
    assert not authorised(basic, "digest", "admin", "p@ss/w#rd", nonce)
    assert not authorised(Request("DESCRIBE", uri, {}), "basic", "admin", "p@ss/w#rd", nonce)
    assert challenge("basic", nonce) == 'Basic realm="camera"'
    assert challenge("digest", nonce) == 'Digest realm="camera", nonce="n0"'
