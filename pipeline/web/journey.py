"""A person's way over the cameras of the site, as a drawing: cameras where the site file puts them, or on a circle."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pipeline.store import Sighting
from tracker import Site

SIZE, MARGIN = (640.0, 360.0), 60.0


@dataclass(frozen=True)
class Node:
    """A camera at ``x``, ``y``; ``visits``: sightings of the person there."""

    name: str
    x: float
    y: float
    visits: int


@dataclass(frozen=True)
class Edge:
    """``count`` times the person came from one camera to another; a line from ``x1``, ``y1`` to ``x2``, ``y2``."""

    x1: float
    y1: float
    x2: float
    y2: float
    count: int
    start: str
    end: str


@dataclass(frozen=True)
class Journey:
    """``placed``: whether the cameras are where the site file puts them."""

    nodes: list[Node]
    edges: list[Edge]
    placed: bool


def steps(sightings: Sequence[Sighting]) -> Counter[tuple[str, str]]:
    """How often a person came from one camera to the next, by start; a camera that saw them meanwhile is no step."""
    out: Counter[tuple[str, str]] = Counter()
    ordered = sorted(sightings, key=lambda one: (one.start, one.id))
    for before, after in pairwise(ordered):
        if before.camera != after.camera:
            out[before.camera, after.camera] += 1
    return out


def places(site: Site, names: Sequence[str]) -> tuple[dict[str, tuple[float, float]], bool]:
    """Where to draw each camera, and whether that is where it is: at the middle of its ground points, if every camera has some."""
    ground = {name: place.points for name in names if (place := site.cameras.get(name)) is not None and place.points}
    if len(ground) == len(names) and names:
        metres = np.array([np.mean([point[2:] for point in ground[name]], axis=0) for name in names])
        low, size = metres.min(0), np.maximum(np.ptp(metres, axis=0), 1e-6)
        if len({tuple(row) for row in metres.round(2).tolist()}) == len(names):
            area = np.array(SIZE) - 2 * MARGIN
            scaled = MARGIN + (metres - low) * min(area / size) + (area - size * min(area / size)) / 2
            return {name: (float(x), float(y)) for name, (x, y) in zip(names, scaled.tolist(), strict=True)}, True
    centre, radius = (SIZE[0] / 2, SIZE[1] / 2), SIZE[1] / 2 - MARGIN
    turn = 2 * math.pi / max(len(names), 1)
    wide = (SIZE[0] - 2 * MARGIN - 60) / 2
    if len(names) == 1:
        return {names[0]: centre}, False
    return {
        name: (centre[0] + wide * math.cos(at * turn - math.pi), centre[1] + radius * math.sin(at * turn - math.pi))
        for at, name in enumerate(names)
    }, False


def journey(site: Site, sightings: Sequence[Sighting]) -> Journey:
    """The cameras of ``sightings`` and the ways between them."""
    visits = Counter(one.camera for one in sightings)
    where, placed = places(site, sorted(visits))
    nodes = [Node(name, *where[name], count) for name, count in sorted(visits.items())]
    edges = []
    for (start, end), count in sorted(steps(sightings).items()):
        a, b = np.array(where[start]), np.array(where[end])
        way = b - a
        long = max(float(np.linalg.norm(way)), 1e-6)
        unit, side = way / long, np.array([-way[1], way[0]]) / long
        a, b = a + unit * 30 + side * 5, b - unit * 34 + side * 5
        (x1, y1), (x2, y2) = a.round(1).tolist(), b.round(1).tolist()
        edges.append(Edge(x1, y1, x2, y2, count, start, end))
    return Journey(nodes, edges, placed)
