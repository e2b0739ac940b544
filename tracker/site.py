"""The site: links between cameras with travel times, and overlapping views. Everything in it is optional."""

from __future__ import annotations

import math
from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

Row = tuple[float, float, float]
Polygon = Annotated[tuple[tuple[float, float], ...], Field(min_length=3)]


class CameraPlace(BaseModel):
    """A camera: ``offset`` seconds to add to its times so that all cameras' agree; ``ground``: image px to metres on the floor.

    The homography is given as three rows, or follows from at least four ``points`` ((x px, y px, x m, y m), clicked on the floor).
    Polygons in px: people whose feet are outside of ``only`` or within ``ignore`` (where nobody can be: a screen, a poster) do not count.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    offset: float = 0.0
    ground: tuple[Row, Row, Row] | None = None
    points: tuple[tuple[float, float, float, float], ...] = ()
    only: tuple[Polygon, ...] = ()
    ignore: tuple[Polygon, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.points and self.ground:
            raise ValueError("give either ground or points, not both")
        if self.points:
            if len(self.points) < 4:
                raise ValueError(f"points needs at least four points on the floor, has {len(self.points)}")
            if np.linalg.matrix_rank(_equations(self.points), tol=1e-6) < 8:
                raise ValueError("points must not lie on one line")
        if self.ground and abs(np.linalg.det(np.array(self.ground))) < 1e-12:
            raise ValueError("ground is not invertible")
        return self

    def homography(self) -> np.ndarray | None:
        """(3, 3) homography from image px to metres, or None; from ``points`` by least squares (direct linear transform)."""
        if self.ground:
            return np.array(self.ground)
        if not self.points:
            return None
        return np.linalg.svd(_equations(self.points))[2][-1].reshape(3, 3)


def _equations(points: tuple[tuple[float, float, float, float], ...]) -> np.ndarray:
    rows = []
    for x, y, X, Y in points:
        rows += [[x, y, 1, 0, 0, 0, -X * x, -X * y, -X], [0, 0, 0, x, y, 1, -Y * x, -Y * y, -Y]]
    return np.array(rows, float)


class Link(BaseModel):
    """``start`` leads to ``end``: people come out of the one and into the other after ``least`` to ``most`` seconds.

    Without ``typical`` and ``most`` it is not known how long the way takes, only that it takes ``least``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    start: str
    end: str
    least: float = Field(default=0.0, ge=0)
    typical: float | None = Field(default=None, gt=0)
    most: float | None = Field(default=None, gt=0)
    both_ways: bool = True

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.typical is None) != (self.most is None):
            raise ValueError("give both typical and most, or neither where the time is not known")
        if self.typical is not None and self.most is not None and not (self.least <= self.typical <= self.most and self.least < self.most):
            raise ValueError(f"least <= typical <= most must hold, not {self.least}, {self.typical}, {self.most}")
        return self


class Site(BaseModel):
    """Cameras, ``links`` and ``overlaps`` (groups of cameras that see some of the same floor).

    A person may be seen by two cameras at once if a group of ``overlaps`` has both; where ``overlaps`` is None, that is not
    known, also by any two that no link joins: a way that takes time leads out of one view into another.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    cameras: dict[str, CameraPlace] = {}
    links: tuple[Link, ...] = ()
    overlaps: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] | None = None

    @model_validator(mode="after")
    def _names(self) -> Self:
        if self.cameras:
            for where, name in [
                *((f"links.{at}", name) for at, link in enumerate(self.links) for name in (link.start, link.end)),
                *((f"overlaps.{at}", name) for at, group in enumerate(self.overlaps or ()) for name in group),
            ]:
                if name not in self.cameras:
                    raise ValueError(f"{where}: no camera {name!r}; there are {', '.join(self.cameras)}")
        return self

    def may_overlap(self, a: str, b: str) -> bool:
        """Whether both cameras may see a person at the same time."""
        if a == b:
            return False
        if self.overlaps is None:
            return self.link(a, b) is None and self.link(b, a) is None
        return any(a in group and b in group for group in self.overlaps)

    def wait(self, a: str, b: str) -> float:
        """Minimum time in seconds between a person's appearances in two cameras; -inf if both may see them at the same time."""
        if self.may_overlap(a, b):
            return -math.inf
        ways = [link.least for link in (self.link(a, b), self.link(b, a)) if link is not None and a != b]
        return min(ways, default=0.0)

    def link(self, start: str, end: str) -> Link | None:
        for link in self.links:
            if (link.start, link.end) == (start, end) or (link.both_ways and (link.end, link.start) == (start, end)):
                return link
        return None
