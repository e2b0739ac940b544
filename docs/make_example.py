"""Draws ``docs/example.jpg``: the same drawn people in two cameras, tracked and linked by the product itself.

    python docs/make_example.py

No real person is in it. Boxes are given; tracks, embeddings and identities are the program's.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from pathlib import Path

import cv2
import numpy as np

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from clips import figure, write_clip  # noqa: E402

from pipeline import Config, Request, run  # noqa: E402
from pipeline.engine.cameras import specify  # noqa: E402
from pipeline.formats.colours import colour  # noqa: E402
from pipeline.formats.mot import read_tracks, write_rows  # noqa: E402

SIZE, FRAMES, SHOWN = (640, 360), 70, 45
CLOTHES = [((60, 60, 205), (110, 70, 40)), ((210, 120, 40), (50, 50, 55)), ((70, 175, 80), (165, 160, 170))]
FLOORS = {"door": (205, 214, 222), "hall": (226, 216, 206)}


def walk(camera: str, person: int, frame: int) -> tuple[float, float, int]:
    """x and y of the feet, and the height, in px."""
    depth = (250, 300, 345)[person if camera == "door" else 2 - person]
    step = (3.4, -2.8, 4.1)[person] * (1 if camera == "door" else -1)
    return (150 + 150 * person + step * (frame - 35)), depth, 95 + (depth - 250) // 2


def scene(camera: str, frame: int) -> np.ndarray:
    width, height = SIZE
    image = np.full((height, width, 3), FLOORS[camera], np.uint8)
    image[: height // 2] = np.array(FLOORS[camera]) * 0.86
    cv2.line(image, (0, height // 2), (width, height // 2), (150, 150, 150), 2)
    for person in sorted(range(3), key=lambda one: walk(camera, one, frame)[1]):
        x, ground, tall = walk(camera, person, frame)
        figure(image, round(x), round(ground), tall, *CLOTHES[person], frame / 3 + person)
    return image


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        for camera in FLOORS:
            write_clip(folder / f"{camera}.mp4", (scene(camera, frame) for frame in range(FRAMES)), rate=10)
            rows = [(frame + 1, walk(camera, person, frame)) for frame in range(FRAMES) for person in range(3)]
            boxes = np.array([[x - tall / 5, ground - tall, x + tall / 5, ground] for _, (x, ground, tall) in rows])
            with (folder / f"{camera}.txt").open("w") as file:
                write_rows(file, np.array([frame for frame, _ in rows]), np.full(len(rows), -1), boxes, np.full(len(rows), 0.9))
        specs = specify([str(folder / f"{camera}.mp4") for camera in FLOORS], detections=[f"{c}={folder / c}.txt" for c in FLOORS])
        run(Request(specs, Config.model_validate({"output": {"video": False}}), folder / "out"))
        with (folder / "out/identities.csv").open() as file:
            identity = {(row["camera"], int(row["track"])): int(row["identity"]) for row in csv.DictReader(file)}
        views = [annotated(camera, folder / "out" / camera / "tracks.txt", identity) for camera in FLOORS]
    cv2.imwrite(str(ROOT / "docs/example.jpg"), np.concatenate([views[0], np.full((SIZE[1], 8, 3), 255, np.uint8), views[1]], 1))


def annotated(camera: str, tracks: Path, identity: dict[tuple[str, int], int]) -> np.ndarray:
    image, rows = scene(camera, SHOWN), read_tracks(tracks)
    for track, box in zip(rows.ids, rows.boxes, strict=True):
        if rows.frames[0] and track in rows.ids[rows.frames == SHOWN + 1] and (rows.boxes[rows.frames == SHOWN + 1] == box).all(1).any():
            person = identity[camera, int(track)]
            ink = tuple(int(colour(person)[at : at + 2], 16) for at in (5, 3, 1))
            x1, y1, x2, y2 = map(round, box)
            cv2.rectangle(image, (x1, y1), (x2, y2), ink, 2)
            label = f"person {person}"
            (width, _), _ = cv2.getTextSize(label, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 1)
            cv2.rectangle(image, (x1, y1 - 18), (x1 + width + 6, y1), ink, -1)
            cv2.putText(image, label, (x1 + 3, y1 - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (255, 255, 255), 1, cv2.LINE_AA)
    cv2.putText(image, f"camera: {camera}", (10, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (60, 60, 60), 1, cv2.LINE_AA)
    return image


if __name__ == "__main__":
    main()
