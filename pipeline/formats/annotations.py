"""COCO JSON and CVAT's XML: tracks and detections of other tools, and tracks for people to correct there."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UsageError
from pipeline.formats.grouping import grouped
from pipeline.formats.rows import MAX_VALUE, MotRows

ID_KEYS = ("track_id", "instance_id", "object_id")
FRAME_KEYS = ("frame_id", "frame_index", "frame")
Size = tuple[int, int]
_Row = tuple[float, float, float, float, float, float, float, float, int]  # frame, id, x1, y1, x2, y2, score, class, number in the file


def read_annotations(path: Path, text: str) -> MotRows:
    """The rows of COCO JSON (annotations with images, or a list of results) or of CVAT's XML (video or images).

    Raises UsageError, naming the file and the annotation, for anything else.
    """
    if text.lstrip()[0] == "<":
        return _cvat(path, text)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not valid JSON ({str(error).splitlines()[0]})") from None
    return _coco(path, values)


def _rows(path: Path, found: list[_Row], unit: str, names: Mapping[int, str]) -> MotRows:
    table = np.array([row[:8] for row in found], np.float64).reshape(-1, 8)
    numbers = np.array([row[8] for row in found], np.int64)

    def reject(bad: Any, rule: str) -> None:
        if bad.any():
            raise UsageError(f"{path}, {unit} {numbers[np.flatnonzero(bad)[0]]}: {rule}")

    reject(~np.isfinite(table).all(1), "numbers must be finite")
    reject((np.abs(table[:, :6]) > MAX_VALUE).any(1), f"a number is larger than {MAX_VALUE:.0e}")
    reject((table[:, :2] != np.floor(table[:, :2])).any(1), "a frame and an id must be whole numbers")
    reject(table[:, 0] < 1, "frames count from 1 (does this file count from 0?)")
    reject((table[:, 4:6] < table[:, 2:4]).any(1), "width and height must not be negative")
    return MotRows(
        path, table[:, 0].astype(np.int64), np.maximum(table[:, 1], -1).astype(np.int64), table[:, 2:6], table[:, 6],
        np.maximum(table[:, 7], -1).astype(np.int64), np.ones(len(table)), numbers, unit, names,
    )  # fmt: skip


def _coco(path: Path, values: Any) -> MotRows:
    results = values if isinstance(values, list) else values.get("annotations") if isinstance(values, dict) else None
    if not isinstance(results, list):
        raise UsageError(f"{path}: not COCO JSON: expected an object with images and annotations, or a list of results")
    frames: Callable[[Any], Any] = _same
    names: dict[int, str] = {}
    if isinstance(values, dict):
        try:
            frames = _frames_of(values.get("images") or [])
            names = {int(one["id"]): str(one["name"]) for one in values.get("categories") or []}
        except (KeyError, TypeError, ValueError, AttributeError):
            raise UsageError(f"{path}: not COCO JSON: an image needs an id, a category an id and a name") from None
    found: list[_Row] = []
    for number, one in enumerate(results, 1):
        try:
            more = one.get("attributes") or {}
            track = next((value for key in ID_KEYS for value in (one.get(key), more.get(key)) if value is not None), -1)
            x, y, width, height = map(float, one["bbox"])
            score = one.get("score")
            row = (
                frames(one["image_id"]),
                track,
                x,
                y,
                x + width,
                y + height,
                -1.0 if score is None else score,
                one.get("category_id", -1),
            )
            found.append((*map(float, row), number))  # type: ignore[arg-type]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
            what = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
            raise UsageError(f"{path}, annotation {number}: expected image_id and bbox (left, top, width, height): {what}") from None
    return _rows(path, found, "annotation", names)


def _same(image: Any) -> Any:
    return image


def _frames_of(images: list[dict[str, Any]]) -> Callable[[Any], Any]:
    """The frame, from 1, of an image's id: as the image states it, else by the order of the ids."""
    key = next((key for key in FRAME_KEYS if images and all(key in image for image in images)), None)
    if key is not None:
        first = min(int(image[key]) for image in images)
        number = {image["id"]: int(image[key]) + (first == 0) for image in images}
    else:
        number = {image: at for at, image in enumerate(sorted(image["id"] for image in images), 1)}
    return lambda image: number[image]


def _cvat(path: Path, text: str) -> MotRows:
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise UsageError(f"{path}: not valid XML ({error})") from None
    if root.tag != "annotations":
        raise UsageError(f"{path}: not CVAT's XML: its root is <{root.tag[:40]}>, not <annotations>")
    numbers: dict[str, int] = {}
    found: list[_Row] = []
    count = 0
    try:
        for track in root.iter("track"):
            label = numbers.setdefault(track.get("label", "person"), len(numbers) + 1)
            before: tuple[int, np.ndarray] | None = None
            for box in track.iter("box"):
                count += 1
                frame, corners = int(box.attrib["frame"]) + 1, _corners(box)
                if before is not None:  # a track that does not state a frame moves evenly through it
                    for between in range(before[0] + 1, min(frame, before[0] + 100_000)):
                        share = (between - before[0]) / (frame - before[0])
                        found.append((between, float(track.attrib["id"]), *(before[1] + share * (corners - before[1])), -1, label, count))
                outside = box.get("outside") == "1"
                before = None if outside else (frame, corners)
                if not outside:
                    found.append((frame, float(track.attrib["id"]), *corners, -1, label, count))
        for image in root.iter("image"):
            for box in image.iter("box"):
                count += 1
                label = numbers.setdefault(box.get("label", "person"), len(numbers) + 1)
                found.append((int(image.attrib["id"]) + 1, -1, *_corners(box), -1, label, count))
    except (KeyError, ValueError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"{path}, box {count}: expected frame, xtl, ytl, xbr and ybr: {what}") from None
    return _rows(path, found, "box", {number: label for label, number in numbers.items()})


