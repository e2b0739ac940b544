"""A camera for tests: an RTSP server on loopback that paces its pictures and shows every fault on demand.

    with RtspCamera(encode(numbered(50)), user="admin", password="secret") as camera:
        av.open(camera.url)
        camera.faults.video = Video.REPORTS_ONLY

Faults of the video and of answers are fields of ``camera.faults``; those of connections are methods of ``Service``.
"""

from __future__ import annotations

import asyncio
import os
import random
import threading
import time
from collections import deque
from collections.abc import Collection, Coroutine, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from live.delivery import Datagrams, Interleaved
from live.footage import Footage
from live.rtp import Flow, Unit, disturbed
from live.rtsp import Request, authorised, challenge, channels, client_ports, response, sdp
from live.service import HOST, Service, abort

METHODS = "OPTIONS, DESCRIBE, SETUP, PLAY, TEARDOWN, GET_PARAMETER"
Death = Literal["fin", "reset", "silence"]


class Video(StrEnum):
    """What is sent instead of video."""

    FINE = "fine"
    SILENT = "silent"  # nothing; the connection stays
    REPORTS_ONLY = "reports only"  # RTCP goes on without video
    TRICKLE = "trickle"  # one byte at each picture's time
    GARBAGE = "garbage"  # noise that is no RTP
    CORRUPT = "corrupt"  # RTP as it should be, noise inside the NAL units
    FREEZE = "freeze"  # one picture again and again, with new times


class Answer(StrEnum):
    """How requests are answered."""

    FINE = "fine"
    MUTE = "mute"
    UNAUTHORISED = "401"
    NOT_FOUND = "404"
    UNAVAILABLE = "503"


@dataclass
class Faults:
    """What is wrong with a path; set fields at any time from any thread, they count from the next picture or request on."""

    video: Video = Video.FINE
    answer: Answer = Answer.FINE
    delay: float = 0.0  # seconds before each answer
    loss: float = 0.0  # share of packets lost, sent twice, swapped with the next one
    duplicate: float = 0.0
    reorder: float = 0.0
    jump: float = 0.0  # seconds added to RTP timestamps
    clock: float = 0.0  # seconds added to the wall clock of sender reports
    drift: float = 0.0  # seconds that the wall clock has gained in each second since the start
    reports: float | None = 1.0  # seconds between sender reports; None: there are none

    def heal(self) -> None:
        """No fault any more; what jumped or stepped jumps back."""
        for each in fields(self):
            setattr(self, each.name, each.default)


class Player:
    """Sends the pictures of a stream to one client, or what the faults make of them."""

    def __init__(self, stream: Stream, transport: Interleaved | Datagrams, flow: Flow, writer: asyncio.StreamWriter) -> None:
        self.stream = stream
        self._transport, self._flow, self._writer = transport, flow, writer
        self._next_report = -1.0
        self._random = random.Random(0)

    def send(self, unit: Unit, death: Death | None = None) -> None:
        faults = self.stream.faults
        if faults.video in (Video.SILENT, Video.TRICKLE, Video.GARBAGE):
            self._send_no_rtp(unit)
            return
        self._report()
        if faults.video is Video.REPORTS_ONLY:
            return
        packets = self._packets(unit)
        if death:
            self._die(packets, death)
        else:
            self._transport.send(disturbed(packets, faults.loss, faults.duplicate, faults.reorder, self._random))

    def leave(self) -> None:
        """Play no more; the connection stays."""
        self.stream.players.discard(self)
        self._transport.close()

    def end(self) -> None:
        """Close the connection after what is still to be sent."""
        self.leave()
        self._writer.close()

    def _packets(self, unit: Unit) -> list[bytes]:
        stream, faults = self.stream, self.stream.faults
        nals = [_noisy(nal) for nal in unit.nals] if faults.video is Video.CORRUPT else unit.nals
        shown = stream.moment + unit.shift / stream.footage.fps
        return self._flow.picture(nals, unit.codec, shown + faults.jump)

    def _send_no_rtp(self, unit: Unit) -> None:
        if self.stream.faults.video is Video.GARBAGE:
            self._transport.send([bytes(1) + os.urandom(200)])  # RTP's first two bits are 10
        elif self.stream.faults.video is Video.TRICKLE:
            self._transport.trickle(self._packets(unit))

    def _report(self) -> None:
        """A sender report, where one is due."""
        faults, moment = self.stream.faults, self.stream.moment
        if faults.reports is not None and moment >= self._next_report:
            self._transport.send([self._flow.report(self.stream.wall(moment), moment + faults.jump)], rtcp=True)
            self._next_report = moment + faults.reports

    def _die(self, packets: list[bytes], how: Death) -> None:
        self._transport.send_half(packets)
        if how == "fin":
            self.end()
        elif how == "reset":
            self.leave()
            abort(self._writer, reset=True)


