"""Simulate people in a network of cameras, with real crops: identities with exact ground truth.

python benchmarks/replay.py [--data MARKET-1501] [--cameras 6] [--people 150] [--ablate] [--late 4] [--misses 0.1] [--shift strong] [--no-site] ...

Each detection gets the embedding of a crop of its person from that camera: of Market-1501's test identities with ``--data``, else of drawn
figures. The real tracker follows the boxes of each camera, ``Linker`` links the growing tracklets, and ``associate`` links them at the end.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from camera_shift import STRENGTH, embedded

from detectors import Detections
from pipeline.config import load_config
from pipeline.engine.file_run import reid_facts
from pipeline.evaluation.identities import merged
from pipeline.formats.mot import write_rows
from pipeline.identities.recorded import calibrated
from reid import Embedder
from reid.datasets.layouts import read_split
from tracker import AssociationSettings, DeepSort, Event, Linker, Site, Tracklets, TrackletUpdate, apply_events, associate

WIDTH, HEIGHT, TALL = 1280, 720, 200.0


@dataclass(frozen=True)
class World:
    """Parameters of the simulation.

    ``misses``, ``false_boxes``: probability per box and per frame; ``clocks``: standard deviation of the cameras' clock offsets in seconds;
    ``clocks_known``: whether the site file gives them; ``late``: maximum delay of an update in seconds.
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
class Appearance:
    """``of[person][camera]``: (k, d) unit embeddings of the person's crops there; ``strangers`` (m, d): embeddings of false boxes."""

    of: list[dict[int, np.ndarray]]
    strangers: np.ndarray
    embedder: Embedder

    def weighed(self, settings: AssociationSettings) -> AssociationSettings:
        """``settings`` with the model's own evidence weights."""
        return calibrated(settings, reid_facts(self.embedder))


@dataclass
class Replay:
    """By camera, true and tracked boxes as (frame, id, x1, y1, x2, y2); and the updates of the growing tracklets."""

    site: Site
    truth: dict[str, list[tuple]] = field(default_factory=dict)
    tracks: dict[str, list[tuple]] = field(default_factory=dict)
    updates: list[tuple[float, TrackletUpdate]] = field(default_factory=list)  # time of arrival, update


def market_appearance(
    data: Path, embedder: Embedder, cameras: int, people: int, seed: int, shift: str = "none", cache: Path | None = None
) -> Appearance:
    """Crops of test identities seen by at least four cameras. More than six cameras share the crops of Market-1501's six."""
    split = read_split(data, "gallery")
    rng = np.random.default_rng(seed)
    ids = [i for i in np.unique(split.ids[split.ids > 0]).tolist() if len(np.unique(split.cameras[split.ids == i])) >= min(4, cameras)]
    chosen = rng.permutation(ids)[:people]
    strangers = rng.permutation(np.flatnonzero(split.ids == 0))[:200]
    rows = np.concatenate([np.flatnonzero(np.isin(split.ids, chosen)), strangers])
    part = split.take(rows)
    embeddings = embedded(embedder, part.paths, part.cameras, shift, cache)
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
    return Appearance(of, embeddings[len(rows) - len(strangers) :], embedder)


def drawn_appearance(embedder: Embedder, cameras: int, people: int, seed: int) -> Appearance:
    """Figures with clothes of individual colours, in three poses, in each camera's light."""
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
    return Appearance([dict(enumerate(mine)) for mine in rows], strangers, embedder)


