"""People walk a graph of cameras, each detection shows one of their crops of that camera: identities with exact ground truth.

python benchmarks/replay.py [--data MARKET-1501] [--cameras 6] [--people 150] [--ablate] [--late 4] [--misses 0.1] ...

With ``--data`` the crops are Market-1501's test identities, in each of its cameras their own; without, drawn figures. The real
tracker follows the boxes of each camera, ``Linker`` links its tracklets as they grow, ``associate`` links them in the end.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np

from detectors import Detections
from pipeline.config import load_config
from pipeline.evaluation.identities import merged
from pipeline.formats.mot import write_rows
from reid import Embedder
from reid.datasets.layouts import read_split
from reid.evaluation.retrieval import embed_split
from tracker import DeepSort, Event, Linker, Site, Tracklets, TrackletUpdate, apply_events, associate

WIDTH, HEIGHT, TALL = 1280, 720, 200.0


@dataclass(frozen=True)
class World:
    """What is simulated. ``misses``, ``false_boxes``: per box and frame; ``clocks``: standard deviation of the cameras' clocks, which the
    site file knows where ``clocks_known``; ``late``: an update comes up to so many seconds after its time.
    """

    cameras: int = 6
    people: int = 150
    minutes: float = 20.0
    rate: float = 5.0
    visits: int = 5
    misses: float = 0.05
    false_boxes: float = 0.02
    occlusion: bool = True
    clocks: float = 0.0
    clocks_known: bool = True
    late: float = 0.0
    seed: int = 0


@dataclass(frozen=True)
class Looks:
    """``of[person][camera]``: (k, d) unit embeddings of the person's crops there; ``strangers`` (m, d): of false boxes."""

    of: list[dict[int, np.ndarray]]
    strangers: np.ndarray
    slope: float
    offset: float
    gate: float


@dataclass
class Replay:
    """Per camera the truth and the tracker's boxes as (frame, id, x1, y1, x2, y2); and the tracklets as they grew."""

    site: Site
    truth: dict[str, list[tuple]] = field(default_factory=dict)
    tracks: dict[str, list[tuple]] = field(default_factory=dict)
    updates: list[tuple[float, TrackletUpdate]] = field(default_factory=list)  # when it comes, and what


