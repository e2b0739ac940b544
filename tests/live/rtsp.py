"""RTSP as text (RFC 2326): requests, responses, SDP and authentication; no sockets."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from live.rtp import CLOCK, PAYLOAD_TYPE, Codec

REALM = "camera"
TRACK = "track0"


@dataclass(frozen=True)
class Request:
    method: str
    uri: str
    headers: Mapping[str, str]  # names in lower case

    @classmethod
    def parse(cls, head: str) -> Request:
        """From the request line and the headers; raises ValueError for what is no request."""
        first, *lines = head.strip().split("\r\n")
        method, uri, _ = first.split(" ")
        pairs = (line.partition(":") for line in lines)
        return cls(method, uri, {name.strip().lower(): value.strip() for name, _, value in pairs})

    @property
    def path(self) -> str:
        """The camera's path, without the track."""
        return urlsplit(self.uri).path.strip("/").removesuffix(TRACK).rstrip("/")

    @property
    def content_length(self) -> int:
        return int(self.headers.get("content-length", 0))


def response(request: Request, status: str = "200 OK", headers: Mapping[str, str] | None = None, body: str = "") -> bytes:
    lines = [f"RTSP/1.0 {status}", f"CSeq: {request.headers.get('cseq', '0')}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if body:
        lines += ["Content-Type: application/sdp", f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n" + body).encode()


def sdp(codec: Codec, fps: float, parameter_sets: Sequence[bytes]) -> str:
    """The description of one video track; without ``parameter_sets`` they come in the stream alone."""
    sets = [base64.b64encode(nal).decode() for nal in parameter_sets]
    formats = ["packetization-mode=1"] if codec is Codec.H264 else []
    if sets and codec is Codec.H264:
        formats += [f"profile-level-id={parameter_sets[0][1:4].hex().upper()}", f"sprop-parameter-sets={','.join(sets)}"]
    elif sets:
        formats += [f"sprop-{name}={text}" for name, text in zip(("vps", "sps", "pps"), sets, strict=True)]
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=camera", "c=IN IP4 0.0.0.0", "t=0 0", f"m=video 0 RTP/AVP {PAYLOAD_TYPE}"]
    lines += [f"a=rtpmap:{PAYLOAD_TYPE} {codec.upper()}/{CLOCK}"]
    lines += [f"a=fmtp:{PAYLOAD_TYPE} {'; '.join(formats)}"] if formats else []
    return "\r\n".join([*lines, f"a=framerate:{fps:g}", f"a=control:{TRACK}", ""])


def challenge(scheme: str, nonce: str) -> str:
    """WWW-Authenticate for ``basic`` or ``digest``."""
    return f'Basic realm="{REALM}"' if scheme == "basic" else f'Digest realm="{REALM}", nonce="{nonce}"'


def digest(user: str, password: str, realm: str, nonce: str, method: str, uri: str) -> str:
    """The response of digest authentication (RFC 2617, MD5, without qop: what cameras ask for)."""

    def md5(text: str) -> str:
        return hashlib.md5(text.encode()).hexdigest()

    return md5(":".join((md5(f"{user}:{realm}:{password}"), nonce, md5(f"{method}:{uri}"))))


def authorised(request: Request, scheme: str, user: str, password: str, nonce: str) -> bool:
    """Whether the request's Authorization is that of ``user`` and ``password``."""
    kind, _, rest = request.headers.get("authorization", "").partition(" ")
    if kind.lower() != scheme:
        return False
    if scheme == "basic":
        return rest.strip() == base64.b64encode(f"{user}:{password}".encode()).decode()
    fields = {name.lower(): quoted or bare for name, quoted, bare in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', rest)}
    wanted = {"username": user, "realm": REALM, "nonce": nonce, "uri": request.uri}
    wanted["response"] = digest(user, password, REALM, nonce, request.method, request.uri)
    return all(fields.get(name) == value for name, value in wanted.items())


def channels(transport: str) -> tuple[int, int] | None:
    """The interleaved channels that a Transport header asks for; None where it asks for UDP."""
    if "RTP/AVP/TCP" not in transport:
        return None
    found = re.search(r"interleaved=(\d+)-(\d+)", transport)
    return (int(found[1]), int(found[2])) if found else (0, 1)


def client_ports(transport: str) -> tuple[int, int]:
    """The UDP ports that a Transport header names; raises ValueError where there are none."""
    found = re.search(r"client_port=(\d+)-(\d+)", transport)
    if not found:
        raise ValueError("no client_port")
    return int(found[1]), int(found[2])
