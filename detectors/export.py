"""Export a trained ultralytics checkpoint to ONNX for ``OnnxDetector``, its scores calibrated. Needs the extra ``[train]``."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from ultralytics import YOLO

from detectors.evaluate import Quality, evaluate, yolo_folder
from detectors.onnx import OnnxDetector
from detectors.session import open_model

CONFIDENT_SCORE = 0.6  # the tracker's `high`: from here on, after calibration, nine boxes in ten are right


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


def export(checkpoint: Path, out: Path, size: int, held_out: Path, kinds: tuple[str, ...], data: str) -> tuple[float, Quality]:
    """Write ``out`` from a checkpoint of ours (a pickle that ultralytics opens); nothing is written where the check fails.

    Scores are calibrated on the pictures of ``held_out`` (YOLO format) whose names begin with one of ``kinds``.
    Returns the greatest difference to torch and the quality on those pictures before calibration.
    """
    yolo = YOLO(checkpoint)
    model = yolo.model.float().eval().fuse().to(memory_format=torch.contiguous_format)
    facts = {"names": str(dict(yolo.names)), "stride": str(int(max(yolo.model.stride))), "imgsz": str([size, size]), "task": "detect"}
    facts |= {"license": "AGPL-3.0-or-later", "data": data, "author": "passerby"}
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / out.name
        write_onnx(model, draft, size, facts)
        found = evaluate(OnnxDetector(draft, confidence=0.01, size=416), yolo_folder(held_out, kinds))
        calibrate(model, found.precise_score)
        write_onnx(model, draft, size, facts | {"calibration": f"precision 0.9 at {CONFIDENT_SCORE}, from {found.precise_score:.3f}"})
        worst = verify(draft, model, size)
        out.write_bytes(draft.read_bytes())
    return worst, found
