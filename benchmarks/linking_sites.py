"""Linking on sites that the model never saw, all with one set of defaults: pairs of tracklets, and what is said of them.

python benchmarks/linking_sites.py --market MARKET-1501 --cuhk03 CUHK03 [--cache FOLDER] [--reid NAME] [--set KEY=VALUE] [--ablate] [--fit] [--without SET] [--small]

CUHK03 lies as PERSON/CAMERA_n.jpg, in any folders (its labelled pictures, two cameras). A site is some people of a set; a tracklet some pictures of
one in a camera, embeddings averaged. Each walks through once: the tracklets of a person follow each other 5 to 600 seconds apart, log-uniform, and last
10. The sites, each drawn several times from people on whom --fit fits nothing (the defaults of the code have seen some of them):

- cuhk03: 100 people, 2 to 5 pictures a tracklet; cuhk03 whole: 100 people, a tracklet of all pictures in each of the two cameras, the hardest
- market: 5, 10, 20 and 50 people; shifted: 10, 20, 50 and 75, each camera with its own exposure, colours, blur and resolution (``camera_shift``)
- few: 3 to 6 people with many tracklets of 1 or 2 pictures, of all three sets; staff: one with a tracklet for each picture among 15 with one or two
- ... collapsed: the same, with a direction that all share and one that each camera shares in the embeddings (1.2 and 0.5 of their length): a site on
  which the model sees everybody alike

Printed: pair F1 (precision, recall), mean over sites; log loss of pairs that are neighbours, over the entropy of their share of matches; expected
calibration error of confidence, in ten bins, of whether most of the rest of a tracklet's identity is its person (of one alone: whether that person has no
other tracklet); and of identities of two tracklets and more that are said 0.9 on average, the share that is pure. ``--fit``: the weights anew, from the
other people; ``--small``: of fewer pictures, for slow models; ``--ablate``: parts left out, each time with weights fitted anew. ``--without cuhk03``: fitted without that.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from camera_shift import embedded
from scipy.optimize import minimize

from pipeline.config import load_config
from pipeline.engine.file_run import reid_facts
from pipeline.evaluation.identities import pair_scores
from pipeline.identities.recorded import calibrated
from reid import Embedder
from reid.datasets.layouts import read_split
from tracker import AssociationSettings, Linker, LinkerSettings, Site, Tracklets, TrackletUpdate, apply_events, associate
from tracker.linking import association, evidence
from tracker.linking.evidence import EvidenceWeights

Case = tuple[Tracklets, np.ndarray]  # a site's tracklets, and who they are
FITTED = {"cuhk03": 0.5, "market": 0.25, "shifted": 0.5}  # share of people that weights are fitted on


@dataclass(frozen=True)
class Pictures:
    """Row-aligned unit ``rows`` (n, d), ``ids``, ``cameras`` and order in time ``when`` (n,) of a set's pictures."""

    rows: np.ndarray
    ids: np.ndarray
    cameras: np.ndarray
    when: np.ndarray

    def people(self, part: float, fitted: bool, least: int) -> np.ndarray:
        """Those in ``least`` cameras: the ``part`` to fit on, or the others."""
        every = [who for who in np.unique(self.ids[self.ids > 0]).tolist() if len(np.unique(self.cameras[self.ids == who])) >= least]
        drawn = np.random.default_rng(0).permutation(every)
        cut = round(part * len(drawn))
        return drawn[:cut] if fitted else drawn[cut:]

    def of(self, person: int) -> Iterator[np.ndarray]:
        """A person's pictures, a camera after the other, in order."""
        for camera in np.unique(self.cameras[self.ids == person]):
            mine = np.flatnonzero((self.ids == person) & (self.cameras == camera))
            yield mine[np.argsort(self.when[mine], kind="stable")]


SMALL = 400, 4, 60  # people of CUHK03, last picture of each in a camera, people of Market-1501


