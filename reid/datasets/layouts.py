"""Readers of re-ID datasets in their published layouts, and of a user's own folders of people.

Market-1501 (Zheng et al., ICCV 2015), DukeMTMC-reID (Zheng et al., ICCV 2017), CUHK03 in the new protocol (Zhong et al., CVPR
2017), MSMT17 (Wei et al., CVPR 2018); or ``person/camera_*.jpg``, one folder per person.
"""

from __future__ import annotations

import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from reid.datasets.split import Split, one_each

Part = Literal["train", "query", "gallery"]
Row = tuple[Path, int, int, int]
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
FOLDERS: dict[Part, str] = {"train": "bounding_box_train", "query": "query", "gallery": "bounding_box_test"}
LISTS: dict[Part, tuple[str, ...]] = {
    "train": ("list_train.txt", "list_val.txt"),
    "query": ("list_query.txt",),
    "gallery": ("list_gallery.txt",),
}


@dataclass(frozen=True)
class Layout:
    """A published dataset: ``name``, ``terms`` of use for the metadata of a bundle, and the published number of images per part.

    ``pattern``: regular expression of file names, with the groups ``id``, ``camera`` and optionally ``sequence``.
    """

    name: str
    terms: str
    pattern: re.Pattern[str]
    counts: dict[Part, tuple[int, ...]] = field(default_factory=dict)


MARKET = Layout(
    "Market-1501", "research only",
    re.compile(r"^(?P<id>-1|\d{4})_c(?P<camera>\d)s(?P<sequence>\d)_(?P<frame>\d+)_\d+(\.jpg)+$"),  # some are named .jpg.jpg
    {"train": (12936,), "query": (3368,), "gallery": (19732,)},
)  # fmt: skip
DUKE = Layout(
    "DukeMTMC-reID", "research only, withdrawn by its authors", re.compile(r"^(?P<id>\d{4})_c(?P<camera>\d)_f\d+\.jpg$"),
    {"train": (16522,), "query": (2228,), "gallery": (17661,)},
)  # fmt: skip
CUHK03 = Layout(
    "CUHK03", "research only", re.compile(r"^(?P<id>\d{4})_c(?P<camera>\d)_\d+\.png$"),
    {"train": (7368, 7365), "query": (1400,), "gallery": (5328, 5332)},  # labelled, detected boxes
)  # fmt: skip
MSMT17 = Layout(
    "MSMT17", "research only", re.compile(r"^(?P<id>\d{4})_\d+_(?P<camera>\d{2})_.*\.jpg$"),
    {"train": (32621,), "query": (11659,), "gallery": (82161,)},
)  # fmt: skip
OWN = Layout("own images", "as its owner states", re.compile(r"^(?P<camera>[^_]+)_(?P<rest>.+)\.\w+$"))
IN_FOLDERS = (MARKET, DUKE, CUHK03)


def unpacked(root: Path) -> Path:
    """``root`` itself; for an archive (.zip, .tar, .tar.gz) the folder beside it into which it is unpacked, once.

    Raises ValueError for a file that is not an archive.
    """
    if not root.is_file():
        return root
    folder = root.parent / root.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".tgz").removesuffix(".zip")
    if folder == root:
        raise ValueError(f"{root}: not a folder, .zip or .tar archive")
    if not folder.exists() or not any(folder.iterdir()):
        draft = folder.with_name(f"{folder.name}.unpacking")
        try:
            if zipfile.is_zipfile(root):
                with zipfile.ZipFile(root) as archive:
                    archive.extractall(draft)
            else:
                with tarfile.open(root) as archive:
                    archive.extractall(draft, filter="data")
        except (tarfile.TarError, zipfile.BadZipFile, OSError, EOFError, RuntimeError, zlib.error) as error:  # RuntimeError: encrypted
            shutil.rmtree(draft, ignore_errors=True)
            raise ValueError(f"{root}: cannot be unpacked ({error})") from None
        draft.rename(folder)
    inside = [path for path in folder.iterdir() if not path.name.startswith((".", "__"))]
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


