"""The tracker on given boxes and embeddings: HOTA, IDF1, MOTA, switches and milliseconds per frame.

python benchmarks/association.py pets --data FOLDER       # a folder with gt/gt.txt and yolo11n+retail0287.npz
python benchmarks/association.py mot17 --data FOLDER      # folders with gt/gt.txt, det/det.txt and seqinfo.ini
... --set high=0.6 --set gate=0.4                         # other settings
"""

from __future__ import annotations

import argparse
import configparser
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from detectors import Detections
from pipeline.evaluation import evaluate
from pipeline.mot import read_rows, write_frame
from tracker import DeepSort

Frames = list[Detections]


def read_sequence(folder: Path) -> tuple[float, Frames]:
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini")
    length, rate = int(info["Sequence"]["seqLength"]), float(info["Sequence"]["frameRate"])
    cached = sorted(folder.glob("*.npz"))
    if cached:
        table = np.load(cached[0])
        frame, boxes, scores, embeddings = table["frame"], table["xyxy"], table["score"], table["emb"]
    else:
        rows = read_rows(folder / "det/det.txt")
        frame, boxes, scores, embeddings = rows[:, 0], np.c_[rows[:, 2:4], rows[:, 2:4] + rows[:, 4:6]], rows[:, 6].clip(0, 1), None
    at = [np.flatnonzero(frame == index) for index in range(1, length + 1)]
    return rate, [Detections(boxes[r], scores[r], None if embeddings is None else embeddings[r]) for r in at]


def run(folders: list[Path], settings: dict[str, float], on_demand: bool = True) -> tuple[dict[str, float], float, float]:
    """Scores over all folders, milliseconds per frame, and the share of confident detections that were embedded."""
    pairs, took, asked, offered = {}, [], 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        for folder in folders:
            rate, frames = read_sequence(folder)
            tracker = DeepSort(**settings)
            path = Path(scratch) / f"{folder.name}.txt"
            with path.open("w") as file:
                for index, found in enumerate(frames):
                    embed, given = None, found
                    if found.embeddings is not None and on_demand:
                        counted: list[int] = []

                        def embed(rows: np.ndarray, found: Detections = found, counted: list[int] = counted) -> np.ndarray:
                            counted.append(len(rows))
                            return found.embeddings[rows]

                        given = Detections(found.boxes, found.scores)
                    began = time.perf_counter()
                    tracks = tracker.update(given, time=index / rate, embed=embed)
                    took.append(time.perf_counter() - began)
                    if embed is not None:
                        asked += sum(counted)
                        offered += int((found.scores >= tracker.settings.high).sum())
                    write_frame(file, index + 1, tracks.ids, tracks.boxes, tracks.scores)
            pairs[folder.name] = (folder / "gt/gt.txt", path)
        scores = asdict(evaluate(pairs))
    return scores, 1e3 * float(np.mean(took)), asked / max(offered, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=["pets", "mot17"])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--set", action="append", default=[], metavar="NAME=NUMBER")
    parser.add_argument("--embed-all", action="store_true")
    args = parser.parse_args()
    settings = {key: (int(value) if value.isdigit() else float(value)) for key, value in (item.split("=") for item in args.set)}
    folders = [args.data] if args.suite == "pets" else sorted(path.parent for path in args.data.glob("*/seqinfo.ini"))
    folders = [folder for folder in folders if not args.only or any(word in folder.name for word in args.only)]
    scores, ms, share = run(folders, settings, on_demand=not args.embed_all)
    print(
        f"HOTA {scores['hota']:.2f}  IDF1 {scores['idf1']:.2f}  MOTA {scores['mota']:.2f}  switches {scores['switches']}  {ms:.3f} ms/frame  embedded {share:.2f}"
    )


if __name__ == "__main__":
    main()
