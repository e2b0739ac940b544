"""Pictures and videos of sightings. What is served is found by number in the store; no request names a file."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import cv2
import numpy as np
from fastapi import APIRouter, HTTPException, Query, Request
from fastapi.responses import FileResponse, Response

from pipeline.store import Feed
from pipeline.web.asked import Id
from pipeline.web.guard import Viewer
from pipeline.web.render import console_of

router = APIRouter(prefix="/media", include_in_schema=False)
PRIVATE = {"Cache-Control": "private, max-age=300"}
KINDS = {".mp4": "video/mp4", ".webm": "video/webm", ".mkv": "video/x-matroska"}
_decoding = threading.Semaphore(2)


@router.get("/crop/{sighting}")
def crop(request: Request, who: Viewer, sighting: Id, number: Annotated[int | None, Query(ge=0, le=10_000)] = None) -> Response:
    """The best picture of a sighting, or its ``number``-th."""
    store = console_of(request).store
    if number is None:
        jpeg = store.sightings.best_crop(sighting)
    else:
        jpeg = next((one.jpeg for one in store.sightings.crops(sighting) if one.number == number), None)
    if jpeg is None:
        raise HTTPException(404, "no picture of this sighting is kept")
    return Response(jpeg, media_type="image/jpeg", headers=PRIVATE)


@router.get("/video/{source}/{camera}")
def video(request: Request, who: Viewer, source: Id, camera: Id) -> Response:
    """The recorded video of a camera (by its number) in a source, in ranges as a player asks for them."""
    path = video_file(feed_of(request, source, camera))
    return FileResponse(path, media_type=KINDS[path.suffix.lower()], headers=PRIVATE)


@router.get("/still/{camera}")
def still(
    request: Request,
    who: Viewer,
    camera: Id,
    source: Annotated[int | None, Query(ge=0, lt=2**53)] = None,
    at: Annotated[float, Query(ge=0, le=1e7, allow_inf_nan=False)] = 0.0,
) -> Response:
    """A picture of a camera's recorded video, ``at`` seconds: to draw on, and before a video plays; of a live camera, the newest."""
    console = console_of(request)
    name = camera_name(request, camera)
    if console.live is not None and source is None and (picture := console.live.jpeg(name)) is not None:
        return Response(picture, media_type="image/jpeg", headers={"Cache-Control": "no-store"})
    for feed in console.store.sightings.feeds(name):
        if source in (None, feed.source) and feed.video is not None:
            try:
                path = video_file(feed)
            except HTTPException:
                continue
            with _decoding:
                picture = frame_at(path, at)
            if picture is not None:
                return Response(picture, media_type="image/jpeg", headers=PRIVATE)
    raise HTTPException(404, "no recorded video of this camera")


def camera_name(request: Request, number: int) -> str:
    """Raises HTTPException for an unknown number."""
    name = next((one.name for one in console_of(request).store.sightings.cameras() if one.id == number), None)
    if name is None:
        raise HTTPException(404, f"no camera number {number}")
    return name


def feed_of(request: Request, source: int, camera: int) -> Feed:
    """Raises HTTPException for an unknown one."""
    name = camera_name(request, camera)
    found = next((feed for feed in console_of(request).store.sightings.feeds(name) if feed.source == source), None)
    if found is None:
        raise HTTPException(404, f"camera {name} has no recording of source {source}")
    return found


def video_file(feed: Feed) -> Path:
    """The file, which must be a video below its source's folder. Raises HTTPException."""
    if feed.folder is None or feed.video is None:
        raise HTTPException(404, "no video was recorded")
    folder = Path(feed.folder).resolve()
    path = (folder / feed.video).resolve()
    if not path.is_relative_to(folder) or path.suffix.lower() not in KINDS or not path.is_file():
        raise HTTPException(404, "the recorded video is not there any more")
    return path


def frame_at(path: Path, at: float) -> bytes | None:
    """A frame of a video as JPEG, None if it cannot be read."""
    import av
    import av.error

    try:
        with av.open(str(path)) as container:
            stream = container.streams.video[0]
            if at and stream.time_base:
                container.seek(int(at / stream.time_base), stream=stream)
            for frame in container.decode(stream):
                if frame.time is not None and frame.time + 0.02 < at:
                    continue
                image: np.ndarray = frame.to_ndarray(format="bgr24")
                return bytes(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes())
    except (av.error.FFmpegError, IndexError, OSError):
        return None
    return None
