"""The tracker on given detections and embeddings: HOTA, IDF1, MOTA, identity switches and milliseconds per frame.

python benchmarks/association.py pets --data FOLDER       # a folder with gt/gt.txt and yolo11n+retail0287.npz
python benchmarks/association.py mot17 --data FOLDER      # folders with gt/gt.txt, det/det.txt and seqinfo.ini
... --set high_threshold=0.6 --set gate=0.4 --refine                # other settings; also after refinement
python benchmarks/association.py crowd --people 25 100 400 [--peers FILE]   # time only, on simulated walkers
python benchmarks/association.py memory --frames 100000
``--peers FILE`` runs other trackers on the same frames: a module with a dictionary PEERS of name -> (make, step), where
make(width, height, rate) returns a state and step(state, boxes, scores, embeddings) yields (id, x1, y1, x2, y2).
"""

from __future__ import annotations

import argparse
import configparser
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from detectors import Detections
from pipeline.evaluation.tracks import evaluate
from pipeline.formats.mot import read_mot, write_rows
from pipeline.identities.refinement import write_tracks
from tracker import DeepSort, Tracks
from tracker.refine import RefineSettings, Track, refine

Frames = list[Detections]
LINE = "HOTA {hota:.2f}  IDF1 {idf1:.2f}  MOTA {mota:.2f}  switches {switches}"


def read_sequence(folder: Path) -> tuple[float, Frames]:
    info = configparser.ConfigParser()
    info.read(folder / "seqinfo.ini")
    length, rate = int(info["Sequence"]["seqLength"]), float(info["Sequence"]["frameRate"])
    cached = sorted(folder.glob("*.npz"))
    if cached:
        table = np.load(cached[0])
        frame, boxes, scores, embeddings = table["frame"], table["xyxy"], table["score"], table["emb"]
    else:
        rows = read_mot(folder / "det/det.txt")
        frame, boxes, scores, embeddings = rows.frames, rows.boxes, rows.scores.clip(0, 1), None
    at = [np.flatnonzero(frame == index) for index in range(1, length + 1)]
    return rate, [Detections(boxes[r], scores[r], None if embeddings is None else embeddings[r]) for r in at]


@dataclass
class Outcome:
    """Scores, also after refinement if requested; ms per frame; numbers of embeddings requested and of confident detections."""

    scores: dict[str, float]
    refined: dict[str, float] | None
    ms: float
    requested: int
    confident: int


def run(folders: list[Path], settings: dict[str, Any], on_demand: bool = True, refined: RefineSettings | None = None) -> Outcome:
    pairs, better, took, requested, confident = {}, {}, [], 0, 0
    with tempfile.TemporaryDirectory() as scratch:
        for folder in folders:
            rate, frames = read_sequence(folder)
            tracker, book = DeepSort(**settings), Book()
            path = Path(scratch) / f"{folder.name}.txt"
            with path.open("w") as file:
                for index, found in enumerate(frames):
                    lookup = Lookup(found.embeddings)
                    given = Detections(found.boxes, found.scores) if on_demand else found
                    began = time.perf_counter()
                    tracks = tracker.update(given, time=index / rate, embed=lookup if found.embeddings is not None and on_demand else None)
                    took.append(time.perf_counter() - began)
                    requested += len(lookup.requested)
                    confident += int((found.scores >= tracker.settings.high_threshold).sum())
                    write_rows(file, np.full(len(tracks), index + 1), tracks.ids, tracks.boxes, tracks.scores)
                    book.add(index, index / rate, tracks, lookup)
            pairs[folder.name] = (folder / "gt/gt.txt", path)
            if refined is not None:
                better[folder.name] = (folder / "gt/gt.txt", path.with_suffix(".refined"))
                with better[folder.name][1].open("w") as file:
                    write_tracks(file, refine(book.tracks(), np.arange(len(frames)) / rate, refined))
        return Outcome(
            asdict(evaluate(pairs)), asdict(evaluate(better)) if better else None, 1e3 * float(np.mean(took)), requested, max(confident, 1)
        )


