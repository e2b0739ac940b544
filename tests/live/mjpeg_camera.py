"""A camera for tests: JPEG pictures over HTTP (multipart/x-mixed-replace), as many cheap cameras send them."""

from __future__ import annotations

import asyncio
import base64
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import cv2
import numpy as np

from live.service import HOST, Service

PART = b"--picture\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n%b\r\n"


@dataclass
class MjpegFaults:
    """What is wrong now; beside these, ``refuse``, ``mute``, ``drop`` and ``kill`` of any service."""

    status: str = "200 OK"  # 401 Unauthorized, 404 Not Found, ...
    silent: bool = False  # no pictures; the connection stays
    die: bool = False  # end connections in the middle of the next picture


def jpegs(pictures: Iterable[np.ndarray], quality: int = 90) -> list[bytes]:
    """``pictures`` (h, w, 3) BGR as JPEG files."""
    return [cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])[1].tobytes() for picture in pictures]


class MjpegCamera(Service):
    """An HTTP server on loopback that sends ``pictures`` (JPEG files) in a loop, at ``fps`` pictures a second."""

    def __init__(
        self,
        pictures: Sequence[bytes],
        fps: float = 10,
        *,
        user: str | None = None,
        password: str = "",
        tls: tuple[Path, Path] | None = None,
    ) -> None:
        super().__init__(tls)
        self.pictures, self.fps, self.user, self.password = pictures, fps, user, password
        self.faults = MjpegFaults()
        self._start = time.monotonic()

    @property
    def url(self) -> str:
        return self.address(self.user, self.password)

    def address(self, user: str | None = None, password: str = "") -> str:
        """The address, with the user and password given here."""
        credentials = f"{quote(user, safe='')}:{quote(password, safe='')}@" if user is not None else ""
        return f"{'https' if self._tls else 'http'}://{credentials}{HOST}:{self.port}/video.mjpg"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = (await reader.readuntil(b"\r\n\r\n")).decode()
        if self.faults.status != "200 OK" or not self._authorised(request):
            writer.write(self._refusal(self.faults.status).encode())
            return
        writer.write(b"HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=picture\r\n\r\n")
        index = int((time.monotonic() - self._start) * self.fps)
        while not writer.is_closing():
            index += 1
            await asyncio.sleep(self._start + index / self.fps - time.monotonic())
            if not self.faults.silent:
                await self._send(writer, self.pictures[index % len(self.pictures)])

    async def _send(self, writer: asyncio.StreamWriter, picture: bytes) -> None:
        part = PART % (len(picture), picture)
        writer.write(part[: len(part) // 2] if self.faults.die else part)
        await writer.drain()
        if self.faults.die:
            writer.close()

    def _authorised(self, request: str) -> bool:
        given = re.search(r"^authorization: basic (\S+)", request, re.IGNORECASE | re.MULTILINE)
        wanted = base64.b64encode(f"{self.user}:{self.password}".encode()).decode()
        return self.user is None or (given is not None and given[1] == wanted)

    @staticmethod
    def _refusal(status: str) -> str:
        status = "401 Unauthorized" if status == "200 OK" else status
        ask = 'WWW-Authenticate: Basic realm="camera"\r\n' if status.startswith("401") else ""
        return f"HTTP/1.0 {status}\r\n{ask}Content-Length: 0\r\n\r\n"