def graph(world: World, rng: np.random.Generator) -> dict[tuple[int, int], tuple[float, float, float]]:
    """Two-way links between cameras, a ring with chords: minimum, typical and maximum travel time in seconds."""
    ways = {(camera, (camera + 1) % world.cameras) for camera in range(world.cameras)}
    ways |= {(int(a), int(b)) for a, b in rng.integers(0, world.cameras, (world.cameras // 2, 2)) if a != b}
    times = {}
    for a, b in sorted(ways):
        min_time = float(rng.uniform(5, 25))
        times[min(a, b), max(a, b)] = (min_time, min_time * rng.uniform(1.2, 1.6), min_time * rng.uniform(2.5, 4))
    return times


def walks(
    world: World, appearance: Appearance, ways: dict[tuple[int, int], tuple[float, float, float]], rng: np.random.Generator
) -> list[tuple]:
    """Visits: person, camera, start, duration in seconds, and path (x, y of the feet at start and end)."""
    out = []
    for person, mine in enumerate(appearance.of):
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
            min_time, typical_time, max_time = ways[min(camera, to), max(camera, to)]
            now += stay + float(rng.triangular(min_time, typical_time, max_time))
            camera = to
    return out


def play(world: World, appearance: Appearance) -> Replay:
    """Simulate, detect and track; returns all updates for the linker."""
    rng = np.random.default_rng(world.seed)
    ways = graph(world, rng)
    visits = walks(world, appearance, ways, rng)
    clocks = rng.normal(0, world.clocks, world.cameras) if world.clocks else np.zeros(world.cameras)
    names = [f"c{camera:02d}" for camera in range(world.cameras)]
    links = [
        {"start": names[a], "end": names[b], "min_time": min_time, "typical_time": typical_time, "max_time": max_time}
        for (a, b), (min_time, typical_time, max_time) in ways.items()
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
        _follow(world, appearance, [visit for visit in visits if visit[1] == camera], float(clocks[camera]), name, replay, rng)
    replay.updates.sort(key=lambda item: (item[0], item[1].key, item[1].end))
    return replay


def _follow(
    world: World, appearance: Appearance, visits: list[tuple], clock: float, name: str, replay: Replay, rng: np.random.Generator
) -> None:
    """Run the tracker on one camera's boxes, and make an update of each tracklet every second."""
    tracker = DeepSort(load_config().tracker.changed(gate=appearance.embedder.facts.calibration.gate))
    sums: dict[int, list] = {}  # track -> start, end, sum of embeddings, weight, time of the last update
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
                    shown[at] = int(rng.integers(len(appearance.of[person][camera])))
                rows.append((person, box, appearance.of[person][camera][shown[at]]))
        rows.sort(key=lambda row: -row[1][3])  # nearest first
        boxes, embeddings = [], []
        for at, (person, box, embedding) in enumerate(rows):
            replay.truth[name].append((frame + 1, person + 1, *box))
            behind = world.occlusion and any(_covered(box, other[1]) > 0.6 for other in rows[:at])
            if not behind and rng.random() >= world.misses:
                boxes.append(box)
                embeddings.append(embedding)
        if rng.random() < world.false_boxes:
            x, y = rng.uniform(100, WIDTH - 100), rng.uniform(TALL, HEIGHT)
            boxes.append(np.array([x - 40, y - TALL, x + 40, y]))
            embeddings.append(appearance.strangers[rng.integers(len(appearance.strangers))])
        scores = rng.uniform(0.6, 0.95, len(boxes)).astype(np.float32)
        embedding_rows = np.array(embeddings, np.float32).reshape(len(boxes), -1 if boxes else appearance.strangers.shape[1])
        found = Detections(np.array(boxes, np.float32).reshape(-1, 4), scores, embedding_rows)
        tracks = tracker.update(found, now - clock)
        for at, track_id in enumerate(tracks.ids.tolist()):
            replay.tracks[name].append((frame + 1, track_id, *tracks.boxes[at]))
            state = sums.setdefault(track_id, [now, now, np.zeros(embedding_rows.shape[1]), 0.0, now, np.zeros((0, 3))])
            quality = float(tracks.visibility[at] * tracks.scores[at])
            state[1], state[3] = now, state[3] + quality
            state[2] = state[2] + found.embeddings[tracks.rows[at]] * quality  # type: ignore[index]
            if now - state[4] >= 1.0:
                state[4] = now
                _add_update(world, replay, name, track_id, state, clock, rng)
        for track_id in sorted(set(sums) - set(tracker.held.tolist())):
            _add_update(world, replay, name, track_id, sums.pop(track_id), clock, rng)
    for track_id, state in sorted(sums.items()):
        _add_update(world, replay, name, track_id, state, clock, rng)


def _add_update(world: World, replay: Replay, name: str, track_id: int, state: list, clock: float, rng: np.random.Generator) -> None:
    start, end, total, weight = state[:4]
    embedding = (total / max(float(np.linalg.norm(total)), 1e-9)).astype(np.float32)
    comes = end + (float(rng.uniform(0, world.late)) if world.late else 0.0)
    replay.updates.append((comes, TrackletUpdate(name, track_id, start - clock, end - clock, embedding, weight)))


def _covered(box: np.ndarray, other: np.ndarray) -> float:
    """The share of ``box`` that ``other`` covers."""
    wide, tall = np.minimum(box[2:], other[2:]) - np.maximum(box[:2], other[:2])
    return max(0.0, wide) * max(0.0, tall) / float(np.prod(box[2:] - box[:2]))


# scoring


def idf1(replay: Replay, identities: dict[tuple[str, int], int]) -> float:
    """Multi-camera IDF1 in percent; a track without an identity gets a unique one."""
    with tempfile.TemporaryDirectory() as scratch:
        truth, tracks, alone = {}, {}, 10**6
        for name in replay.truth:
            for rows, kind, paths in ((replay.truth[name], "gt", truth), (replay.tracks[name], "tracks", tracks)):
                paths[name] = Path(scratch) / f"{name}-{kind}.txt"
                with paths[name].open("w") as file:
                    taken: set[tuple[int, int]] = set()
                    for frame, track_id, *box in rows:
                        number = track_id if kind == "gt" else identities.get((name, track_id), alone + track_id)
                        if (frame, number) in taken:  # a revised first decision can give two tracks of a frame one identity
                            number = alone + track_id
                        taken.add((frame, number))
                        write_rows(file, np.array([frame]), np.array([number]), np.array([box]), np.ones(1))
            alone += 10**5
        return merged(truth, tracks).idf1


def online(replay: Replay, appearance: Appearance, site: Site, sets: list[str]) -> tuple[list[Event], Linker, list[float]]:
    """The linker's events, the linker, and the seconds of each call."""
    config = load_config(sets=sets)
    linker = Linker(site, config.linker, appearance.weighed(config.association))
    events, took = list[Event](), []
    for comes, update in replay.updates:
        began = time.perf_counter()
        events += linker.advance(comes)
        linker.add([update])
        took.append(time.perf_counter() - began)
    return events + linker.finish(), linker, took


def first_decisions(events: list[Event]) -> dict[tuple[str, int], int]:
    """Identities as first assigned, without revisions."""
    return {(event.camera, event.track): event.identity for event in events if event.kind == "assigned"}  # type: ignore[misc]


def offline(replay: Replay, appearance: Appearance, site: Site, sets: list[str]) -> dict[tuple[str, int], int]:
    last = {update.key: update for _, update in sorted(replay.updates, key=lambda item: item[1].end)}
    keys, rows = list(last), list(last.values())
    table = Tracklets(
        np.array([key[0] for key in keys], object), np.array([key[1] for key in keys]), np.array([row.start for row in rows]),
        np.array([row.end for row in rows]), np.stack([row.embedding for row in rows if row.embedding is not None]),
    )  # fmt: skip
    settings = appearance.weighed(load_config(sets=sets).association)
    return dict(zip(keys, associate(table, site, settings).ids.tolist(), strict=True))


def ceiling(replay: Replay) -> dict[tuple[str, int], int]:
    """The identities of a perfect linker: the true person of the majority of each track's boxes."""
    out = {}
    for name, rows in replay.tracks.items():
        truth: dict[int, list[tuple]] = {}
        for frame, track_id, *box in replay.truth[name]:
            truth.setdefault(frame, []).append((track_id, np.array(box)))
        votes: dict[int, list[int]] = {}
        for frame, track_id, *box in rows:
            near = max(truth.get(frame, []), key=lambda item: _covered(item[1], np.array(box)), default=None)
            if near is not None and _covered(near[1], np.array(box)) > 0.5:
                votes.setdefault(track_id, []).append(near[0])
        out |= {(name, track_id): max(set(seen), key=seen.count) for track_id, seen in votes.items()}
    return out


ABLATIONS = (
    ("appearance only", {"links": (), "overlaps": None}, ["association.time_weight=0", "association.shared_weight=0"]),
    ("without links between cameras", {"links": ()}, []),
    ("without time", {"links": ()}, ["association.time_weight=0"]),
    ("views may overlap (cannot-link only within a camera)", {"links": (), "overlaps": None}, []),
    ("without shared neighbours", {}, ["association.shared_weight=0"]),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="Market-1501; default: drawn figures")
    parser.add_argument("--reid", default=None)
    parser.add_argument(
        "--shift", choices=sorted(STRENGTH), default="none", help="of exposure, colour, blur and resolution, a camera's own"
    )
    parser.add_argument("--cache", type=Path, help="folder in which embeddings are kept")
    parser.add_argument("--no-site", action="store_true", help="what the site file knows is not told")
    parser.add_argument("--ablate", action="store_true")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    for name, value in vars(World()).items():
        flag = {"action": argparse.BooleanOptionalAction} if isinstance(value, bool) else {"type": type(value)}
        parser.add_argument(f"--{name.replace('_', '-')}", default=value, **flag)
    args = parser.parse_args()
    world = World(**{name: getattr(args, name) for name in vars(World())})
    embedder = Embedder(args.reid)
    if args.data:
        appearance = market_appearance(args.data, embedder, world.cameras, world.people, world.seed, args.shift, args.cache)
    else:
        appearance = drawn_appearance(embedder, world.cameras, world.people, world.seed)
    replay = play(world, appearance)
    boxes, tracks = sum(map(len, replay.truth.values())), len({update.key for _, update in replay.updates})
    print(f"{world.cameras} cameras, {len(appearance.of)} people, {boxes} boxes, {tracks} tracks", flush=True)
    print(f"{'perfect linker of these tracks':52s} IDF1 {idf1(replay, ceiling(replay)):5.1f}", flush=True)
    for name, changes, sets in (("default", {}, []), *(ABLATIONS if args.ablate else ())):
        site = Site() if args.no_site else replay.site.model_copy(update=changes)
        events, linker, took = online(replay, appearance, site, [*args.set, *sets])
        identities = apply_events({}, events)
        print(
            f"{name:52s} online IDF1 {idf1(replay, identities):5.1f} (first decisions {idf1(replay, first_decisions(events)):5.1f}), "
            f"offline {idf1(replay, offline(replay, appearance, site, [*args.set, *sets])):5.1f}; {sum(e.kind == 'merged' for e in events)} merged, "
            f"{sum(e.kind == 'split' for e in events)} split, {linker.late} late; step {1000 * np.percentile(took, 99):.1f} ms (99th percentile)",
            flush=True,
        )


if __name__ == "__main__":
    main()