def some_of(paths: list[Path]) -> list[Path]:
    """The pictures of CUHK03 for slow models."""
    chosen = set(np.random.default_rng(0).permutation(sorted({path.parent.name for path in paths}))[: SMALL[0]].tolist())
    return [path for path in paths if path.parent.name in chosen and int(path.stem[3:]) <= SMALL[1]]


def read(market: Path, cuhk03: Path, embedder: Embedder, cache: Path | None, small: bool = False) -> dict[str, Pictures]:
    sets = {}
    paths = sorted(path for path in cuhk03.rglob("c?_?.jpg"))
    if small:
        paths = some_of(paths)
    ids, cameras = np.array([int(path.parent.name) + 1 for path in paths]), np.array([int(path.name[1]) for path in paths])
    sets["cuhk03"] = Pictures(embedded(embedder, paths, cameras, cache=cache), ids, cameras, np.arange(len(ids)))
    split = read_split(market, "gallery")
    if small:
        known = np.unique(split.ids[split.ids > 0])
        split = split.take(np.flatnonzero(np.isin(split.ids, np.random.default_rng(0).permutation(known)[: SMALL[2]])))
    frame = np.array([int(re.search(r"s(\d)_(\d+)", path.name)[0][1:].replace("_", "")) for path in split.paths])  # type: ignore[index]
    sets["market"] = Pictures(embedded(embedder, split.paths, split.cameras, cache=cache), split.ids, split.cameras, frame)
    rng = np.random.default_rng(0)  # the people of replay.py, so that embeddings serve both
    many = [who for who in np.unique(split.ids[split.ids > 0]).tolist() if len(np.unique(split.cameras[split.ids == who])) >= 4]
    chosen, strangers = rng.permutation(many)[:150], rng.permutation(np.flatnonzero(split.ids == 0))[:200]
    rows = np.concatenate([np.flatnonzero(np.isin(split.ids, chosen)), strangers])
    part = split.take(rows)
    sets["shifted"] = Pictures(embedded(embedder, part.paths, part.cameras, "strong", cache), part.ids, part.cameras, frame[rows])
    return sets


def tracklets(pictures: Pictures, groups: list[np.ndarray], rng: np.random.Generator) -> Case:
    """A tracklet of each group of pictures."""
    pooled = np.stack([pictures.rows[group].sum(0) for group in groups])
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    who, start = np.array([pictures.ids[group[0]] for group in groups]), np.zeros(len(groups))
    for person in np.unique(who):
        mine = rng.permutation(np.flatnonzero(who == person))
        gaps = np.exp(rng.uniform(np.log(5), np.log(600), len(mine)))
        start[mine] = rng.uniform(0, 30 * len(groups)) + np.cumsum(10 + gaps)
    names = np.array([f"c{pictures.cameras[group[0]]}" for group in groups], object)
    return Tracklets(names, np.arange(len(groups)), start, start + 10, pooled.astype(np.float32)), who


