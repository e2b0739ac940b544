"""The recipes of a re-ID training and of a distillation."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from detectors.runtime.settings import Pixels, Settings, Share
from reid.training.jitter import Jitter

Epochs = Annotated[float, Field(json_schema_extra={"unit": "epochs"})]
Dimensions = Annotated[int, Field(json_schema_extra={"unit": "dimensions"})]


class Recipe(Settings):
    """Everything that decides the result of `passerby reid train`, except the data set."""

    # network
    backbone: str = Field(default="tf_efficientnet_lite0", title="Backbone", description="Name of a timm model.")
    pretrained: bool = Field(default=True, title="Pretrained", description="Start from ImageNet weights.")
    drop_path: float = Field(default=0, ge=0, lt=1, title="Drop path", description="Stochastic depth: drop rate of the last block.")
    last_stride: Literal[1, 2] = Field(default=1, title="Last stride", description="Stride of the backbone's last stage.")
    start: Path | None = Field(
        default=None, title="Warm start", description="FP32 bundle of the same backbone and parts whose weights the training starts from."
    )
    start_network: int = Field(
        default=0, ge=0, title="Warm-start network", description="Which network of a bundle that holds several, counted from 0."
    )
    parts: int = Field(default=4, ge=1, title="Parts", description="Number of body parts with a head of their own.")
    part_width: Dimensions = Field(default=256, ge=1, title="Part width", description="Channels of a part's convolutions.")
    part_dim: Dimensions = Field(default=128, ge=1, title="Part dimension", description="Embedding dimensions per part.")
    neck: bool = Field(
        default=False, title="BNNeck", description="Batch norm between features and classifiers, applied at inference as well."
    )
    attention: bool = Field(default=False, title="Attention", description="Channel attention on the map of each part.")
    auxiliary: bool = Field(
        default=True, title="Auxiliary tasks", description="Train the auxiliary tasks. `false`: the parts are heads on the whole map."
    )
    shared: bool = Field(default=True, title="Shared convolutions", description="Main and auxiliary tasks share their convolutions.")
    # images and augmentation
    height: Pixels = Field(default=128, ge=32, title="Height", description="Height of the input.")
    width: Pixels = Field(default=64, ge=16, title="Width", description="Width of the input.")
    prior: Literal["stripes", "body", "mask"] = Field(
        default="stripes", title="Part prior", description="Where the parts are. `body` and `mask` need `passerby reid priors`."
    )
    flip: Share = Field(default=0.5, title="Flip", description="Probability of a horizontal flip.")
    pad: Pixels = Field(default=5, ge=0, title="Pad", description="Padding before a random crop.")
    erase: Share = Field(default=0.5, title="Random erasing", description="Probability of random erasing.")
    jitter: float = Field(default=0.2, ge=0, lt=1, title="Jitter", description="Strength of brightness and contrast jitter.")
    zoom: Share = Field(default=0, title="Zoom", description="Scale images up or down by up to this share.")
    gray: Share = Field(default=0, title="Greyscale", description="Probability of an image without colour.")
    recoloured: Share = Field(
        default=0, title="Recoloured identities", description="Share of identities with swapped colour channels, as new identities."
    )
    people: int | None = Field(default=None, ge=2, title="Identities", description="Number of identities to train on. Default: all.")
    held_out_ids: int = Field(
        default=75, ge=2, title="Held-out identities", description="Number of identities kept out of training, to validate on."
    )
    held_out_seed: int = Field(default=0, ge=0, title="Held-out seed", description="Seed of that choice.")
    # losses
    label_smoothing: float = Field(default=0.1, ge=0, lt=1, title="Label smoothing", description="Of the cross entropies.")
    margin: float = Field(default=0.4, ge=0, title="Triplet margin", description="Margin of the batch-hard triplet loss.")
    alignment: float = Field(default=1.0, ge=0, title="Alignment weight", description="Weight of the loss that aligns class centres.")
    teacher: Path | None = Field(default=None, title="Teacher", description="Bundle to distil: imitate its embeddings, up to a rotation.")
    imitation: float = Field(default=10.0, ge=0, title="Imitation weight", description="Weight of the cosine distance to the teacher.")
    triplet: float = Field(
        default=1.0, ge=0, title="Triplet weight", description="Weight of the triplet loss; the cross entropies of each part weigh 1."
    )
    # optimisation
    batch_ids: int = Field(default=16, ge=2, title="Identities per batch", description="P of the P x K sampler.")
    batch_images: int = Field(default=4, ge=2, title="Images per identity", description="K of the P x K sampler.")
    neighbours: int = Field(
        default=0,
        ge=0,
        title="Hard identities",
        description="Number of identities in a batch that are nearest to its first one, by the classifiers (graph sampling).",
    )
    epochs: Annotated[int, Field(json_schema_extra={"unit": "epochs"})] = Field(
        default=15, ge=1, title="Epochs", description="Length of the training."
    )
    optimizer: Literal["adamw", "adam", "sgd"] = Field(
        default="adamw",
        title="Optimizer",
        description="`adam` adds the weight decay to the gradient; `sgd` is Nesterov's, with momentum 0.9.",
    )
    learning_rate: float = Field(default=1e-3, gt=0, title="Learning rate", description="Of the head, after the warm-up.")
    weight_decay: float = Field(default=0.02, ge=0, title="Weight decay", description="Not applied to norms and biases.")
    schedule: Literal["cosine", "step"] = Field(default="cosine", title="Schedule", description="Of the learning rate, after the warm-up.")
    step_epochs: Annotated[int, Field(json_schema_extra={"unit": "epochs"})] = Field(
        default=20, ge=1, title="Step epochs", description="Schedule `step`: divide the learning rate by ten each time these have passed."
    )
    warmup_epochs: Epochs = Field(default=1.0, ge=0, title="Warm-up", description="Raise the learning rate linearly over this.")
    backbone_rate: float = Field(
        default=1, gt=0, title="Backbone rate", description="Learning rate of the backbone, as a share of the head's."
    )
    frozen_stages: int = Field(
        default=0, ge=0, title="Frozen stages", description="Number of stages that are not trained, with the stem, counted from the input."
    )
    ema: float = Field(default=0.998, ge=0, lt=1, title="EMA decay", description="Decay of the moving average of the weights, per step.")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", title="Precision", description="Of the forward pass in training.")
    compiled: bool = Field(default=False, title="Compiled", description="Compile the backbone with `torch.compile`; needs a C++ compiler.")
    threads: int = Field(default=2, ge=1, title="Threads", description="CPU threads.")
    seed: int = Field(default=0, ge=0, title="Seed", description="Seed of the training.")


class DistilRecipe(Settings):
    """Everything that decides the result of `passerby reid distil`, except the images and the teacher."""

    # network
    backbone: str = Field(default="mobilenetv2_100", title="Backbone", description="Name of a timm model.")
    pretrained: bool = Field(default=True, title="Pretrained", description="Start from ImageNet weights.")
    last_stride: Literal[1, 2] = Field(default=1, title="Last stride", description="Stride of the backbone's last stage.")
    start: Path | None = Field(
        default=None, title="Warm start", description="Checkpoint of a distillation of the same network, at any input size, to start from."
    )
    parts: int = Field(default=4, ge=1, title="Parts", description="Number of heads.")
    part_width: Dimensions = Field(default=320, ge=1, title="Part width", description="Channels of a part's convolutions.")
    part_dim: Dimensions = Field(default=256, ge=1, title="Part dimension", description="Dimensions per part before the projection.")
    neck: bool = Field(default=True, title="BNNeck", description="Batch norm before the projection.")
    # images and augmentation
    height: Pixels = Field(default=160, ge=32, title="Height", description="Height of the input.")
    width: Pixels = Field(default=80, ge=16, title="Width", description="Width of the input.")
    smaller_first: tuple[tuple[int, int, float], ...] = Field(
        default=(),
        title="Smaller first",
        description="Smaller input sizes to begin with, as `[height, width, share of the steps until which]`: they train faster.",
    )
    stored_height: Pixels = Field(default=192, ge=32, title="Stored height", description="Height of the stored crops.")
    stored_width: Pixels = Field(default=96, ge=16, title="Stored width", description="Width of the stored crops.")
    jitter: Jitter = Field(default=Jitter(), title="Jitter", description="Augmentation of the views that teacher and student see.")
    views: int = Field(default=2, ge=1, title="Views", description="Number of views of each crop that the teacher embeds; one per epoch.")
    often: dict[str, float] = Field(
        default_factory=dict,
        title="Sampling weights",
        description="Weights of kinds of crops (first word of the file name); others have 1. 0 leaves a kind out.",
    )
    held_out_ids: int = Field(
        default=40, ge=2, title="Held-out identities", description="Identities of each re-ID dataset kept out, to calibrate on."
    )
    held_out_seed: int = Field(default=0, ge=0, title="Held-out seed", description="Seed of that choice.")
    # losses
    relations: float = Field(
        default=10.0,
        ge=0,
        title="Relation weight",
        description="Weight of the squared error of the batch's cosine matrix; the cosine loss weighs 1.",
    )
    # optimisation
    batch: int = Field(default=48, ge=4, title="Batch size", description="Half sampled, half teacher-nearest neighbours of those.")
    neighbours: int = Field(default=10, ge=1, title="Neighbours", description="Number of teacher-nearest crops to choose a neighbour from.")
    ridge_crops: int = Field(
        default=3072, ge=1, title="Ridge crops", description="Number of crops for the ridge regression that initialises the projection."
    )
    epochs: Annotated[int, Field(json_schema_extra={"unit": "epochs"})] = Field(
        default=10,
        ge=1,
        title="Epochs",
        description="Length of the training. An epoch samples as many crops as there are, and a neighbour of each.",
    )
    learning_rate: float = Field(default=1e-3, gt=0, title="Learning rate", description="Of AdamW, after the warm-up; cosine schedule.")
    weight_decay: float = Field(default=0.02, ge=0, title="Weight decay", description="Not applied to norms and biases.")
    warmup_steps: int = Field(default=200, ge=0, title="Warm-up", description="Raise the learning rate linearly over so many steps.")
    ema: float = Field(default=0.998, ge=0, lt=1, title="EMA decay", description="Decay of the moving average of the weights, per step.")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", title="Precision", description="Of the forward pass in training.")
    checkpoint_minutes: float = Field(default=5, gt=0, title="Checkpoint interval", description="Minutes between checkpoints.")
    threads: int = Field(default=2, ge=1, title="Threads", description="CPU threads.")
    seed: int = Field(default=0, ge=0, title="Seed", description="Seed of the training.")