class Stream:
    """A path of the camera: its footage, paced, to all who play it."""

    def __init__(self, footage: Footage, speed: float) -> None:
        self.footage = footage
        self.faults = Faults()
        self.players: set[Player] = set()
        self.moment = 0.0  # seconds of footage so far
        self._speed, self._index = speed, 0
        self._lock = threading.Lock()  # footage and index change together
        self._frozen: Unit | None = None
        self._death: Death | None = None
        self._restart_time()

    def change(self, footage: Footage) -> None:
        """Send other footage from the next picture on, without a word to those who play."""
        with self._lock:
            self.footage, self._index = footage, 0

    def die_in_frame(self, how: Death = "fin") -> None:
        """Send half of the next picture, then end the connections, or be silent with them open."""
        self._death = how

    def wall(self, moment: float) -> float:
        """The camera's clock at ``moment``, in seconds since 1970."""
        return self._epoch + moment + self.faults.clock + self.faults.drift * moment

    async def run(self) -> None:
        """Pace the footage; what loops goes on while the camera is down, what does not begins when somebody plays it."""
        self._catch_up()
        while True:
            if not self.footage.loop and not self.players:
                await asyncio.sleep(0.005)
                self._restart_time()
                continue
            await asyncio.sleep(self._start + self.moment / self._speed - time.monotonic())
            unit = self._next()
            if unit is None:
                for player in list(self.players):
                    player.end()
                continue
            self._send(unit)
            self.moment += 1 / self.footage.fps

    def _next(self) -> Unit | None:
        with self._lock:
            self._index += 1
            return self.footage.unit(self._index - 1)

    def _restart_time(self) -> None:
        self._start, self._epoch, self.moment, self._index = time.monotonic(), time.time(), 0.0, 0

    def _catch_up(self) -> None:
        missed = int(max(0.0, (time.monotonic() - self._start) * self._speed - self.moment) * self.footage.fps)
        self._index += missed
        self.moment += missed / self.footage.fps

    def _send(self, unit: Unit) -> None:
        self._frozen = unit if unit.key and self.faults.video is not Video.FREEZE else self._frozen
        shown = self._frozen if self.faults.video is Video.FREEZE and self._frozen else unit
        death, self._death = self._death, None
        for player in list(self.players):
            player.send(shown, death)
        if death == "silence":
            self.faults.video = Video.SILENT


class RtspCamera(Service):
    """An RTSP server on loopback: H.264 and H.265, over TCP, UDP and TLS, to many clients.

    Args:
        footage: what it shows, or paths and what each shows; the first path is the main stream.
        user, password, scheme: where a user is given, requests need ``basic`` or ``digest`` authentication.
        tls: certificate and key; then it is RTSPS.
        speed: footage runs this many times faster than real time; RTP and wall clock follow the footage.
        transports: ``tcp`` (interleaved) and ``udp``; others get status 461.
        in_sdp: the SDP holds the parameter sets.
        timestamp: RTP timestamp of moment 0; random by default.
        mtu: largest RTP payload, in bytes.
    """

    def __init__(
        self,
        footage: Footage | Mapping[str, Footage],
        *,
        user: str | None = None,
        password: str = "",
        scheme: Literal["basic", "digest"] = "digest",
        tls: tuple[Path, Path] | None = None,
        speed: float = 1.0,
        transports: Collection[str] = ("tcp", "udp"),
        in_sdp: bool = True,
        timestamp: int | None = None,
        mtu: int = 1400,
    ) -> None:
        super().__init__(tls)
        paths = footage if isinstance(footage, Mapping) else {"main": footage}
        self.streams = {path: Stream(shown, speed) for path, shown in paths.items()}
        self.user, self.password, self.scheme = user, password, scheme
        self.transports, self.in_sdp, self.timestamp, self.mtu = transports, in_sdp, timestamp, mtu
        self.requests: deque[str] = deque(maxlen=10_000)  # "METHOD path", newest last

    def __getitem__(self, path: str) -> Stream:
        return self.streams[path]

    @property
    def main(self) -> Stream:
        return next(iter(self.streams.values()))

    @property
    def faults(self) -> Faults:
        """Those of the main stream."""
        return self.main.faults

    @property
    def url(self) -> str:
        """The main stream's address, with user and password where they are needed."""
        return self.address(user=self.user, password=self.password)

    def address(self, path: str | None = None, user: str | None = None, password: str = "") -> str:
        """The address of a path, the main one by default, with the user and password given here."""
        credentials = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user is not None else ""
        return f"{'rtsps' if self._tls else 'rtsp'}://{credentials}{HOST}:{self.port}/{path or next(iter(self.streams))}"

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        return [stream.run() for stream in self.streams.values()]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Client(self, reader, writer).run()


