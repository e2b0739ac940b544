"""The site: links between cameras with travel times, and overlapping views. Everything in it is optional."""

from __future__ import annotations

import math
from typing import Annotated, Self

import numpy as np
from pydantic import Field, model_validator

from detectors.runtime.settings import Frames, Seconds, Settings

Row = tuple[float, float, float]
Coordinate = Annotated[float, Field(ge=-32768, le=32768)]
Point = tuple[Coordinate, Coordinate]
Polygon = Annotated[tuple[Point, ...], Field(min_length=3)]
PlaceName = Annotated[str, Field(pattern=r"^\w[\w .-]{0,99}$")]


class Zone(Settings):
    """An area of a camera's image whose visits are recorded: a person is in it while their feet are.

    Zones of the same name in several cameras are one zone of the site.
    """

    polygon: Polygon = Field(title="Polygon", description="Corners in px.")
    min_stay: Seconds = Field(default=0.0, ge=0, title="Minimum stay", description="Shorter stays are not counted.")
    max_gap: Seconds = Field(default=1.0, ge=0, title="Maximum gap", description="A person who is back within this time has not left.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if max(x for x, _ in self.polygon) < 1 or max(y for _, y in self.polygon) < 1:
            raise ValueError("the polygon lies outside the image; coordinates are in px from its upper left corner")
        return self


class Line(Settings):
    """A line in a camera's image whose crossings are counted, by people's feet.

    Seen along the arrow from `start` to `end`, `in` leads from its right side to its left side. Who walks around an end does not cross it.
    """

    start: Point = Field(title="Start", description="One end: x px, y px.")
    end: Point = Field(title="End", description="The other end: x px, y px.")
    min_frames: Frames = Field(
        default=2,
        ge=1,
        title="Minimum frames",
        description="A crossing counts when the person is seen beyond the line in this many frames.",
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.start == self.end:
            raise ValueError("start and end must not be the same point")
        return self


class CameraPlace(Settings):
    """Where one camera is and what it covers. Give the ground plane as `ground` or as `points`, not both."""

    offset: Seconds = Field(default=0.0, title="Clock offset", description="Add this to the camera's times, so that all clocks agree.")
    ground: tuple[Row, Row, Row] | None = Field(
        default=None, title="Ground homography", description="3 x 3 matrix from image px to metres on the floor, by rows."
    )
    points: tuple[tuple[float, float, float, float], ...] = Field(
        default=(),
        title="Ground points",
        description="At least four points on the floor, not on one line: x px, y px, x m, y m. The homography follows from them.",
    )
    only: tuple[Polygon, ...] = Field(
        default=(),
        title="Areas to keep",
        description="Polygons, in px or in shares of the image (0..1): drop people whose feet are in none of them.",
    )
    ignore: tuple[Polygon, ...] = Field(
        default=(),
        title="Areas to ignore",
        description="Polygons, as above: drop people whose feet are in one of them (a screen, a poster).",
    )
    zones: dict[PlaceName, Zone] = Field(default={}, title="Zones", description="Areas whose visits are recorded, by name.")
    lines: dict[PlaceName, Line] = Field(default={}, title="Lines", description="Lines whose crossings are counted, by name.")

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
        for name, polygons in (("only", self.only), ("ignore", self.ignore)):
            for at, polygon in enumerate(polygons):
                values = [value for point in polygon for value in point]
                if max(values) < 2 and not all(0 <= value <= 1 for value in values):
                    raise ValueError(f"{name}.{at}: shares of the picture are all between 0 and 1, and px span more than {max(values):g}")
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


class Link(Settings):
    """A way from camera `start` to camera `end`, with its travel time. Leave out what is not known of it."""

    start: str = Field(title="Start", description="Camera that people leave.")
    end: str = Field(title="End", description="Camera that they enter next.")
    min_time: Seconds = Field(default=0.0, ge=0, title="Minimum travel time", description="Nobody makes the way faster than this.")
    typical_time: Seconds | None = Field(default=None, gt=0, title="Typical travel time", description="Most likely travel time.")
    max_time: Seconds | None = Field(
        default=None,
        gt=0,
        title="Maximum travel time",
        description="Slower people took another way. Default: three times `typical_time`, if that is known.",
    )
    both_ways: bool = Field(default=True, title="Both ways", description="The way leads from `end` to `start` as well.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        known = [(name, value) for name in ("min_time", "typical_time", "max_time") if (value := getattr(self, name)) is not None]
        if known != sorted(known, key=lambda item: item[1]) or self.max_time == self.min_time:
            names, values = " <= ".join(name for name, _ in known), ", ".join(f"{value:g}" for _, value in known)
            raise ValueError(f"{names} must hold, and max_time be longer than min_time, not {values}")
        return self

    @property
    def slowest(self) -> float | None:
        """``max_time``, or what stands for it; None if nothing is known of how long the way takes."""
        return 3 * self.typical_time if self.max_time is None and self.typical_time is not None else self.max_time


class Site(Settings):
    """The cameras of a site, the ways between them, and which views overlap. Everything is optional.

    A person can be in two cameras at once if a group of `overlaps` holds both. Without `overlaps`, also in any two cameras that no
    link joins.
    """

    cameras: dict[str, CameraPlace] = Field(default={}, title="Cameras", description="Place and areas of each camera, by its name.")
    links: tuple[Link, ...] = Field(default=(), title="Links", description="Ways between cameras.")
    overlaps: tuple[Annotated[tuple[str, ...], Field(min_length=2)], ...] | None = Field(
        default=None,
        title="Overlapping views",
        description="Groups of cameras that see some of the same floor. []: none do. Leave it out if it is not known.",
    )

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
        ways = [link.min_time for link in (self.link(a, b), self.link(b, a)) if link is not None and a != b]
        return min(ways, default=0.0)

    def link(self, start: str, end: str) -> Link | None:
        """The link from ``start`` to ``end``, or None."""
        for link in self.links:
            if (link.start, link.end) == (start, end) or (link.both_ways and (link.end, link.start) == (start, end)):
                return link
        return None
