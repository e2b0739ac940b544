"""The wall: what the cameras see now, over one WebSocket for all of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from fastapi import APIRouter, Request, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import Response

from pipeline.live.screen import LiveScreen
from pipeline.web.access import Role
from pipeline.web.guard import Guard, Viewer, other_site
from pipeline.web.render import console_of, render

router = APIRouter(include_in_schema=False)
LOOK, RATE, TELL = 0.03, 6.0, 1.0  # seconds between looks for new pictures, pictures per second of a camera at most, seconds between states


def states(request: Request | WebSocket) -> dict[str, dict[str, Any]]:
    """State of each camera as last known: of live cameras of this process, else the last event of each."""
    console = console_of(request)  # type: ignore[arg-type]
    if console.live is not None and console.live.status is not None:
        return {
            name: {"state": one.state, "reason": one.reason, "lag": one.lag, "tracks": one.tracks}
            for name, one in console.live.status().cameras.items()
        }
    out: dict[str, dict[str, Any]] = {}
    for event in console.store.events.query(kinds=("camera_state",), limit=1000, newest_first=True):
        if event.camera is not None and event.camera not in out:
            out[event.camera] = {
                "state": event.data.get("state"),
                "reason": event.data.get("reason"),
                "lag": None,
                "tracks": None,
                "since": event.time,
            }
    return out


@router.get("/now")
def wall(request: Request, who: Viewer) -> Response:
    console = console_of(request)
    known = console.store.sightings.cameras()
    names = sorted({*(one.name for one in known), *states(request)}) if console.live is None else list(states(request))
    ids = {one.name: one.id for one in known}
    console.store.audit.log(who.name, "viewed", None, view="now")
    recent = console.store.events.query(limit=40, newest_first=True)
    return render(
        request, "now.html", names=names, states=states(request), ids=ids, last={one.name: one.last for one in known}, events=recent,
        live=console.live is not None,
    )  # fmt: skip


@router.websocket("/ws/now")
async def watch(socket: WebSocket) -> None:
    """Binary: pictures as ``LiveScreen.message`` has them. Text: JSON of the cameras' states, each second."""
    guard: Guard = socket.app.state.guard
    live: LiveScreen | None = socket.app.state.console.live
    who = await run_in_threadpool(guard.principal, socket)
    if who is None or who.role < Role.VIEWER or other_site(socket) is not None:
        await socket.close(1008)
        return
    await socket.accept()
    if live is None:
        await socket.close(1000, "no live cameras in this process")
        return
    hung_up = asyncio.create_task(_until_closed(socket))
    sent: dict[str, tuple[int, float]] = {}
    told = 0.0
    try:
        while not hung_up.done():
            now = time.monotonic()
            if now - told >= TELL:
                told = now
                if guard.principal(socket) is None:  # logged out, or the token was removed
                    await socket.close(1008)
                    return
                await socket.send_json({"cameras": states(socket), "time": time.time()})
            for camera, number in live.numbers().items():
                before, at = sent.get(camera, (0, 0.0))
                if number != before and now - at >= 1 / RATE:
                    message = await run_in_threadpool(live.message, camera)
                    if message is not None:
                        await socket.send_bytes(message)
                    sent[camera] = number, now
            await asyncio.sleep(LOOK)
    except (WebSocketDisconnect, RuntimeError):
        pass
    finally:
        hung_up.cancel()


async def _until_closed(socket: WebSocket) -> None:
    """What a wall sends is read and forgotten, so that its end is noticed."""
    try:
        while True:
            await socket.receive_text()
    except (WebSocketDisconnect, RuntimeError, KeyError):
        return