class Lookup:
    """Gives the tracker the embeddings that it requests, and records which."""

    def __init__(self, embeddings: np.ndarray | None) -> None:
        self.embeddings, self.requested = embeddings, np.zeros(0, np.int64)

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        assert self.embeddings is not None
        self.requested = rows
        return self.embeddings[rows]


class Book:
    """Collects tracks for refinement."""

    def __init__(self) -> None:
        self.rows: dict[int, list[tuple]] = {}
        self.embeddings_of: dict[int, list[tuple]] = {}

    def add(self, index: int, seconds: float, tracks: Tracks, lookup: Lookup) -> None:
        for at, track_id in enumerate(tracks.ids.tolist()):
            self.rows.setdefault(track_id, []).append((index + 1, seconds, tracks.boxes[at], tracks.scores[at]))
            if tracks.rows[at] in lookup.requested and tracks.visibility[at] >= 0.6:
                self.embeddings_of.setdefault(track_id, []).append((seconds, lookup.embeddings[tracks.rows[at]]))  # type: ignore[index]

    def tracks(self) -> list[Track]:
        out = []
        for track_id, rows in self.rows.items():
            embeddings = self.embeddings_of.get(track_id, [])
            columns = [np.array(column) for column in zip(*rows, strict=True)]
            out.append(
                Track(
                    track_id,
                    *columns,
                    np.array([s for s, _ in embeddings]),
                    np.array([v for _, v in embeddings], np.float32).reshape(len(embeddings), -1 if embeddings else 0),
                )
            )
        return out


def crowd(people: int, frames: int = 300, dimension: int = 256, rate: float = 10.0) -> Frames:
    """Walkers, one per square of four by four metres, detected with noise and misses; one embedding each, with noise."""
    rng = np.random.default_rng(people)
    side = 160 * np.ceil(np.sqrt(people))
    centre, speed = rng.uniform(0, side, (people, 2)), rng.normal(0, 60, (people, 2))
    height = rng.uniform(80, 120, people)
    centre_of = rng.normal(size=(people, dimension))
    out = []
    for _ in range(frames):
        centre += speed / rate
        speed[(centre < 0) | (centre > side)] *= -1
        seen = rng.random(people) < 0.95
        middle = centre[seen] + rng.normal(0, 2, (seen.sum(), 2))
        half = np.c_[0.2 * height[seen], 0.5 * height[seen]]
        rows = centre_of[seen] + rng.normal(0, 0.3, (seen.sum(), dimension))
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        out.append(
            Detections(np.c_[middle - half, middle + half].astype(np.float32), rng.uniform(0.62, 0.95, seen.sum()), rows.astype(np.float32))
        )
    return out


def milliseconds(step: Callable[[int, Detections], object], frames: Frames) -> float:
    """Median over all frames but the first twenty."""
    took = []
    for index, found in enumerate(frames):
        began = time.perf_counter()
        step(index, found)
        took.append(time.perf_counter() - began)
    return 1e3 * float(np.median(took[20:]))


def time_crowds(counts: list[int], peers: Path | None, settings: dict[str, Any]) -> None:
    others: dict[str, tuple] = {}
    if peers is not None:
        others = load_peers(peers)
    for people in counts:
        frames = crowd(people)
        tracker = DeepSort(**settings)
        ours = milliseconds(lambda index, found, tracker=tracker: tracker.update(found, time=index / 10), frames)  # type: ignore[misc]
        print(f"{people:4d} people  passerby {ours:.3f} ms/frame", flush=True)
        for name, (make, step) in others.items():
            if people > 100 and name.startswith("deep"):
                continue  # takes minutes per frame
            try:
                state = make(1920, 1080, 10.0)
                ms = milliseconds(lambda _, f, s=state, step=step: list(step(s, f.boxes.astype(float), f.scores, f.embeddings)), frames)  # type: ignore[misc]
                print(f"             {name} {ms:.3f} ms/frame, {ms / ours:.1f} times", flush=True)
            except Exception as error:  # report a peer that fails, and continue
                print(f"             {name} failed: {error!r}"[:160], flush=True)


