"""Export a trained ultralytics checkpoint to ONNX, or convert an exported model to another precision. Needs the extra ``[train]``."""

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

from detectors.load import Detector, DetectorSettings, load_detector
from detectors.runtime.atomic_file import put
from detectors.runtime.precision import Precision, metadata
from detectors.runtime.session import open_model
from detectors.training.evaluate import CONFIDENT_SCORE, Quality, Sample, evaluate, yolo_folder
from detectors.training.quantise import half, int8

MAX_AP50_LOSS = 0.02


def write_onnx(model: Any, path: Path, size: int, facts: dict[str, str]) -> None:
    """Write a fused ``model`` as fp32 ONNX with dynamic batch, height and width, and ``facts`` as its metadata."""
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
    """Shift the class logits so that ``precise_score`` becomes ``CONFIDENT_SCORE``. The order of scores does not change."""
    shift = math.log(CONFIDENT_SCORE / (1 - CONFIDENT_SCORE)) - math.log(precise_score / (1 - precise_score))
    with torch.no_grad():
        for branch in model.model[-1].cv3:
            branch[-1].bias += shift


def verify(path: Path, model: Any, size: int, tolerance: float = 0.01) -> float:
    """The greatest difference between onnxruntime and torch, in pixels. Raises ValueError if it exceeds ``tolerance``."""
    example = torch.rand(2, 3, size // 2 // 32 * 32, size)
    with torch.no_grad():
        expected = model(example).numpy()
    worst = float(np.abs(open_model(path, "cpu").run(example.numpy())[0] - expected).max())
    if worst > tolerance:
        raise ValueError(f"{path}: onnxruntime and torch differ by {worst:.4f} pixels; at most {tolerance} is allowed")
    return worst


def opened(path: Path, size: int) -> Detector:
    """A model as it is evaluated: all scores from 0.01, at the size that it will be used at."""
    return load_detector(str(path), DetectorSettings(confidence=0.01, size=size))


def calibrated_onnx(checkpoint: Path, out: Path, size: int, samples: Callable[[], Iterable[Sample]], data: str) -> None:
    """Export a checkpoint (a pickle that ultralytics opens) to fp32, with scores calibrated on ``samples``.

    Raises ValueError if onnxruntime and torch differ.
    """
    yolo = YOLO(checkpoint)
    model = yolo.model.float().eval().fuse().to(memory_format=torch.contiguous_format)
    facts = {"names": str(dict(yolo.names)), "stride": str(int(max(yolo.model.stride))), "imgsz": str([size, size]), "task": "detect"}
    facts |= {"license": "AGPL-3.0-or-later", "data": data, "author": "passerby"}
    write_onnx(model, out, size, facts)
    found = evaluate(opened(out, size), samples())
    calibrate(model, found.precise_score)
    write_onnx(model, out, size, facts | {"calibration": f"precision 0.9 at {CONFIDENT_SCORE}, from {found.precise_score:.3f}"})
    verify(out, model, size)


def shuffled_images(folder: Path, kinds: tuple[str, ...]) -> Iterator[np.ndarray]:
    """Images of ``folder/images`` whose names begin with one of ``kinds``, in a fixed random order."""
    paths = sorted(path for path in (folder / "images").iterdir() if path.name.startswith(kinds))
    for at in np.random.default_rng(0).permutation(len(paths)):
        image = cv2.imread(str(paths[at]))
        if image is not None:
            yield image


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
    """Export a checkpoint to ``out``, or convert an fp32 model (.onnx) to another ``precision``.

    Scores are calibrated, and the loss of precision is measured, on the images of ``held_out`` (YOLO format) whose names begin with
    one of ``kinds``. INT8 ranges come from ``ranges``, training images (None: from ``held_out``). Returns the quality in fp32 and as
    written. Raises ValueError, and writes nothing, if onnxruntime and torch differ or if more than ``MAX_AP50_LOSS`` is lost against
    fp32; OutputError if ``out`` cannot be written.
    """

    def samples() -> Iterable[Sample]:
        return yolo_folder(held_out, kinds)

    if source.suffix == ".onnx" and precision == "fp32":
        raise ValueError(f"{source}: already exported in fp32; choose --precision fp16 or int8")
    with tempfile.TemporaryDirectory() as scratch:
        whole, draft = Path(scratch) / "fp32.onnx", Path(scratch) / out.name
        if source.suffix == ".onnx":
            model = onnx.load(source)
            onnx.helper.set_model_props(model, metadata(model) | {"imgsz": str([size, size])})
            onnx.save(model, whole)
        else:
            calibrated_onnx(source, whole, size, samples, data)
        before = after = evaluate(opened(whole, size), samples())
        if precision == "fp16":
            half(whole, draft)
        elif precision == "int8":
            int8(whole, draft, shuffled_images(ranges or held_out, kinds), size)
        else:
            draft = whole
        if precision != "fp32":
            after = evaluate(opened(draft, size), samples())
            if before.ap50 - after.ap50 > MAX_AP50_LOSS:
                raise ValueError(
                    f"{source}: AP50 falls from {before.ap50:.3f} to {after.ap50:.3f} in {precision}; a loss of {MAX_AP50_LOSS} is allowed"
                )
        put(draft, out)
    return before, after
