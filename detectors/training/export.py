"""Export a trained ultralytics checkpoint, or an exported model again, to ONNX for ``OnnxDetector``. Needs the extra ``[train]``."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import torch
from ultralytics import YOLO

from detectors.onnx import OnnxDetector
from detectors.runtime.atomic_file import put
from detectors.runtime.precision import Precision, metadata
from detectors.runtime.session import open_model
from detectors.training.evaluate import CONFIDENT_SCORE, Quality, Sample, evaluate, yolo_folder
from detectors.training.quantise import half, int8

MEASURED_SIZE = 416  # the longest side of person-boxes' pictures
MOST_LOST = 0.02  # AP50


def write_onnx(model: Any, path: Path, size: int, facts: dict[str, str]) -> None:
    """The fused ``model`` as fp32 ONNX with dynamic batch, height and width, and ``facts`` as its metadata."""
    for module in model.modules():
        if hasattr(module, "export"):
            module.export, module.dynamic, module.format = True, True, "onnx"
    example = torch.zeros(1, 3, size * 3 // 4 // 32 * 32, size)
    axes = {"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 2: "anchors"}}
    names = {"input_names": ["images"], "output_names": ["output0"], "dynamic_axes": axes}
    torch.onnx.export(model, (example,), str(path), dynamo=False, opset_version=17, **names)
    graph = onnx.load(path)
    onnx.helper.set_model_props(graph, facts)
    onnx.save(graph, path)


def calibrate(model: Any, precise_score: float) -> None:
    """Shift the class logits so that ``precise_score`` becomes ``CONFIDENT_SCORE``; the order of scores stays."""
    shift = math.log(CONFIDENT_SCORE / (1 - CONFIDENT_SCORE)) - math.log(precise_score / (1 - precise_score))
    with torch.no_grad():
        for branch in model.model[-1].cv3:
            branch[-1].bias += shift


def verify(path: Path, model: Any, size: int, most: float = 0.01) -> float:
    """The greatest difference between onnxruntime and torch, in pixels. Raises ValueError over ``most``."""
    example = torch.rand(2, 3, size // 2 // 32 * 32, size)
    with torch.no_grad():
        expected = model(example).numpy()
    worst = float(np.abs(open_model(path, "cpu").run(example.numpy())[0] - expected).max())
    if worst > most:
        raise ValueError(f"{path}: onnxruntime and torch differ by {worst:.4f} pixels, at most {most} is allowed")
    return worst


def calibrated_onnx(checkpoint: Path, out: Path, size: int, samples: Callable[[], Iterable[Sample]], data: str) -> None:
    """Write ``out`` in fp32 from a checkpoint of ours (a pickle that ultralytics opens), its scores calibrated on ``samples``.

    Raises ValueError where onnxruntime and torch differ.
    """
    yolo = YOLO(checkpoint)
    model = yolo.model.float().eval().fuse().to(memory_format=torch.contiguous_format)
    facts = {"names": str(dict(yolo.names)), "stride": str(int(max(yolo.model.stride))), "imgsz": str([size, size]), "task": "detect"}
    facts |= {"license": "AGPL-3.0-or-later", "data": data, "author": "passerby"}
    write_onnx(model, out, size, facts)
    found = evaluate(OnnxDetector(out, confidence=0.01, size=MEASURED_SIZE), samples())
    calibrate(model, found.precise_score)
    write_onnx(model, out, size, facts | {"calibration": f"precision 0.9 at {CONFIDENT_SCORE}, from {found.precise_score:.3f}"})
    verify(out, model, size)


def some_pictures(folder: Path, kinds: tuple[str, ...]) -> Iterator[np.ndarray]:
    """Pictures of ``folder/images``, in an order that mixes the kinds and is always the same."""
    paths = sorted(path for path in (folder / "images").iterdir() if path.name.startswith(kinds))
    for at in np.random.default_rng(0).permutation(len(paths)):
        picture = cv2.imread(str(paths[at]))
        if picture is not None:
            yield picture


def export(
    source: Path,
    out: Path,
    size: int,
    held_out: Path,
    kinds: tuple[str, ...],
    data: str,
    precision: Precision = "fp32",
    ranges: Path | None = None,
) -> tuple[Quality, Quality]:
    """Write ``out`` from a checkpoint, or in another ``precision`` from an fp32 model (.onnx) written before.

    Scores are calibrated and the loss of precision measured on the pictures of ``held_out`` (YOLO format) whose names begin with
    one of ``kinds``; INT8's ranges are taken from some of ``ranges``, pictures trained on (None: of ``held_out``). Returns the quality there in fp32 and as written. Raises ValueError, and writes
    nothing, where onnxruntime and torch differ, or where ``MOST_LOST`` AP50 is lost against fp32.
    """

    def samples() -> Iterable[Sample]:
        return yolo_folder(held_out, kinds)

    if source.suffix == ".onnx" and precision == "fp32":
        raise ValueError(f"{source}: is an exported model already; --precision fp16 or int8 makes another of it")
    with tempfile.TemporaryDirectory() as scratch:
        whole, draft = Path(scratch) / "fp32.onnx", Path(scratch) / out.name
        if source.suffix == ".onnx":
            model = onnx.load(source)
            onnx.helper.set_model_props(model, metadata(model) | {"imgsz": str([size, size])})
            onnx.save(model, whole)
        else:
            calibrated_onnx(source, whole, size, samples, data)
        before = after = evaluate(OnnxDetector(whole, confidence=0.01, size=MEASURED_SIZE), samples())
        if precision == "fp16":
            half(whole, draft)
        elif precision == "int8":
            int8(whole, draft, some_pictures(ranges or held_out, kinds), size)
        else:
            draft = whole
        if precision != "fp32":
            after = evaluate(OnnxDetector(draft, confidence=0.01, size=MEASURED_SIZE), samples())
            if before.ap50 - after.ap50 > MOST_LOST:
                raise ValueError(
                    f"{source}: in {precision} AP50 falls from {before.ap50:.3f} to {after.ap50:.3f}; at most {MOST_LOST} is allowed"
                )
        put(draft, out)
    return before, after
