"""Searches as the console makes them: people in uploaded pictures, sightings like theirs, people like a person."""

from __future__ import annotations

import base64
import threading
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipeline.errors import UsageError
from pipeline.jobs.search import Gallery, Picture, decoded
from pipeline.store import Where
from pipeline.store.search import Hit
from reid.embedder import crop_boxes

MAX_PIXELS, MOST_PEOPLE = 40_000_000, 24
_models = threading.Lock()  # one picture at a time goes through the models


@dataclass(frozen=True, eq=False)
class Candidate:
    """A person in an uploaded picture: ``embedding`` (d,), and the crop as a small JPEG in base64."""

    embedding: np.ndarray
    picture: str


def people_in(gallery: Gallery, pictures: Sequence[bytes]) -> list[list[Candidate]]:
    """The people of each picture, from left to right; without a detection, the whole picture.

    Raises UsageError for what is no picture, and if the store's embeddings are of another re-ID model.
    """
    out = []
    for number, content in enumerate(pictures, 1):
        image = decoded(content, f"picture {number}")
        if image.shape[0] * image.shape[1] > MAX_PIXELS:
            raise UsageError(f"picture {number}: {image.shape[1]} x {image.shape[0]} px; at most {MAX_PIXELS // 1_000_000} megapixels")
        with _models:
            found = gallery.people_in(image, f"picture {number}")
            boxes = found.boxes[:MOST_PEOPLE]
            rows = [gallery.embed([Picture(found.name, image, box[None], found.whole)])[0] for box in boxes]
        out.append([Candidate(row, _thumbnail(crop)) for row, crop in zip(rows, crop_boxes(image, boxes), strict=True)])
    return out


def similar(gallery: Gallery, identity: int, top: int) -> list[tuple[int, Hit]]:
    """Other people who look like this one, each with their likeliest sighting, best first. Raises UsageError for an unknown identity."""
    store = gallery.store
    found = store.people.get(store.people.now(identity))
    mine = {one.id: one for one in store.sightings.query(Where(identities=(found.id,)), "-start", 200)}
    best: dict[int, Hit] = {}
    for one in sorted(mine.values(), key=lambda one: -one.quality * min(one.embeddings, 8))[:3]:
        if store.vectors.get(one.id) is None:
            continue
        for hit in gallery.searcher.by_sighting(one.id, None, top * 4 + len(mine)).hits:
            who = hit.sighting.identity
            if who is not None and who != found.id and (who not in best or hit.odds > best[who].odds):
                best[who] = hit
    return sorted(best.items(), key=lambda item: -item[1].odds)[:top]


def _thumbnail(crop: np.ndarray, height: int = 160) -> str:
    width = max(1, round(crop.shape[1] * height / crop.shape[0]))
    small = cv2.resize(crop, (min(width, 240), height), interpolation=cv2.INTER_AREA)
    return base64.b64encode(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()).decode()
