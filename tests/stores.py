"""A small store with two cameras, their videos and four people, for tests of the console."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from clips import figure, write_clip

from pipeline.formats.tracklet import Tracklet
from pipeline.store import Store, open_store

BEGAN = 1_700_006_400.0  # 2023-11-15 00:00 UTC
SHIRTS = [(40, 40, 200), (200, 90, 30), (60, 170, 60), (30, 200, 220)]
SIZE, RATE, SECONDS = (320, 240), 5, 20
DIMENSION = 16


def feet(who: int, camera: int, time: float) -> tuple[float, float]:
    return (40 + 12 * time + 10 * who if camera == 0 else 280 - 11 * time - 8 * who), 150 + 20 * who


def crop_of(who: int, step: int = 0) -> bytes:
    """JPEG of a drawn person."""
    picture = np.full((128, 64, 3), 120, np.uint8)
    figure(picture, 32, 120, 110, SHIRTS[who], (60, 50, 40), step)
    return bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def looks(who: int, seed: int) -> np.ndarray:
    """(d,) unit embedding: near those of the same person."""
    row = np.eye(DIMENSION)[who] + np.random.default_rng(seed).normal(0, 0.05, DIMENSION)
    return (row / np.linalg.norm(row)).astype(np.float32)


def person_track(camera: str, number: int, track: int, who: int, start: float, end: float) -> Tracklet:
    times = np.arange(start, end, 1 / RATE)
    places = np.array([feet(who, number, time) for time in times])
    boxes = np.c_[places[:, 0] - 15, places[:, 1] - 80, places[:, 0] + 15, places[:, 1]].astype(np.float32)
    vector, crops = looks(who, track), tuple(crop_of(who, at) for at in range(3))
    return Tracklet(
        camera, track, np.arange(len(times)) + 1, times, boxes, np.full(len(times), 0.9, np.float32), vector, 5, 0.8, crops,
        tuple(np.linspace(start, times[-1], 3).tolist()), 1, times[:1], vector[None],
    )  # fmt: skip


def build(folder: Path, videos: bool = True) -> Store:
    """``folder/store.db``: people 1 to 4 in cameras gate and yard, the last in two tracks; two uncertain pairs; person 3 is staff."""
    folder.mkdir(parents=True, exist_ok=True)
    store = open_store(folder, create=True)
    store.use_model({"reid": "0" * 64, "slope": "25", "offset": "-8.5"})
    source = store.sightings.add_source("run", str(folder), "run", BEGAN).id
    ids: dict[tuple[str, int], int] = {}
    for number, camera in enumerate(("gate", "yard")):
        (folder / camera).mkdir(exist_ok=True)
        if videos:
            pictures = []
            for at in range(SECONDS * RATE):
                picture = np.full((SIZE[1], SIZE[0], 3), 110, np.uint8)
                for who in range(4):
                    x, y = feet(who, number, at / RATE)
                    figure(picture, round(x), round(y), 80, SHIRTS[who], (60, 50, 40), at / 3)
                pictures.append(picture)
            write_clip(folder / camera / "video.mp4", pictures, RATE)
        feed = store.sightings.feed(source, camera, BEGAN, "wall" if number else "assumed", f"{camera}/video.mp4" if videos else None, SIZE)
        with store.writing():
            for who in range(4):
                ids[camera, who] = store.sightings.add(source, feed, person_track(camera, number, who + 1, who, 1.0 + who, 15.0 + who))
    decided = [(ids[camera, who], who + 1, 0.97 - 0.2 * who) for camera in ("gate", "yard") for who in range(3)]
    store.people.assign(source, [*decided, (ids["gate", 3], 4, 0.8), (ids["yard", 3], 5, 0.7)])
    store.corrections.suspect([(ids["gate", 3], ids["yard", 3], 0.55), (ids["gate", 0], ids["yard", 1], 0.2)])
    store.people.tag(3, "staff", "test")
    store.events.add("camera_state", BEGAN, "gate", state="running", reason=None)
    return store