def market_looks(data: Path, embedder: Embedder, cameras: int, people: int, seed: int) -> Looks:
    """Crops of test identities seen by four cameras and more; cameras over Market-1501's six share its crops among them."""
    split = read_split(data, "gallery")
    rng = np.random.default_rng(seed)
    ids = [i for i in np.unique(split.ids[split.ids > 0]).tolist() if len(np.unique(split.cameras[split.ids == i])) >= min(4, cameras)]
    chosen = rng.permutation(ids)[:people]
    strangers = rng.permutation(np.flatnonzero(split.ids == 0))[:200]
    rows = np.concatenate([np.flatnonzero(np.isin(split.ids, chosen)), strangers])
    part, embeddings = embed_split(embedder, split.take(rows))
    of: list[dict[int, np.ndarray]] = []
    for person in chosen.tolist():
        mine: dict[int, np.ndarray] = {}
        for camera in range(cameras):
            there = np.flatnonzero((part.ids == person) & (part.cameras == camera % 6 + 1))
            sharing = len(range(camera % 6, cameras, 6))
            share = there[camera // 6 :: sharing]
            if len(share):
                mine[camera] = embeddings[share]
        of.append(mine)
    return Looks(of, embeddings[len(rows) - len(strangers) :], *calibration(embedder))


def drawn_looks(embedder: Embedder, cameras: int, people: int, seed: int) -> Looks:
    """Figures in clothes of their own colours, in three poses, in each camera's light."""
    rng = np.random.default_rng(seed)
    light = rng.uniform(0.75, 1.25, (cameras, 3))

    def figure(colours: np.ndarray, camera: int) -> np.ndarray:
        crop = np.full((128, 64, 3), 120, np.uint8)
        lean = int(rng.integers(-4, 5))
        skin, shirt, trousers = (tuple(int(value) for value in colour) for colour in colours)
        cv2.rectangle(crop, (20 + lean, 30), (44 + lean, 74), shirt, -1)
        for leg in (22, 36):
            cv2.rectangle(crop, (leg, 74), (leg + 8 + lean // 2, 124), trousers, -1)
        cv2.circle(crop, (32 + lean, 18), 10, skin, -1)
        return np.clip(crop * light[camera] + rng.normal(0, 6, crop.shape), 0, 255).astype(np.uint8)

    colours = rng.integers(0, 256, (people, 3, 3))
    crops = [figure(colours[person], camera) for person in range(people) for camera in range(cameras) for _ in range(3)]
    rows = embedder.embed(crops).reshape(people, cameras, 3, -1)
    strangers = embedder.embed([figure(rng.integers(0, 256, (3, 3)), 0) for _ in range(20)])
    return Looks([dict(enumerate(mine)) for mine in rows], strangers, *calibration(embedder))


def calibration(embedder: Embedder) -> tuple[float, float, float]:
    pooled = embedder.facts.for_tracklets
    return pooled.slope, pooled.offset, embedder.facts.calibration.gate


def graph(world: World, rng: np.random.Generator) -> dict[tuple[int, int], tuple[float, float, float]]:
    """Ways between cameras, both directions: a ring with chords; least, typical and most seconds."""
    ways = {(camera, (camera + 1) % world.cameras) for camera in range(world.cameras)}
    ways |= {(int(a), int(b)) for a, b in rng.integers(0, world.cameras, (world.cameras // 2, 2)) if a != b}
    times = {}
    for a, b in sorted(ways):
        least = float(rng.uniform(5, 25))
        times[min(a, b), max(a, b)] = (least, least * rng.uniform(1.2, 1.6), least * rng.uniform(2.5, 4))
    return times


def walks(world: World, looks: Looks, ways: dict[tuple[int, int], tuple[float, float, float]], rng: np.random.Generator) -> list[tuple]:
    """Visits: person, camera, start, seconds, and the line walked there (x, y of the feet at start and end)."""
    out = []
    for person, mine in enumerate(looks.of):
        camera = int(rng.choice(sorted(mine)))
        now = float(rng.uniform(0, world.minutes * 60 * 0.8))
        for _ in range(int(rng.integers(max(2, world.visits - 2), world.visits + 3))):
            stay = float(rng.uniform(8, 25))
            across = rng.uniform(0, WIDTH, 2) if rng.random() < 0.3 else (0, WIDTH)[:: int(rng.choice([-1, 1]))]
            depth = rng.uniform(TALL + 20, HEIGHT - 10, 2)
            if now + stay > world.minutes * 60:
                break
            out.append((person, camera, now, stay, (across[0], depth[0], across[1], depth[1])))
            near = [b if a == camera else a for a, b in ways if camera in (a, b)]
            near = [other for other in near if other in mine]
            if not near:
                break
            to = int(rng.choice(near))
            least, typical, most = ways[min(camera, to), max(camera, to)]
            now += stay + float(rng.triangular(least, typical, most))
            camera = to
    return out


def play(world: World, looks: Looks) -> Replay:
    """Walk, detect, track: everything that the linker will be told."""
    rng = np.random.default_rng(world.seed)
    ways = graph(world, rng)
    visits = walks(world, looks, ways, rng)
    clocks = rng.normal(0, world.clocks, world.cameras) if world.clocks else np.zeros(world.cameras)
    names = [f"c{camera:02d}" for camera in range(world.cameras)]
    links = [
        {"start": names[a], "end": names[b], "min_time": least, "typical_time": typical, "max_time": most}
        for (a, b), (least, typical, most) in ways.items()
    ]
    # a camera's clock shows true time less its offset
    site = Site.model_validate(
        {
            "cameras": {name: {"offset": float(clocks[at]) if world.clocks_known else 0.0} for at, name in enumerate(names)},
            "links": links, "overlaps": [],
        }
    )  # fmt: skip
    replay = Replay(site, {name: [] for name in names}, {name: [] for name in names})
    for camera, name in enumerate(names):
        _follow(world, looks, [visit for visit in visits if visit[1] == camera], float(clocks[camera]), name, replay, rng)
    replay.updates.sort(key=lambda item: (item[0], item[1].key, item[1].end))
    return replay


def _follow(world: World, looks: Looks, visits: list[tuple], clock: float, name: str, replay: Replay, rng: np.random.Generator) -> None:
    """One camera: its boxes frame by frame through the tracker, and its tracklets each second."""
    tracker = DeepSort(load_config().tracker.changed(gate=looks.gate))
    sums: dict[int, list] = {}  # track -> start, end, sum of looks, weight, last second told
    shown: dict[int, int] = {}  # visit -> crop on show
    for frame in range(int(world.minutes * 60 * world.rate)):
        now = frame / world.rate
        rows = []
        for at, (person, camera, start, stay, (x0, y0, x1, y1)) in enumerate(visits):
            if start <= now < start + stay:
                share = (now - start) / stay
                x, y = x0 + share * (x1 - x0), y0 + share * (y1 - y0)
                tall = TALL * (0.5 + y / HEIGHT)
                box = np.array([x - tall * 0.2, y - tall, x + tall * 0.2, y]) + rng.normal(0, tall * 0.01, 4)
                if at not in shown or rng.random() < 0.3:
                    shown[at] = int(rng.integers(len(looks.of[person][camera])))
                rows.append((person, box, looks.of[person][camera][shown[at]]))
        rows.sort(key=lambda row: -row[1][3])  # nearest first
        boxes, embeddings = [], []
        for at, (person, box, look) in enumerate(rows):
            replay.truth[name].append((frame + 1, person + 1, *box))
            behind = world.occlusion and any(_covered(box, other[1]) > 0.6 for other in rows[:at])
            if not behind and rng.random() >= world.misses:
                boxes.append(box)
                embeddings.append(look)
        if rng.random() < world.false_boxes:
            x, y = rng.uniform(100, WIDTH - 100), rng.uniform(TALL, HEIGHT)
            boxes.append(np.array([x - 40, y - TALL, x + 40, y]))
            embeddings.append(looks.strangers[rng.integers(len(looks.strangers))])
        scores = rng.uniform(0.6, 0.95, len(boxes)).astype(np.float32)
        rows_of_looks = np.array(embeddings, np.float32).reshape(len(boxes), -1 if boxes else looks.strangers.shape[1])
        found = Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, rows_of_looks)
        tracks = tracker.update(found, now - clock)
        for at, who in enumerate(tracks.ids.tolist()):
            replay.tracks[name].append((frame + 1, who, *tracks.boxes[at]))
            told = sums.setdefault(who, [now, now, np.zeros(rows_of_looks.shape[1]), 0.0, now, np.zeros((0, 3))])
            quality = float(tracks.visibility[at] * tracks.scores[at])
            told[1], told[3] = now, told[3] + quality
            told[2] = told[2] + found.embeddings[tracks.rows[at]] * quality  # type: ignore[index]
            if now - told[4] >= 1.0:
                told[4] = now
                _tell(world, replay, name, who, told, clock, rng)
        for who in sorted(set(sums) - set(tracker.held.tolist())):
            _tell(world, replay, name, who, sums.pop(who), clock, rng)
    for who, told in sorted(sums.items()):
        _tell(world, replay, name, who, told, clock, rng)


def _tell(world: World, replay: Replay, name: str, who: int, told: list, clock: float, rng: np.random.Generator) -> None:
    start, end, total, weight = told[:4]
    embedding = (total / max(float(np.linalg.norm(total)), 1e-9)).astype(np.float32)
    comes = end + (float(rng.uniform(0, world.late)) if world.late else 0.0)
    replay.updates.append((comes, TrackletUpdate(name, who, start - clock, end - clock, embedding, weight)))


def _covered(box: np.ndarray, other: np.ndarray) -> float:
    """The share of ``box`` that ``other`` covers."""
    wide, tall = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return max(0.0, wide) * max(0.0, tall) / float(np.prod(box[2:] - box[:2]))


# scoring


def idf1(replay: Replay, identities: dict[tuple[str, int], int]) -> float:
    """Multi-camera IDF1 over (camera, frame) boxes, in per cent; a track without an identity is its own."""
    with tempfile.TemporaryDirectory() as scratch:
        truth, tracks, alone = {}, {}, 10**6
        for name in replay.truth:
            for rows, kind, paths in ((replay.truth[name], "gt", truth), (replay.tracks[name], "tracks", tracks)):
                paths[name] = Path(scratch) / f"{name}-{kind}.txt"
                with paths[name].open("w") as file:
                    taken: set[tuple[int, int]] = set()
                    for frame, who, *box in rows:
                        number = who if kind == "gt" else identities.get((name, who), alone + who)
                        if (frame, number) in taken:  # what was first said may have been taken back for that
                            number = alone + who
                        taken.add((frame, number))
                        write_rows(file, np.array([frame]), np.array([number]), np.array([box]), np.ones(1))
            alone += 10**5
        return merged(truth, tracks).idf1


def online(replay: Replay, looks: Looks, site: Site, sets: list[str]) -> tuple[list[Event], Linker, list[float]]:
    """The linker's events, itself, and the seconds that each call took."""
    config = load_config(sets=sets)
    linker = Linker(site, config.linker, config.association.changed(slope=looks.slope, offset=looks.offset))
    events, took = list[Event](), []
    for comes, update in replay.updates:
        began = time.perf_counter()
        events += linker.advance(comes)
        linker.add([update])
        took.append(time.perf_counter() - began)
    return events + linker.finish(), linker, took


def first_said(events: list[Event]) -> dict[tuple[str, int], int]:
    """Identities as they were first told, nothing taken back."""
    return {(event.camera, event.track): event.identity for event in events if event.kind == "assigned"}  # type: ignore[misc]


def offline(replay: Replay, looks: Looks, site: Site, sets: list[str]) -> dict[tuple[str, int], int]:
    last = {update.key: update for _, update in sorted(replay.updates, key=lambda item: item[1].end)}
    keys, rows = list(last), list(last.values())
    table = Tracklets(
        np.array([key[0] for key in keys], object), np.array([key[1] for key in keys]), np.array([row.start for row in rows]),
        np.array([row.end for row in rows]), np.stack([row.embedding for row in rows if row.embedding is not None]),
    )  # fmt: skip
    settings = load_config(sets=sets).association.changed(slope=looks.slope, offset=looks.offset)
    return dict(zip(keys, associate(table, site, settings).ids.tolist(), strict=True))


def ceiling(replay: Replay) -> dict[tuple[str, int], int]:
    """The identities that a perfect linker would give: whom most of a track's boxes show."""
    out = {}
    for name, rows in replay.tracks.items():
        truth: dict[int, list[tuple]] = {}
        for frame, who, *box in replay.truth[name]:
            truth.setdefault(frame, []).append((who, np.array(box)))
        votes: dict[int, list[int]] = {}
        for frame, who, *box in rows:
            near = max(truth.get(frame, []), key=lambda item: _covered(item[1], np.array(box)), default=None)
            if near is not None and _covered(near[1], np.array(box)) > 0.5:
                votes.setdefault(who, []).append(near[0])
        out |= {(name, who): max(set(seen), key=seen.count) for who, seen in votes.items()}
    return out


ABLATIONS = (
    ("nothing but looks", {"links": (), "overlaps": None}, ["association.time_weight=0", "association.shared_weight=0"]),
    ("without the ways between cameras", {"links": ()}, []),
    ("without time", {"links": ()}, ["association.time_weight=0"]),
    ("views may overlap (cannot-link in a camera alone)", {"links": (), "overlaps": None}, []),
    ("without neighbours in common", {}, ["association.shared_weight=0"]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Market-1501; without it drawn figures")
    parser.add_argument("--reid", default=None)
    parser.add_argument("--ablate", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    for name, value in vars(World()).items():
        flag = {"action": argparse.BooleanOptionalAction} if isinstance(value, bool) else {"type": type(value)}
        parser.add_argument(f"--{name.replace('_', '-')}", default=value, **flag)
    args = parser.parse_args()
    world = World(**{name: getattr(args, name) for name in vars(World())})
    embedder = Embedder(args.reid)
    if args.data:
        looks = market_looks(args.data, embedder, world.cameras, world.people, world.seed)
    else:
        looks = drawn_looks(embedder, world.cameras, world.people, world.seed)
    replay = play(world, looks)
    boxes, tracks = sum(map(len, replay.truth.values())), len({update.key for _, update in replay.updates})
    print(f"{world.cameras} cameras, {len(looks.of)} people, {boxes} boxes, {tracks} tracks", flush=True)
    print(f"{'a perfect linker of these tracks':52s} IDF1 {idf1(replay, ceiling(replay)):5.1f}", flush=True)
    for name, changes, sets in (("as it is", {}, []), *(ABLATIONS if args.ablate else ())):
        site = replay.site.model_copy(update=changes)
        events, linker, took = online(replay, looks, site, [*args.set, *sets])
        said = apply_events({}, events)
        print(
            f"{name:52s} on-line IDF1 {idf1(replay, said):5.1f} (as first said {idf1(replay, first_said(events)):5.1f}), "
            f"offline {idf1(replay, offline(replay, looks, site, [*args.set, *sets])):5.1f}; {sum(e.kind == 'merged' for e in events)} merged, "
            f"{sum(e.kind == 'split' for e in events)} split, {linker.late} late; step {1000 * np.percentile(took, 99):.1f} ms (99 of 100)",
            flush=True,
        )


if __name__ == "__main__":
    main()
