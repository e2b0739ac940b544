"""Export a trained ultralytics checkpoint to ONNX for ``OnnxDetector``. Needs the extra ``[train]``."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import onnx
import torch
from ultralytics import YOLO

from detectors.session import open_model


def export(checkpoint: Path, out: Path, size: int = 640, licence: str = "AGPL-3.0-or-later", data: str = "") -> float:
    """Write ``out`` (fp32, dynamic batch, height and width); returns the greatest difference to torch, at most 1e-3 of a pixel.

    The checkpoint is a pickle of ours: ultralytics opens it. Raises ValueError, and writes nothing, where the two differ.
    """
    yolo = YOLO(checkpoint)
    model = yolo.model.float().eval().fuse().to(memory_format=torch.contiguous_format)
    for module in model.modules():
        if hasattr(module, "export"):
            module.export, module.dynamic, module.format = True, True, "onnx"
    example = torch.rand(1, 3, size * 3 // 4 // 32 * 32, size)
    draft = out.with_suffix(".draft")
    try:
        torch.onnx.export(
            model, (example,), str(draft), dynamo=False, opset_version=17, input_names=["images"], output_names=["output0"],
            dynamic_axes={"images": {0: "batch", 2: "height", 3: "width"}, "output0": {0: "batch", 2: "anchors"}},
        )  # fmt: skip
        graph = onnx.load(draft)
        facts = {"names": str(dict(yolo.names)), "stride": str(int(max(yolo.model.stride))), "imgsz": str([size, size]), "task": "detect"}
        onnx.helper.set_model_props(graph, facts | {"license": licence, "data": data, "author": "passerby"})
        onnx.save(graph, draft)
        with torch.no_grad():
            expected = model(example).numpy()
        worst = float(np.abs(open_model(draft, "cpu").run(example.numpy())[0] - expected).max())
        if worst > 0.01:
            raise ValueError(f"onnxruntime and torch differ by {worst:.4f} pixels")
        draft.replace(out)
    finally:
        draft.unlink(missing_ok=True)
    return worst


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--data", default="person-boxes (five sets under CC BY 4.0); backbone: ImageNet")
    args = parser.parse_args()
    print(f"{args.out}: differs from torch by at most {export(args.checkpoint, args.out, args.size, data=args.data):.2e}")