def score_peers(folders: list[Path], peers: Path) -> None:
    """Evaluate the peers on the same detections and embeddings."""
    for name, (make, step) in load_peers(peers).items():
        pairs, took = {}, []
        try:
            with tempfile.TemporaryDirectory() as scratch:
                for folder in folders:
                    rate, frames = read_sequence(folder)
                    state, path = make(1920, 1080, rate), Path(scratch) / f"{folder.name}.txt"
                    with path.open("w") as file:
                        for index, found in enumerate(frames):
                            began = time.perf_counter()
                            rows = list(step(state, found.boxes.astype(float), found.scores.astype(float), found.embeddings))
                            took.append(time.perf_counter() - began)
                            table = np.array(rows, float).reshape(-1, 5)
                            write_rows(file, np.full(len(table), index + 1), table[:, 0].astype(int), table[:, 1:], np.ones(len(table)))
                    pairs[folder.name] = (folder / "gt/gt.txt", path)
                print(f"{LINE.format(**asdict(evaluate(pairs)))}  {1e3 * np.mean(took):.3f} ms/frame  {name}", flush=True)
        except Exception as error:  # report a peer that fails, and continue
            print(f"{name} failed: {error!r}"[:160], flush=True)


def load_peers(path: Path) -> dict[str, tuple]:
    import importlib.util
    import inspect

    spec = importlib.util.spec_from_file_location("peers", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name, load in inspect.getmembers(module, inspect.isfunction):
        if name.startswith("_") and not inspect.signature(load).parameters:
            try:
                load()
            except ImportError as error:
                print(f"skipped {name[1:]}: {error}")
    return module.PEERS


def measure_memory(frames: int, settings: dict[str, Any]) -> None:
    """Peak memory over a long time with changing people."""
    import resource

    rng, tracker = np.random.default_rng(0), DeepSort(**settings)
    embeddings = rng.normal(size=(64, 256)).astype(np.float32)
    embeddings /= np.linalg.norm(embeddings, axis=1, keepdims=True)
    for index in range(frames):
        lane = np.arange(10)
        x = (lane * 190 + 5 * index) % 1900  # each leaves at the right, and a new person enters at the left
        boxes = np.c_[x, 50 + 80 * lane, x + 40, 150 + 80 * lane].astype(np.float32)
        person = (lane + 10 * ((lane * 190 + 5 * index) // 1900)) % 64
        tracker.update(Detections(boxes, np.full(10, 0.9), embeddings[person]), time=index / 10)
        if index in (frames // 10, frames - 1):
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(f"after {index + 1} frames and {tracker.held.max()} tracks: peak {peak:.1f} MB, {len(tracker.held)} tracks held")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=["pets", "mot17", "crowd", "memory"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--embed-all", action="store_true")
    parser.add_argument("--refine", action="store_true")
    parser.add_argument("--people", type=int, nargs="*", default=[25, 100, 400])
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--frames", type=int, default=100_000)
    args = parser.parse_args()
    given = {key: yaml.safe_load(value) for key, value in (item.split("=") for item in args.set)}
    settings = {key: value for key, value in given.items() if not key.startswith("refine.")}
    after = RefineSettings(**{key.removeprefix("refine."): value for key, value in given.items() if key.startswith("refine.")})
    if args.suite == "crowd":
        time_crowds(args.people, args.peers, settings)
        return
    if args.suite == "memory":
        measure_memory(args.frames, settings)
        return
    if args.data is None:
        parser.error("--data FOLDER is required")
    folders = [args.data] if args.suite == "pets" else sorted(path.parent for path in args.data.glob("*/seqinfo.ini"))
    folders = [folder for folder in folders if not args.only or any(word in folder.name for word in args.only)]
    if args.embed_all:
        settings["on_demand"] = False
    outcome = run(folders, settings, refined=after if args.refine else None)
    print(LINE.format(**outcome.scores), f" {outcome.ms:.3f} ms/frame  embedded {outcome.requested / outcome.confident:.2f}")
    if outcome.refined:
        print(LINE.format(**outcome.refined), " after refinement")
    if args.peers is not None:
        score_peers(folders, args.peers)


if __name__ == "__main__":
    main()