def site(pictures: Pictures, people: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> Case:
    """``people``, in tracklets of ``size`` (least, most) pictures."""
    groups: list[np.ndarray] = []
    for person in people.tolist():
        for mine in pictures.of(person):
            groups += np.array_split(mine, max(1, round(len(mine) / int(rng.integers(size[0], size[1] + 1)))))
    return tracklets(pictures, groups, rng)


def staff(pictures: Pictures, people: np.ndarray, rng: np.random.Generator) -> Case:
    """One with a tracklet for each picture, 15 in one or two cameras."""
    first, *others = rng.choice(people, min(16, len(people)), replace=False).tolist()
    groups = [np.array([row]) for mine in pictures.of(first) for row in mine]
    for person in others:
        mine = list(pictures.of(person))
        groups += [mine[at] for at in rng.permutation(len(mine))[: int(rng.integers(1, 3))]]
    return tracklets(pictures, groups, rng)


def collapsed(case: Case, rng: np.random.Generator, shared: float = 1.2, light: float = 0.5) -> Case:
    rows, who = case

    def unit(some: np.ndarray) -> np.ndarray:
        return some / np.linalg.norm(some, axis=-1, keepdims=True)  # type: ignore[no-any-return]

    width = rows.embeddings.shape[1]
    lights = {name: unit(rng.normal(size=width)) for name in sorted(set(rows.cameras.tolist()))}
    own = np.stack([lights[name] for name in rows.cameras.tolist()])
    return replace(rows, embeddings=unit(rows.embeddings + shared * unit(rng.normal(size=width)) + light * own).astype(np.float32)), who


def cases(sets: dict[str, Pictures], fitted: bool, seed: int = 0) -> dict[str, list[Case]]:
    """The sites, of the people to fit on or of the others."""
    rng = np.random.default_rng(seed + 1000 * fitted)
    cuhk03, market, shifted = (sets[name] for name in ("cuhk03", "market", "shifted"))
    people = {name: pictures.people(FITTED[name], fitted, 2 if name == "cuhk03" else 4) for name, pictures in sets.items()}

    def some(name: str, number: int) -> np.ndarray:
        return rng.choice(people[name], min(number, len(people[name])), replace=False)  # type: ignore[no-any-return]

    out = {
        "cuhk03": [site(cuhk03, some("cuhk03", 100), (2, 5), rng) for _ in range(2)],
        "cuhk03 whole": [site(cuhk03, some("cuhk03", 100), (9, 9), rng) for _ in range(2)],
        "market": [site(market, some("market", number), (2, 12), rng) for number in (5, 5, 10, 10, 20, 50)],
        "shifted": [site(shifted, some("shifted", number), (2, 8), rng) for number in (10, 20, 50, 75)],
        "few": [
            site(pictures, some(name, number), (1 + (name != "cuhk03"),) * 2, rng)
            for name, pictures in sets.items()
            for number in (3, 4, 5, 6)
        ],
        "staff": [staff(pictures, people[name], rng) for name, pictures in sets.items() for _ in range(3)],
    }
    return out | {f"{name}, collapsed": [collapsed(case, rng) for case in out[name]] for name in ("cuhk03", "market", "few", "staff")}


# figures


def log_loss(odds: np.ndarray, same: np.ndarray) -> float:
    """Of (m,) log odds of pairs, over the entropy of the share that is the ``same`` (m,)."""
    share = same.mean()
    entropy = -(share * np.log(share) + (1 - share) * np.log(1 - share))
    return float((np.logaddexp(0, odds) - odds * same).mean() / entropy)


def belongs(ids: np.ndarray, who: np.ndarray) -> np.ndarray:
    """(n,) bool: most of the rest of its identity is the same person; of one alone: there is no other tracklet of that person."""
    out = np.zeros(len(ids), bool)
    for row in range(len(ids)):
        rest = np.flatnonzero(ids == ids[row])
        rest = rest[rest != row]
        out[row] = (who[rest] == who[row]).mean() > 0.5 if len(rest) else (who == who[row]).sum() == 1
    return out


def calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = 10) -> float:
    at = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(sum(abs(confidence[at == one].mean() - right[at == one].mean()) * (at == one).mean() for one in np.unique(at)))


def online(rows: Tracklets, settings: AssociationSettings) -> np.ndarray:
    """Identities as the linker leaves them when each tracklet is told at its end."""
    linker, events = Linker(Site(), LinkerSettings(), settings), []
    for at in np.argsort(rows.end, kind="stable").tolist():
        events += linker.advance(float(rows.end[at]))
        start, end = float(rows.start[at]), float(rows.end[at])
        linker.add([TrackletUpdate(str(rows.cameras[at]), int(rows.tracks[at]), start, end, rows.embeddings[at], 2.0)])
    ids = apply_events({}, events + linker.finish())
    return np.array([ids[str(camera), int(track)] for camera, track in zip(rows.cameras, rows.tracks, strict=True)])