def _corners(box: ElementTree.Element) -> np.ndarray:
    return np.array([float(box.attrib[key]) for key in ("xtl", "ytl", "xbr", "ybr")])


def coco_json(rows: MotRows, size: Size | None) -> str:
    """COCO JSON with ``track_id``; ``size``: width and height of the pictures in px, if known."""
    width, height = size or (0, 0)
    names = _names(rows)
    values = {
        "images": [
            {"id": frame, "frame_id": frame, "file_name": f"{frame:06d}.jpg", "width": width, "height": height}
            for frame in range(1, rows.last_frame + 1)
        ],
        "categories": [{"id": number, "name": name} for number, name in names.items()],
        "annotations": [
            {
                "id": at, "image_id": frame, "category_id": label, "bbox": [x1, y1, round(x2 - x1, 4), round(y2 - y1, 4)],
                "area": round((x2 - x1) * (y2 - y1), 4), "iscrowd": 0, **({"track_id": track} if track >= 0 else {}),
                **({"score": score} if score >= 0 else {}),
            }
            for at, (frame, track, (x1, y1, x2, y2), score, label) in enumerate(_items(rows), 1)
        ],
    }  # fmt: skip
    return json.dumps(values)


def cvat_xml(rows: MotRows, size: Size | None) -> str:
    """CVAT's XML for video 1.1, frames from 0: every box is a keyframe, and a track is outside where it has no box."""
    names, root = _names(rows), ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    for key, value in (
        ("size", rows.last_frame),
        ("mode", "interpolation"),
        ("start_frame", 0),
        ("stop_frame", max(0, rows.last_frame - 1)),
    ):
        ElementTree.SubElement(task, key).text = str(value)
    labels = ElementTree.SubElement(task, "labels")
    for name in names.values():
        ElementTree.SubElement(ElementTree.SubElement(labels, "label"), "name").text = name
    if size is not None:
        original = ElementTree.SubElement(task, "original_size")
        for key, value in zip(("width", "height"), size, strict=True):
            ElementTree.SubElement(original, key).text = str(value)
    classes = _class_column(rows)
    for track, mine in grouped(rows.ids):
        order = mine[np.argsort(rows.frames[mine], kind="stable")]
        element = ElementTree.SubElement(root, "track", id=str(track), label=names[int(classes[order[0]])], source="auto")
        for at, row in enumerate(order.tolist()):
            frame = int(rows.frames[row])
            _box(element, frame - 1, rows.boxes[row], outside=False)
            following = int(rows.frames[order[at + 1]]) if at + 1 < len(order) else None
            if following != frame + 1 and (following is not None or frame < rows.last_frame):
                _box(element, frame, rows.boxes[row], outside=True)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _box(track: ElementTree.Element, frame: int, box: np.ndarray, outside: bool) -> None:
    values = {"frame": str(frame), "outside": str(int(outside)), "occluded": "0", "keyframe": "1", "z_order": "0"}
    values |= dict(zip(("xtl", "ytl", "xbr", "ybr"), (f"{value:.2f}" for value in box.tolist()), strict=True))
    ElementTree.SubElement(track, "box", values)


def visdrone_text(rows: MotRows) -> str:
    """VisDrone's ten columns: frame, id, box, score, category (1: pedestrian), truncation, occlusion."""
    lines = []
    for frame, track, (x1, y1, x2, y2), score, label in _items(rows):
        lines.append(f"{frame},{track},{x1:.2f},{y1:.2f},{x2 - x1:.2f},{y2 - y1:.2f},{score if score >= 0 else 1:.4g},{label},0,0\n")
    return "".join(lines)


def _class_column(rows: MotRows) -> np.ndarray:
    """(n,) classes; 1 where there are none."""
    return np.where(rows.classes < 0, 1, rows.classes)


def _names(rows: MotRows) -> dict[int, str]:
    """Names of all classes: the file's, ``person``, else the number."""
    persons = rows.person_classes() or frozenset({1})
    classes = np.unique(_class_column(rows)).tolist() or [1]
    return {number: rows.names.get(number, "person" if number in persons else f"class {number}") for number in classes}


def _items(rows: MotRows) -> Iterator[tuple[int, int, list[float], float, int]]:
    columns = (rows.frames.tolist(), rows.ids.tolist(), rows.boxes.round(4).tolist(), rows.scores.tolist(), _class_column(rows).tolist())
    yield from zip(*columns, strict=True)
