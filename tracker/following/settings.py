"""Settings of ``DeepSort``."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from detectors.runtime.settings import CosineDistance, Heights, Nats, Seconds, Settings, Share


class TrackerSettings(Settings):
    """The tracker of one camera: DeepSORT with ByteTrack's low-score stage and StrongSORT's EMA embeddings.

    - Lengths are in heights of the person, times in seconds. Costs are negative log likelihoods in nats; motion and appearance costs add up.
    - A detection of at least `high_threshold` is confident and is matched by motion and appearance. One between `low_threshold` and
      `high_threshold` can only continue a track, by IoU.
    - A detection of at least `new_track_threshold` that matches no track starts a tentative track. The next detection confirms it.
    - A track without a detection is lost. It is kept for `max_lost` seconds and is recovered by appearance and place.
    """

    high_threshold: Share = Field(
        default=0.6, title="High score threshold", description="Minimum score of a confident detection. ByteTrack: `track_high_thresh`."
    )
    low_threshold: Share = Field(
        default=0.1,
        title="Low score threshold",
        description="Minimum score of a detection that can continue a track. ByteTrack: `track_low_thresh`.",
    )
    new_track_threshold: Share = Field(
        default=0.7, title="New track threshold", description="Minimum score to start a track. ByteTrack: `new_track_thresh`."
    )
    low_iou: Share = Field(
        default=0.5, title="Low-score IoU", description="Minimum IoU of a low-score detection with the predicted box of a track."
    )
    tentative_iou: Share = Field(
        default=0.3,
        title="Tentative IoU",
        description="Minimum IoU, times the score, of a confident detection with the predicted box of a tentative track.",
    )
    match_limit: Nats = Field(
        default=-4.0, title="Match limit", description="Maximum cost of a match between a track and a confident detection."
    )
    score_weight: Nats = Field(
        default=0.5, ge=0, title="Score weight", description="Added cost of a match with a detection: this times (1 - score)."
    )
    degrees_of_freedom: float = Field(
        default=3.0,
        gt=0,
        title="Degrees of freedom",
        description="Of the Student's t likelihood of a detection's position; higher values are closer to a Gaussian and less tolerant of outliers.",
    )
    measurement_noise: Heights = Field(
        default=0.06, ge=0, title="Measurement noise", description="Kalman filter: standard deviation of a detected box's centre and size."
    )
    position_noise: Annotated[float, Field(json_schema_extra={"unit": "person heights per √s"})] = Field(
        default=0.05, ge=0, title="Position noise", description="Kalman filter: process noise of position and size."
    )
    velocity_noise: Annotated[float, Field(json_schema_extra={"unit": "person heights per s per √s"})] = Field(
        default=0.2, ge=0, title="Velocity noise", description="Kalman filter: process noise of the velocity."
    )
    initial_velocity: Annotated[float, Field(json_schema_extra={"unit": "person heights per s"})] = Field(
        default=0.4, ge=0, title="Initial velocity", description="Kalman filter: standard deviation of a new track's velocity."
    )
    vertical_scale: float = Field(
        default=0.5, ge=0, title="Vertical scale", description="Vertical velocity noise, as a share of the horizontal one."
    )
    size_scale: float = Field(
        default=0.25, ge=0, title="Size scale", description="Velocity noise of width and height, as a share of the horizontal one."
    )
    gate: CosineDistance | None = Field(
        default=None,
        title="Appearance gate",
        description="Cosine distance at which appearance speaks neither for nor against a match. Default: calibrated with the re-ID model, or "
        "0.45 without a calibration. 0: ignore appearance.",
    )
    appearance_weight: Nats = Field(
        default=6.0, ge=0, title="Appearance weight", description="Appearance cost: this times (distance / gate - 1)."
    )
    max_appearance_gain: Nats = Field(
        default=3.0, ge=0, title="Maximum appearance gain", description="Limit on how far appearance can lower the cost of a match."
    )
    max_appearance_cost: Nats = Field(
        default=4.0, ge=0, title="Maximum appearance cost", description="Limit on how far appearance can raise the cost of a match."
    )
    gallery_size: Annotated[int, Field(json_schema_extra={"unit": "embeddings"})] = Field(
        default=20, ge=1, title="Gallery size", description="Embeddings kept per track. DeepSORT: `nn_budget`."
    )
    similarity: Literal["nearest", "ema"] = Field(
        default="ema",
        title="Similarity",
        description="Compare with the `nearest` embedding in the gallery (DeepSORT), or with their exponential moving average, `ema` "
        "(StrongSORT).",
    )
    ema_momentum: Share = Field(
        default=0.9, title="EMA momentum", description="Share of the old average in a track's EMA embedding. StrongSORT: `ema_alpha`."
    )
    refresh_interval: Seconds = Field(
        default=0.3,
        ge=0,
        title="Refresh interval",
        description="Embed a track that motion alone identifies once per interval; embed others in every frame.",
    )
    min_gallery_visibility: Share = Field(
        default=0.6, title="Minimum gallery visibility", description="Minimum uncovered share of a box whose embedding enters the gallery."
    )
    min_appearance_visibility: float = Field(
        default=0.3,
        ge=0,
        lt=1,
        title="Minimum appearance visibility",
        description="Uncovered share of a box up to which its appearance does not count; its weight grows linearly from there.",
    )
    on_demand: bool = Field(
        default=True,
        title="Embed on demand",
        description="Embed only detections whose match motion leaves open. `false`: all confident ones.",
    )
    max_lost: Seconds = Field(
        default=10.0, ge=0, title="Maximum lost time", description="Delete a track after this time without a detection."
    )
    edge_margin: Heights = Field(
        default=0.2,
        ge=0,
        title="Edge margin",
        description="Recover no track that was lost, and no person who appears, within this distance of the edge of the scene (where "
        "anybody was ever seen): people leave and enter there.",
    )
    join_threshold: Nats = Field(
        default=2.0, ge=0, title="Join threshold", description="Minimum log odds of appearance, place and size to recover a lost track."
    )
    reach: Heights = Field(
        default=0.3, ge=0, title="Reach", description="Standard deviation of where a lost person reappears, right after they were lost."
    )
    reach_per_second: Annotated[float, Field(json_schema_extra={"unit": "person heights per s"})] = Field(
        default=0.6, ge=0, title="Reach per second", description="Growth of that standard deviation with the time lost."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.low_threshold > self.high_threshold:
            raise ValueError(f"low_threshold ({self.low_threshold}) must not be over high_threshold ({self.high_threshold})")
        return self