def measure(sites: list[Case], settings: AssociationSettings) -> tuple[str, np.ndarray]:
    """A line of figures, means over sites, and (bins, 3) reliability: confidence, share that belongs, tracklets."""
    figures, sure, right, pure = [], [], [], []
    for rows, who in sites:
        found = associate(rows, settings=settings)
        order = np.lexsort((rows.tracks, rows.cameras, rows.end, rows.start))
        pairs, odds = association.log_odds(rows.take(order), Site(), settings)
        same = who[order[pairs[:, 0]]] == who[order[pairs[:, 1]]]
        score, now = pair_scores(found.ids, who), pair_scores(online(rows, settings), who)
        sure.append(found.confidence)
        right.append(belongs(found.ids, who))
        figures.append(
            (score.f1, score.precision, score.recall, now.f1, log_loss(odds, same), calibration_error(found.confidence, right[-1]))
        )
        for one in np.unique(found.ids):
            mine = found.ids == one
            if mine.sum() > 1 and found.confidence[mine].mean() > 0.9:
                pure.append(len(np.unique(who[mine])) == 1)
    f1, precision, recall, live, loss, error = np.mean(figures, axis=0)
    line = f"F1 {f1:.3f} ({precision:.2f} {recall:.2f})  on-line {live:.3f}  log loss {loss:.2f}  ECE {error:.2f}  pure {np.mean(pure):.2f} of {len(pure)}"
    confidence, belong = np.concatenate(sure), np.concatenate(right)
    at = np.minimum((confidence * 10).astype(int), 9)
    return line, np.array([(confidence[at == one].mean(), belong[at == one].mean(), (at == one).sum()) for one in np.unique(at)])


# fitting


def prepared(rows: Tracklets, who: np.ndarray, settings: AssociationSettings) -> tuple[np.ndarray, ...]:
    """Neighbouring pairs, their distances, the cameras of rows, whether pairs are one person, whether of one camera."""
    _, cameras = np.unique(rows.cameras.astype(str), return_inverse=True)
    looks = evidence.centred(rows.embeddings, cameras, settings.expected_matches, settings.weighing)
    pairs = evidence.neighbours(looks, settings.neighbours)
    one = cameras[pairs[:, 0]] == cameras[pairs[:, 1]]
    may = ~((evidence.gaps(rows, pairs) < 0) & one)
    pairs = pairs[may]
    return pairs, evidence.distances(looks, pairs), cameras, who[pairs[:, 0]] == who[pairs[:, 1]], one[may]


def fit(sites: list[Case], settings: AssociationSettings, without: tuple[str, ...] = (), rounds: int = 3) -> EvidenceWeights:
    """Weights by logistic regression, each site's log loss over its entropy counting the same; those of ``without`` are 0.

    The margin and the prior depend on the weights: a few rounds. The weight of the prior is kept: fitted, it feeds on itself.
    """
    weights = settings.weighing
    if "prior" in without:
        weights = weights.changed(prior=0.0)
    tables = [prepared(*case, settings) for case in sites]
    kept = [name for name in ("distance", "rival", "same_camera", "constant") if name not in without]

    def solve(columns: list[np.ndarray], offsets: list[float]) -> np.ndarray:
        scales = []
        for _, _, _, same, _ in tables:
            share = same.mean()
            scales.append(-(share * np.log(share) + (1 - share) * np.log(1 - share)) * len(same))

        def loss(vector: np.ndarray) -> tuple[float, np.ndarray]:
            total, slope = 1e-5 * float(vector @ vector), 2e-5 * vector
            for x, offset, (_, _, _, same, _), scale in zip(columns, offsets, tables, scales, strict=True):
                odds = x @ vector + offset
                total += float((np.logaddexp(0, odds) - odds * same).sum()) / scale / len(tables)
                slope = slope + x.T @ (evidence.probability(odds) - same) / scale / len(tables)
            return total, slope

        return minimize(loss, np.zeros(columns[0].shape[1]), jac=True, method="L-BFGS-B").x  # type: ignore[no-any-return]

    for _ in range(rounds):
        first, second, first_offsets, second_offsets = [], [], [], []
        for pairs, distance, cameras, _, one in tables:
            count, odds = len(cameras), weights.guess(distance)
            prior = evidence.prior_odds(evidence.matches_on_site(odds, count, settings.expected_matches, 1.0), count)
            first.append(np.stack([distance, np.ones(len(distance))], 1))
            first_offsets.append(prior)
            for _ in range(2):
                margin = evidence.rivals(pairs, distance, odds + prior > 0, cameras, np.arange(len(pairs)))
                odds = weights.odds(distance, margin, one)
                matches = evidence.matches_on_site(odds, count, settings.expected_matches, weights.prior)
                prior = weights.prior * evidence.prior_odds(matches, count)
            every = {"distance": distance, "rival": margin, "same_camera": one.astype(float), "constant": np.ones(len(distance))}
            second.append(np.stack([every[name] for name in kept], 1))
            second_offsets.append(prior)
        guess, found = solve(first, first_offsets), solve(second, second_offsets)
        values = dict.fromkeys(("distance", "rival", "same_camera", "constant"), 0.0) | dict(zip(kept, found.tolist(), strict=True))
        weights = weights.changed(**values, first_distance=float(guess[0]), first_constant=float(guess[1]))
    return weights