class Client:
    """One connection: answers its requests."""

    def __init__(self, camera: RtspCamera, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._camera, self._reader, self._writer = camera, reader, writer
        self._nonce, self._session = os.urandom(8).hex(), os.urandom(4).hex()
        self._player: Player | None = None

    async def run(self) -> None:
        """Answer until the connection ends."""
        try:
            while True:
                request = await self._request()
                stream = self._camera.streams.get(request.path)
                faults = stream.faults if stream else Faults()
                self._camera.requests.append(f"{request.method} {request.path}")
                await asyncio.sleep(faults.delay)
                if faults.answer is not Answer.MUTE:
                    self._writer.write(self._answer(request, stream, faults.answer))
                if request.method == "TEARDOWN":
                    return
        finally:
            if self._player:
                self._player.leave()

    async def _request(self) -> Request:
        """The next request; what the client sends within the connection (RTCP) is passed over."""
        while (first := await self._reader.readexactly(1)) == b"$":
            head = await self._reader.readexactly(3)
            await self._reader.readexactly(int.from_bytes(head[1:], "big"))
        request = Request.parse((first + await self._reader.readuntil(b"\r\n\r\n")).decode())
        await self._reader.readexactly(request.content_length)
        return request

    def _answer(self, request: Request, stream: Stream | None, answer: Answer) -> bytes:
        if answer is Answer.UNAVAILABLE:
            return response(request, "503 Service Unavailable")
        if request.method == "OPTIONS":
            return response(request, headers={"Public": METHODS})
        if not stream or answer is Answer.NOT_FOUND:
            return response(request, "404 Not Found")
        if answer is Answer.UNAUTHORISED or not self._authorised(request):
            return response(request, "401 Unauthorized", {"WWW-Authenticate": challenge(self._camera.scheme, self._nonce)})
        if request.method == "DESCRIBE":
            return self._describe(request, stream.footage)
        if request.method == "SETUP":
            return self._set_up(request, stream)
        if request.method == "PLAY":
            return self._play(request)
        return response(request, headers={"Session": self._session})

    def _authorised(self, request: Request) -> bool:
        camera = self._camera
        return camera.user is None or authorised(request, camera.scheme, camera.user, camera.password, self._nonce)

    def _describe(self, request: Request, footage: Footage) -> bytes:
        body = sdp(footage.codec, footage.fps, footage.parameter_sets if self._camera.in_sdp else ())
        return response(request, headers={"Content-Base": request.uri.rstrip("/") + "/"}, body=body)

    def _set_up(self, request: Request, stream: Stream) -> bytes:
        camera, wanted = self._camera, request.headers.get("transport", "")
        numbers = channels(wanted)
        if ("udp" if numbers is None else "tcp") not in camera.transports:
            return response(request, "461 Unsupported Transport")
        if self._player:
            self._player.leave()
        transport = Datagrams(client_ports(wanted)) if numbers is None else Interleaved(self._writer, numbers)
        flow = Flow(camera.mtu) if camera.timestamp is None else Flow(camera.mtu, camera.timestamp)
        self._player = Player(stream, transport, flow, self._writer)
        return response(request, headers={"Transport": transport.header, "Session": f"{self._session};timeout=60"})

    def _play(self, request: Request) -> bytes:
        if not self._player:
            return response(request, "455 Method Not Valid in This State")
        self._player.stream.players.add(self._player)
        return response(request, headers={"Session": self._session})


def _noisy(nal: bytes) -> bytes:
    """Noise under the NAL unit's own header; parameter sets and other short units stay."""
    return nal[:2] + os.urandom(len(nal) - 2) if len(nal) > 100 else nal
