"""What the tracker can be told: the home of its defaults."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class TrackerSettings:
    """Settings of ``DeepSort``. Times are in seconds, lengths in box sizes, similarities as cosine distances (0 same, 1 unrelated).

    Scores: detections at or over ``high`` are confident; those from ``low`` on may only continue a track (ByteTrack, ECCV
    2022); a track begins at ``new`` and is confirmed by its second detection.
    Life: a track that is not seen is kept for ``keep`` seconds.
    Appearance: pairs over ``gate`` cosine distance never match by appearance (None: the gate calibrated for the re-ID model,
    or 0.45 where there is none); ``gallery`` embeddings a track; an easy track is embedded again after ``refresh`` seconds;
    no embedding is kept of a detection less than ``visible`` uncovered; ``on_demand`` False embeds every confident detection.
    Motion: ``reach`` and ``reach_per_second`` bound how far (in box sizes) a track may be found from where it was predicted.
    """

    high: float = 0.6
    low: float = 0.1
    new: float = 0.7
    keep: float = 3.0
    gate: float | None = None
    gallery: int = 20
    refresh: float = 0.5
    visible: float = 0.6
    on_demand: bool = True
    reach: float = 1.0
    reach_per_second: float = 1.5
    match_cost: float = 0.8
    low_iou: float = 0.5
    tentative_iou: float = 0.3
    measurement_noise: float = 0.1
    position_noise: float = 0.15
    velocity_noise: float = 0.3
    initial_velocity: float = 1.0

    def __post_init__(self) -> None:
        for name in ("high", "low", "new", "visible", "match_cost", "low_iou", "tentative_iou"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be in 0..1, not {getattr(self, name)}")
        for name in (
            "keep",
            "refresh",
            "reach",
            "reach_per_second",
            "measurement_noise",
            "position_noise",
            "velocity_noise",
            "initial_velocity",
        ):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, is {getattr(self, name)}")
        if self.gate is not None and not 0 <= self.gate <= 2:
            raise ValueError(f"gate must be a cosine distance in 0..2, not {self.gate}")
        if self.gallery < 1:
            raise ValueError(f"gallery must be at least 1, is {self.gallery}")
        if self.low > self.high:
            raise ValueError(f"low ({self.low}) must not be over high ({self.high})")