@contextmanager
def left_out(part: str) -> Iterator[None]:
    """The evidence without a part of it: ``centring`` or ``votes``."""
    centred, votes = evidence.centred, evidence.one_vote_each
    if part == "centring":
        evidence.centred = lambda embeddings, *_: embeddings
    if part == "votes":
        evidence.one_vote_each = lambda embeddings, *_: np.ones(len(embeddings))
    try:
        yield
    finally:
        evidence.centred, evidence.one_vote_each = centred, votes


def report(name: str, sites: dict[str, list[Case]], settings: AssociationSettings, curves: bool = False) -> None:
    print(f"-- {name}", flush=True)
    for what, some in sites.items():
        line, curve = measure(some, settings)
        print(f"{what:18s} {line}", flush=True)
        if curves:
            print(" " * 19 + "  ".join(f"{said:.2f}:{right:.2f} ({int(number)})" for said, right, number in curve), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--market", type=Path, required=True)
    parser.add_argument("--cuhk03", type=Path, required=True)
    parser.add_argument("--cache", type=Path, help="folder in which embeddings are kept")
    parser.add_argument("--reid", default=None)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--ablate", action="store_true")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--without", default="", help="a set that weights are fitted without")
    args = parser.parse_args()
    embedder = Embedder(args.reid)
    sets = read(args.market, args.cuhk03, embedder, args.cache, args.small)
    sites = cases(sets, fitted=False, seed=args.seed)
    settings = calibrated(load_config(sets=args.set).association, reid_facts(embedder))
    if not args.fit:
        report("as it is", sites, settings, curves=not args.ablate)
    if not (args.fit or args.ablate):
        return
    others = {name: some for name, some in cases(sets, fitted=True, seed=args.seed).items() if "collapsed" not in name}
    mine = [case for name, some in others.items() for case in some if not args.without or args.without not in name]

    def again(name: str, measured: AssociationSettings, without: tuple[str, ...] = (), part: str = "") -> None:
        with left_out(part):
            weights = fit(mine, measured, without)
            print(weights.model_dump_json())
            report(name, sites, measured.changed(evidence=weights))

    again("weights fitted anew", settings)
    if args.ablate:
        parts: tuple[tuple[str, Callable[[], None]], ...] = (
            ("without centring", lambda: again("without centring", settings, part="centring")),
            ("one vote a tracklet", lambda: again("one vote a tracklet", settings, part="votes")),
            ("without rivals", lambda: again("without rivals", settings, ("rival",))),
            ("without the site's prior", lambda: again("without the site's prior", settings, ("prior",))),
            ("without the same camera", lambda: again("without the same camera", settings, ("same_camera",))),
            ("without time", lambda: again("without time", settings.changed(time_weight=0.0))),
            ("without neighbours in common", lambda: again("without neighbours in common", settings.changed(shared_weight=0.0))),
        )
        for _, run in parts:
            run()


if __name__ == "__main__":
    main()