def recognise(root: Path) -> Layout:
    """The layout of a dataset folder. Raises FileNotFoundError if it is missing, ValueError if the layout is not recognised."""
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    if (root / "list_train.txt").is_file():
        return MSMT17
    for folder in FOLDERS.values():
        for path in (root / folder).glob("*"):
            for layout in IN_FOLDERS:
                if layout.pattern.match(path.name):
                    return layout
    if any(path.is_dir() and not path.name.startswith(".") and any(_own(path)) for path in root.iterdir()):
        return OWN
    inner = [name for name in ("labeled", "detected") if (root / name).is_dir()]
    hint = f"; choose one of its folders {', '.join(inner)}" if inner else ""
    raise ValueError(
        f"{root}: unrecognised dataset layout; known are Market-1501, DukeMTMC-reID, CUHK03 (new protocol: its folder labeled or detected), "
        f"MSMT17, and your own images as PERSON/CAMERA_*.jpg{hint}"
    )


def read_split(root: Path, part: Part) -> Split:
    """A part of a dataset (folder or archive), without Market-1501's junk images of id -1.

    Own images have no parts: ``train`` and ``gallery`` are all of them, ``query`` one image per person and camera.
    Raises FileNotFoundError and ValueError as ``recognise`` does, and if the number of images is not the published one.
    """
    root = unpacked(root)
    layout = recognise(root)
    if layout is OWN:
        split = _split(_own_people(root))
        return split.take(one_each(split)) if part == "query" else split
    where = root / (", ".join(LISTS[part]) if layout is MSMT17 else FOLDERS[part])
    rows = list(_listed(root, part) if layout is MSMT17 else _in_folder(root / FOLDERS[part], layout))
    if len(rows) not in layout.counts[part]:
        raise ValueError(f"{where}: {len(rows)} images, but {layout.name} has {' or '.join(map(str, layout.counts[part]))}")
    return _split([row for row in rows if row[1] >= 0])


def _split(rows: list[Row]) -> Split:
    ids, cameras, sequences = (np.array([row[at] for row in rows], np.int64) for at in (1, 2, 3))
    return Split(tuple(row[0] for row in rows), ids, cameras, sequences)


def _row(path: Path, match: re.Match[str]) -> Row:
    groups = match.groupdict()
    return path, int(groups["id"]), int(groups["camera"]), int(groups.get("sequence") or 0)


def _in_folder(folder: Path, layout: Layout) -> Iterator[Row]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder; {layout.name} has {', '.join(FOLDERS.values())}")
    for path in sorted(folder.iterdir()):
        if match := layout.pattern.match(path.name):
            yield _row(path, match)


def _listed(root: Path, part: Part) -> Iterator[Row]:
    """Rows of MSMT17's lists: per line an image below ``train`` or ``test`` (``mask_*_v2`` in its second version) and a label."""
    side = "train" if part == "train" else "test"
    folder = next((root / name for name in (side, f"mask_{side}_v2") if (root / name).is_dir()), None)
    if folder is None:
        raise FileNotFoundError(f"{root / side}: no such folder; MSMT17 has train and test")
    for name in LISTS[part]:
        if not (root / name).is_file():
            raise FileNotFoundError(
                f"{root / name}: no such file; MSMT17 has {', '.join(one for names in LISTS.values() for one in names)}"
            )
        for number, line in enumerate((root / name).read_text().splitlines(), 1):
            path, _, label = line.strip().rpartition(" ")
            match = MSMT17.pattern.match(Path(path).name)
            if match is None or not label.isdigit():
                raise ValueError(f"{root / name}, line {number}: {line.strip()[:60]!r} is not an image path and a label")
            yield folder / path, int(label) + 1, int(match["camera"]), 0


def _own(folder: Path) -> Iterator[tuple[Path, str]]:
    """Images of a person's folder with the camera in their name; names without one share one camera."""
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in PICTURES:
            match = OWN.pattern.match(path.name)
            yield path, match["camera"] if match else ""


def _own_people(root: Path) -> list[Row]:
    people = [folder for folder in sorted(root.iterdir()) if folder.is_dir() and not folder.name.startswith(".")]
    found = [(path, who, camera) for who, folder in enumerate(people, 1) for path, camera in _own(folder)]
    names = sorted({camera for _, _, camera in found})
    return [(path, who, names.index(camera) + 1, 0) for path, who, camera in found]
