"""Person crops for training without labels: from re-ID datasets, YOLO datasets or folders of images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from reid.datasets.layouts import OWN, PICTURES, read_split, recognise, unpacked
from reid.datasets.split import Split, fingerprint, held_out

MIN_HEIGHT = 80  # px of a box
MIN_ASPECT = 1.1  # height / width of a box


@dataclass(frozen=True)
class Crops:
    """``pictures`` (n, h, w, 3) uint8 RGB, memory-mapped; ``kinds`` (n,), the first words of the file names.

    ``sources``: (name, terms) of each folder. ``held_out``: fingerprints of the held-out people of each re-ID dataset; they are not among the
    crops. ``fingerprint`` of all file names and boxes.
    """

    pictures: np.ndarray
    kinds: np.ndarray
    sources: tuple[tuple[str, str], ...]
    held_out: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class Source:
    """The images of a folder with their kinds and boxes, and the held-out people of a re-ID dataset."""

    name: str
    terms: str
    items: list[tuple[Path, str, tuple[float, ...] | None]]  # image, kind, box: centre x, y, width, height as shares of the image
    held: Split | None
    root: Path


def kind_of(path: Path) -> str:
    """First word of a file name, such as cctv of cctv-660-00001.webp; ``other`` if it has none."""
    word = path.stem.split("_")[0].split("-")[0]
    return word if word.isalpha() else "other"


def read_source(folder: Path, held_out_ids: int, held_out_seed: int) -> Source:
    """Read a folder: a re-ID dataset without its held-out people, a YOLO dataset (images/, labels/), or images of one person each.

    Raises FileNotFoundError if it is missing, ValueError if it has no images or too few people.
    """
    root = unpacked(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    if (root / "images").is_dir() and (root / "labels").is_dir():
        return Source(root.name, OWN.terms, list(boxes_in(root)), None, root)
    try:
        layout = recognise(root)
    except ValueError:
        found = sorted(path for path in root.rglob("*") if path.suffix.lower() in PICTURES)
        if not found:
            raise ValueError(f"{folder}: neither a re-ID dataset nor a YOLO dataset (images/, labels/) nor a folder of images") from None
        return Source(root.name, OWN.terms, [(path, kind_of(path), None) for path in found], None, root)
    every = read_split(root, "train")
    people = len(np.unique(every.ids))
    if people <= held_out_ids:
        raise ValueError(f"{folder}: has {people} people, but held_out_ids is {held_out_ids}; lower it")
    kept_back = held_out(every, held_out_ids, held_out_seed)
    rest = every.take(~kept_back)
    name = layout.name.lower()
    return Source(layout.name, layout.terms, [(path, name, None) for path in rest.paths], every.take(kept_back), root)


def boxes_in(root: Path) -> Iterator[tuple[Path, str, tuple[float, ...]]]:
    """Image, kind and box of each label of class 0. Raises ValueError for a malformed line."""
    for picture in sorted((root / "images").iterdir()):
        labels = root / "labels" / f"{picture.stem}.txt"
        if picture.suffix.lower() not in PICTURES or not labels.is_file():
            continue
        for number, line in enumerate(labels.read_text().splitlines(), 1):
            try:
                kind, x, y, width, height = (float(word) for word in line.split()[:5])
            except ValueError:
                raise ValueError(f"{labels}, line {number}: {line.strip()[:60]!r} is not a class and a box") from None
            if kind == 0:
                yield picture, kind_of(picture), (x, y, width, height)


def cut(picture: np.ndarray, box: tuple[float, ...] | None) -> np.ndarray | None:
    """Crop a box from an image, the whole image without one; None if the box is too small or too wide."""
    if box is None:
        return picture
    tall, wide = picture.shape[:2]
    x, y, width, height = box[0] * wide, box[1] * tall, box[2] * wide, box[3] * tall
    if height < MIN_HEIGHT or height < MIN_ASPECT * width:
        return None
    left, top = max(0, round(x - width / 2)), max(0, round(y - height / 2))
    part = picture[top : round(y + height / 2), left : round(x + width / 2)]
    return part if part.size else None


def read_crops(folders: Sequence[Path], height: int, width: int, held_out_ids: int, held_out_seed: int, out: Path) -> Crops:
    """The crops of ``folders`` at ``height`` x ``width``; stored in ``out`` (.npy), and read from there if it holds the same crops.

    Raises FileNotFoundError and ValueError as ``read_source`` does.
    """
    sources = [read_source(folder, held_out_ids, held_out_seed) for folder in folders]
    told = hashlib.sha256(f"{height} {width}\n".encode())
    for source in sources:
        told.update("".join(f"{path.relative_to(source.root)} {box}\n" for path, _, box in source.items).encode())
    mark, kinds_file = out.with_suffix(".txt"), out.with_suffix(".kinds.txt")
    if not (out.is_file() and kinds_file.is_file() and mark.is_file() and mark.read_text() == told.hexdigest()):
        kinds = write_crops(sources, height, width, out)
        kinds_file.write_text("\n".join(kinds))
        mark.write_text(told.hexdigest())
    return Crops(
        pictures=np.load(out, mmap_mode="r"),
        kinds=np.array(kinds_file.read_text().split("\n")),
        sources=tuple((source.name, source.terms) for source in sources),
        held_out=tuple(fingerprint(source.held, source.root) for source in sources if source.held is not None),
        fingerprint=told.hexdigest(),
    )


def write_crops(sources: Sequence[Source], height: int, width: int, out: Path) -> list[str]:
    """Write the crops and return their kinds. Raises ValueError if there are none."""
    most = sum(len(source.items) for source in sources)
    rows = np.lib.format.open_memmap(out.with_suffix(".draft"), "w+", np.uint8, (max(most, 1), height, width, 3))
    kinds: list[str] = []
    for source in sources:
        last, picture = None, None
        for path, kind, box in source.items:
            if path != last:
                last, picture = path, cv2.imread(str(path))
            part = None if picture is None else cut(picture, box)
            if part is None:
                continue
            smaller = part.shape[0] >= height
            resized = cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)
            rows[len(kinds)] = cv2.cvtColor(resized, cv2.COLOR_BGR2RGB)
            kinds.append(kind)
    if not kinds:
        raise ValueError(f"no readable image and no box of at least {MIN_HEIGHT} px in {', '.join(s.name for s in sources)}")
    np.save(out, rows[: len(kinds)])
    del rows
    out.with_suffix(".draft").unlink()
    return kinds
