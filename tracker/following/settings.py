"""What the tracker can be told: the home of its defaults."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal


def not_negative(settings: object, *names: str) -> None:
    """Raise ValueError for the first of ``names`` that is negative or not a number."""
    for name in names:
        if not getattr(settings, name) >= 0:
            raise ValueError(f"{name} must not be negative, is {getattr(settings, name)}")


def over_zero(settings: object, *names: str) -> None:
    """Raise ValueError for the first of ``names`` that is not over zero."""
    for name in names:
        if not getattr(settings, name) > 0:
            raise ValueError(f"{name} must be over 0, is {getattr(settings, name)}")


@dataclass(frozen=True)
class TrackerSettings:
    """Settings of ``DeepSort``. Times are in seconds, lengths in heights of the person, costs in nats (natural log units).

    Scores: detections at or over ``high`` are confident; those from ``low`` on may only continue a track (ByteTrack, ECCV
    2022), by an overlap of ``low_iou``; a track begins at ``new`` and is confirmed by its second detection, which must
    overlap by ``tentative_iou``.
    Motion: a pair of track and detection costs the negative log likelihood of the detection's place and height under the
    track's prediction, and ``score_weight`` times (1 - score); pairs over ``match_limit`` are not made. Noises are those of
    ``tracker.following.kalman``, the likelihood is Student's with ``tail`` degrees of freedom; vertical speeds are ``vertical`` and
    changes of size ``growth`` times as fast as sideways ones.
    Appearance: where it decides, a pair costs ``appearance`` * (distance / gate - 1) more, between ``-appearance_for`` and
    ``appearance_against``; of a person less than ``visible_least`` uncovered it says nothing. ``gate``: cosine distance that
    speaks neither for nor against (None: the one calibrated for the re-ID model, or 0.45 where there is none); ``gallery``
    embeddings a track, of which the ``similarity`` takes the ``nearest`` (DeepSORT) or the running ``mean`` with ``momentum``
    (StrongSORT); an easy track is embedded again after ``refresh``; no embedding is kept of a person less than
    ``visible`` uncovered; ``on_demand`` False embeds every confident detection.
    Life: a track that is not seen is kept for ``keep``. Out of its motion's reach it is found again where appearance, place and
    size together give log odds over ``join``: within ``reach`` plus ``reach_per_second`` (standard deviations) of where it was
    seen last, and neither end within ``edge`` of the edge of where anybody was ever seen, since who ends there has left.
    """

    high: float = 0.6
    low: float = 0.1
    new: float = 0.7
    low_iou: float = 0.5
    tentative_iou: float = 0.3
    match_limit: float = -4.0
    score_weight: float = 0.5
    tail: float = 3.0
    measurement_noise: float = 0.06
    position_noise: float = 0.05
    velocity_noise: float = 0.2
    initial_velocity: float = 0.4
    vertical: float = 0.5
    growth: float = 0.25
    gate: float | None = None
    appearance: float = 6.0
    appearance_for: float = 3.0
    appearance_against: float = 4.0
    gallery: int = 20
    similarity: Literal["nearest", "mean"] = "mean"
    momentum: float = 0.9
    refresh: float = 0.3
    visible: float = 0.6
    visible_least: float = 0.3
    on_demand: bool = True
    keep: float = 10.0
    edge: float = 0.2
    join: float = 2.0
    reach: float = 0.3
    reach_per_second: float = 0.6

    def __post_init__(self) -> None:
        for name in ("high", "low", "new", "low_iou", "tentative_iou", "visible", "visible_least", "momentum"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)}")
        not_negative(self, *(field.name for field in fields(self) if field.name not in ("gate", "match_limit", "similarity")))
        if self.gate is not None and not 0 <= self.gate <= 2:
            raise ValueError(f"gate must be a cosine distance in 0..2, not {self.gate}")
        over_zero(self, "tail")
        if self.visible_least >= 1:
            raise ValueError(f"visible_least must be under 1, is {self.visible_least}")
        if self.similarity not in ("nearest", "mean"):
            raise ValueError(f"similarity must be nearest or mean, not {self.similarity!r}")
        if self.gallery < 1:
            raise ValueError(f"gallery must be at least 1, is {self.gallery}")
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not be over high ({self.high})")
