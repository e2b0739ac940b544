"""Search of a store by pictures or by a track: from files to embeddings, to people in the store; and the watch list."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

import detectors
from detectors import Detector
from pipeline.config import Config
from pipeline.errors import UsageError
from pipeline.store import Store, Where
from pipeline.store.search import Found, Searcher
from reid import Embedder


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture, (h, w, 3) uint8 BGR, and the (n, 4) x1, y1, x2, y2 px ``boxes`` of the people in it, from left to right; none found: ``whole``, a box around
    all of it."""

    name: str
    image: np.ndarray
    boxes: np.ndarray
    whole: bool

    def box(self, person: int | None) -> np.ndarray:
        """(1, 4) the box of the ``person``, from 1. Raises UsageError where that is unclear."""
        count = len(self.boxes)
        if person is None and count > 1:
            places = "; ".join(
                f"{at}: at {box[0]:.0f}, {box[1]:.0f}, {box[2] - box[0]:.0f} x {box[3] - box[1]:.0f} px"
                for at, box in enumerate(self.boxes, 1)
            )
            raise UsageError(f"{self.name}: {count} people, choose one with --person N ({places})")
        if person is not None and not 1 <= person <= count:
            raise UsageError(f"{self.name}: no person {person}; there {'is 1' if count == 1 else f'are {count}'}, from left to right")
        return self.boxes[(person or 1) - 1 : person or 1]


def decoded(content: bytes, name: str) -> np.ndarray:
    """(h, w, 3) uint8 BGR of a picture file, turned as its EXIF says. Raises UsageError if it is none."""
    image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR) if content else None
    if image is None:
        raise UsageError(f"{name}: not a picture that can be read (JPEG, PNG, WebP, TIFF or BMP)")
    return np.asarray(image)


def find_people(image: np.ndarray, name: str, detector: Detector) -> Picture:
    """The people of a picture."""
    boxes = np.asarray(detector.detect([image])[0].boxes).reshape(-1, 4)
    if not len(boxes):
        height, width = image.shape[:2]
        return Picture(name, image, np.array([[0, 0, width, height]], np.float32), True)
    return Picture(name, image, boxes[np.argsort(boxes[:, 0], kind="stable")], False)


class Gallery:
    """A store with the models that find people in pictures as its sightings were found. Models are opened when first needed.

    Raises ModelError as opening them does, and UsageError if the re-ID model is not the store's.
    """

    def __init__(self, store: Store, config: Config, detector: Detector | None = None, embedder: Embedder | None = None) -> None:
        self.store, self.config, self.searcher = store, config, Searcher(store)
        self._detector, self._embedder = detector, embedder

    def people_in(self, image: np.ndarray, name: str) -> Picture:
        if self._detector is None:
            self._detector = detectors.load_detector(settings=self.config.detector)
        return find_people(image, name, self._detector)

    def embed(self, pictures: Sequence[Picture], person: int | None = None) -> np.ndarray:
        """(n, d) float32: an embedding of each picture's person; ``person``, from 1, chooses in those that show several. Raises UsageError as ``Picture.box``."""
        boxes = [picture.box(person if len(picture.boxes) > 1 or len(pictures) == 1 else None) for picture in pictures]
        if self._embedder is None:
            self._embedder = Embedder(settings=self.config.reid)
        known = self.store.facts.get("reid")
        if known is not None and known != self._embedder.session.sha256:
            raise UsageError(
                f"{self.store.path}: its embeddings are of another re-ID model ({known[:12]}) than {self.config.reid.model}; give the one of the runs with --reid"
            )
        return np.concatenate([self._embedder.embed_boxes(picture.image, box) for picture, box in zip(pictures, boxes, strict=True)])


def search_pictures(
    gallery: Gallery, files: Sequence[Path], person: int | None, where: Where, top: int, actor: str, say: Callable[[str], None]
) -> Found:
    """Search by pictures of one person. ``say`` takes what the user should know; the search is logged in the store's audit log."""
    embeddings = gallery.embed(read_pictures(gallery, files, say), person)
    found = gallery.searcher.by_vectors(embeddings, where, top)
    gallery.store.audit.log(actor, "searched", None, pictures=len(files), compared=found.compared, matches=len(found.matches))
    return found


def read_pictures(gallery: Gallery, files: Sequence[Path], say: Callable[[str], None]) -> list[Picture]:
    """Raises UsageError for a file that is missing or no picture."""
    pictures = []
    for path in files:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise UsageError(f"{path}: cannot be read ({error.strerror or error})") from None
        pictures.append(gallery.people_in(decoded(content, str(path)), str(path)))
        if pictures[-1].whole:
            say(f"{path}: no person found in it; the whole picture is taken for one")
    return pictures


def search_track(store: Store, track: str, where: Where, top: int, actor: str, say: Callable[[str], None]) -> Found:
    """Search by a track, ``CAMERA:TRACK``. Raises UsageError for an unknown one."""
    camera, sign, number = track.rpartition(":")
    if not sign or not number.isdigit():
        raise UsageError(f"--track {track}: expected CAMERA:TRACK, as in identities.csv")
    found = store.sightings.find(camera, int(number))
    if not found:
        store.sightings.camera_numbers([camera])
        raise UsageError(f"--track {track}: camera {camera} has no track {number} in {store.path}")
    if len(found) > 1:
        say(f"{track}: in {len(found)} runs; the latest is searched for")
    result = Searcher(store).by_sighting(found[0].id, where, top)
    store.audit.log(actor, "searched", f"sighting:{found[0].id}", compared=result.compared, matches=len(result.matches))
    return result
