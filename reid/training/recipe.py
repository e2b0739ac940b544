"""What a training of MPN can be told: the home of its defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Recipe(BaseModel):
    """Everything that decides a training's result."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # the network
    backbone: str = "tf_efficientnet_lite0"
    pretrained: bool = True
    drop_path: float = Field(default=0, ge=0, lt=1, description="stochastic depth: how often the last block is left out")
    last_stride: Literal[1, 2] = 1
    start: Path | None = Field(default=None, description="an fp32 bundle of the same backbone and parts to start from")
    start_network: int = Field(
        default=0, ge=0, description="which one, counted from 0, of the networks that start's bundle holds side by side"
    )
    parts: int = Field(default=4, ge=1)
    part_width: int = Field(default=256, ge=1)
    part_dim: int = Field(default=128, ge=1)
    neck: bool = Field(default=False, description="BNNeck: a batch norm between features and classifiers, also in inference")
    attention: bool = Field(default=False, description="channel attention on each part's map")
    auxiliary: bool = Field(default=True, description="auxiliary tasks; without them the parts are K heads that see everything")
    shared: bool = Field(default=True, description="main and auxiliary tasks share their convolutions")
    # the pictures
    height: int = Field(default=128, ge=32)
    width: int = Field(default=64, ge=16)
    prior: Literal["stripes", "body", "mask"] = Field(default="stripes", description="body and mask need passerby reid priors")
    flip: float = Field(default=0.5, ge=0, le=1)
    pad: int = Field(default=5, ge=0)
    erase: float = Field(default=0.5, ge=0, le=1)
    jitter: float = Field(default=0.2, ge=0, lt=1)
    zoom: float = Field(default=0, ge=0, le=1, description="pictures are shown up to this share larger or smaller")
    gray: float = Field(default=0, ge=0, le=1, description="share of pictures without colour")
    recoloured: float = Field(default=0, ge=0, le=1, description="share of identities whose colour channels swap, as new identities")
    people: int | None = Field(default=None, ge=2, description="train on so many identities only, to learn what more of them are worth")
    held_out_ids: int = Field(default=75, ge=2)
    held_out_seed: int = Field(default=0, ge=0)
    # the losses
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    margin: float = Field(default=0.4, ge=0)
    alignment: float = Field(default=1.0, ge=0)
    teacher: Path | None = Field(default=None, description="a bundle to imitate: the embedding, turned, is to point where its points")
    imitation: float = Field(default=10.0, ge=0, description="weight of the cosine distance to the teacher's embeddings")
    triplet: float = Field(default=1.0, ge=0, description="weight of the triplet loss; each part's two cross entropies weigh 1")
    # the way
    batch_ids: int = Field(default=16, ge=2)
    batch_images: int = Field(default=4, ge=2)
    neighbours: int = Field(
        default=0, ge=0, description="so many of a batch's identities are those most alike its first, by the classifiers"
    )
    epochs: int = Field(default=15, ge=1)
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        default="adamw", description="adam: weight decay within the gradient, as in Luo et al. (2019); sgd: Nesterov, momentum 0.9"
    )
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    schedule: Literal["cosine", "step"] = "cosine"
    step_epochs: int = Field(default=20, ge=1, description="schedule step: a tenth of the learning rate after so many, again and again")
    warmup_epochs: float = Field(default=1.0, ge=0)
    backbone_rate: float = Field(default=1, gt=0, description="the backbone's learning rate as a share of the head's")
    frozen_stages: int = Field(default=0, ge=0, description="the backbone's first stages, with its stem, that are not trained")
    ema: float = Field(default=0.998, ge=0, lt=1)
    precision: Literal["fp32", "bf16"] = "fp32"
    compiled: bool = Field(default=False, description="the backbone's training step compiled by torch.compile; needs a C++ compiler")
    threads: int = Field(default=2, ge=1)
    seed: int = Field(default=0, ge=0)
