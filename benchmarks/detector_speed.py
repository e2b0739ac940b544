"""Speed of detectors: ms per image by model, input size, threads and batch size, compared with YOLO11n.

    python benchmarks/detector_speed.py                       # the shipped detectors, and YOLO11n exported by ultralytics ([train])
    python benchmarks/detector_speed.py --detector mine.onnx --size 640
    python benchmarks/detector_speed.py --device cpu openvino # ONNX Runtime and OpenVINO side by side ([openvino])

YOLO11n has random weights here: it finds nothing, but costs the same. The detectors take turns, so that a slow moment of the machine
affects all of them. The median over the rounds is printed, and its ratio to YOLO11n's.
"""

from __future__ import annotations

import argparse
import tempfile
from functools import partial
from itertools import product
from pathlib import Path

import cv2
import numpy as np
from rounds import in_turns

from detectors.load import WEIGHTS, DetectorSettings, load_detector
from detectors.runtime.errors import ModelError


def yolo11n(folder: Path, size: int) -> Path:
    """YOLO11n as exported by ultralytics for onnxruntime, dynamic in batch and size."""
    from ultralytics import YOLO

    model = YOLO("yolo11n.yaml")
    model.model.names = model.model.names | {0: "person"}
    model.save(folder / "yolo11n.pt")
    return Path(YOLO(folder / "yolo11n.pt").export(format="onnx", imgsz=size, dynamic=True, simplify=False, device="cpu", verbose=False))


def picture(width: int, height: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return cv2.resize(rng.integers(0, 256, (height // 16, width // 16, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--detector", nargs="*", default=[], help="other models (.onnx)")
    parser.add_argument("--size", type=int, nargs="*", default=[], help="input sizes (longest side) besides each model's own")
    parser.add_argument("--device", nargs="*", default=["cpu"], choices=["cpu", "openvino"])
    parser.add_argument("--picture", type=int, nargs=2, default=[768, 576], metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--threads", type=int, nargs="*", default=[2, 1])
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 4])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--without-yolo11n", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        models = {path.stem: path for path in sorted(WEIGHTS.glob("*.onnx"))} | {Path(name).stem: Path(name) for name in options.detector}
        if not options.without_yolo11n:
            models = {"yolo11n": yolo11n(Path(scratch), 640)} | models
        pictures = [picture(*options.picture, seed) for seed in range(max(options.batch))]
        ways = {}
        for (name, path), device, threads in product(models.items(), options.device, options.threads):
            try:
                own = load_detector(str(path), DetectorSettings(device=device, threads=threads))
            except ModelError as error:
                print(error)
                continue
            label = name if len(options.device) == 1 else f"{name}, {own.session.providers[0]}"
            for size in dict.fromkeys([own.size, *options.size]):
                detector = load_detector(str(path), DetectorSettings(size=size, device=device, threads=threads))
                for batch in options.batch:
                    ways[label, size, threads, batch] = partial(detector.detect, pictures[:batch])
        took = {way: [ms / way[-1] for ms in times] for way, times in in_turns(ways, options.rounds).items()}
    width, height = options.picture
    print(f"{width}x{height} images, letterbox, model and NMS; ms per image, median and minimum of {options.rounds} rounds")
    print(
        "| model | input px | threads | batch | ms | min | relative to YOLO11n with the same threads and batch |\n|---|---|---|---|---|---|---|"
    )
    for (name, size, threads, batch), times in took.items():
        peer = took.get(("yolo11n", 640, threads, batch))
        ratio = f"{np.median(times) / np.median(peer):.2f}" if peer else "-"
        print(f"| {name} | {size} | {threads} | {batch} | {np.median(times):.1f} | {min(times):.1f} | {ratio} |")


if __name__ == "__main__":
    main()
