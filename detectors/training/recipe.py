"""The recipe of a detector training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from detectors.runtime.settings import Settings


class Stage(Settings):
    """One training run of ultralytics, from the weights of the stage before."""

    name: str = Field(title="Name", description="Name of the stage and of its folder.")
    frozen_stages: int = Field(
        default=0, ge=0, le=19, title="Frozen layers", description="Number of the backbone's first feature layers that are not trained."
    )
    cosine_by_step: bool = Field(
        default=False, title="Cosine by step", description="Lower the learning rate by a half cosine after each batch, not each epoch."
    )
    ultralytics: dict[str, Any] = Field(
        default_factory=dict, title="ultralytics options", description="Passed to ultralytics' `train` as they are."
    )


class Recipe(Settings):
    """Everything that decides the result of `passerby detector train`, except the data set."""

    model: Path = Field(title="Model", description="ultralytics model (YAML).")
    start: Path | None = Field(
        default=None,
        title="Start",
        description="Exported model (ONNX) of the same architecture whose weights begin the training; without it, the backbone of ImageNet.",
    )
    other_cameras: bool = Field(
        default=False, title="Other cameras", description="Vary grey, colour cast, exposure and sharpness, as cameras differ."
    )
    repeat: dict[str, int] = Field(
        default_factory=dict, title="Repeats", description="How often an epoch shows the images whose names begin with a prefix."
    )
    bf16: bool = Field(
        default=False,
        title="bfloat16",
        description="Train in bfloat16, which halves the time on processors that have it (AVX512-BF16, AMX).",
    )
    threads: int = Field(default=2, ge=1, title="Threads", description="CPU threads.")
    stages: tuple[Stage, ...] = Field(title="Stages", description="Stages, in their order.")
