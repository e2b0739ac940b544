"""Train MPN on a re-ID data set, resumable at any epoch. Needs the extra ``[train]``."""

from __future__ import annotations

import copy
import csv
import math
import time
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field

from reid import losses
from reid.backbones import Backbone
from reid.batches import CHANNEL_ORDERS, augment, pk_batches, recolour
from reid.data import Split, held_out, load_pictures
from reid.evaluate import Retrieval, retrieval
from reid.layouts import read_split, recognise, unpacked
from reid.model import MPN
from reid.priors import stripes
from reid.warm import classifiers_from_centres, start_from

MEAN = np.array([0.485, 0.456, 0.406], np.float32) * 255
STD = np.array([0.229, 0.224, 0.225], np.float32) * 255


class Recipe(BaseModel):
    """Everything that decides a training's result."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str = "tf_efficientnet_lite0"
    pretrained: bool = True
    start: Path | None = Field(default=None, description="an fp32 bundle of the same backbone and parts to start from")
    height: int = Field(default=128, ge=32)
    width: int = Field(default=64, ge=16)
    parts: int = Field(default=4, ge=1)
    part_width: int = Field(default=256, ge=1)
    part_dim: int = Field(default=128, ge=1)
    prior: Literal["stripes"] = "stripes"
    batch_ids: int = Field(default=16, ge=2)
    batch_images: int = Field(default=4, ge=2)
    epochs: int = Field(default=15, ge=1)
    warmup_epochs: float = Field(default=1.0, ge=0)
    learning_rate: float = Field(default=1e-3, gt=0)
    weight_decay: float = Field(default=0.02, ge=0)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    margin: float = Field(default=0.4, ge=0)
    alignment: float = Field(default=1.0, ge=0)
    ema: float = Field(default=0.998, ge=0, lt=1)
    held_out_ids: int = Field(default=75, ge=0)
    neck: bool = Field(default=False, description="BNNeck: a batch norm between features and classifiers, also in inference")
    attention: bool = Field(default=False, description="channel attention on each part's map")
    recoloured: float = Field(default=0, ge=0, le=1, description="share of identities whose colour channels swap, as new identities")
    backbone_rate: float = Field(default=1, gt=0, description="the backbone's learning rate as a share of the head's")
    frozen_stages: int = Field(default=0, ge=0, description="the backbone's first stages, with its stem, that are not trained")
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int = Field(default=2, ge=1)
    seed: int = 0


def to_tensor(pictures: np.ndarray) -> torch.Tensor:
    """(n, h, w, 3) RGB in 0..255 -> normalised (n, 3, h, w) float32, channels last in memory."""
    return torch.from_numpy((pictures.astype(np.float32) - MEAN) / STD).permute(0, 3, 1, 2)


def build(recipe: Recipe, ids: int, pretrained: bool | None = None) -> MPN:
    wanted = recipe.pretrained if pretrained is None else pretrained
    backbone = Backbone(recipe.backbone, pretrained=wanted, frozen=recipe.frozen_stages)
    mpn = MPN(backbone, ids, recipe.parts, recipe.part_width, recipe.part_dim, recipe.neck, recipe.attention)
    return mpn.to(memory_format=torch.channels_last)


@torch.no_grad()
def features(mpn: MPN, pictures: np.ndarray, batch: int = 128, flip: bool = True) -> np.ndarray:
    """(n, h, w, 3) uint8 RGB -> (n, d) unit float32; with ``flip`` the mean of the picture's and its mirror image's."""
    mpn.eval()
    rows = []
    for start in range(0, len(pictures), batch):
        x = to_tensor(pictures[start : start + batch])
        y = mpn.embed(x)
        rows.append(torch.nn.functional.normalize(y + mpn.embed(x.flip(3))) if flip else y)
    return torch.cat(rows).numpy()


@torch.no_grad()
def head_features(mpn: MPN, pictures: np.ndarray, batch: int = 128) -> torch.Tensor:
    """(n, h, w, 3) uint8 RGB -> (n, parts, dim), what the classifiers see."""
    mpn.eval()
    return torch.cat([mpn.head(mpn.maps(to_tensor(pictures[i : i + batch])))[1] for i in range(0, len(pictures), batch)])


def parameter_groups(mpn: MPN, recipe: Recipe) -> list[dict[str, object]]:
    """The parameters of the head and of the backbone for the optimiser, with the ``share`` of the learning rate that each gets."""
    backbone = set(mpn.backbone.parameters())
    head = [p for p in mpn.parameters() if p not in backbone]
    return [{"params": head, "share": 1.0}, {"params": list(mpn.backbone.parameters()), "share": recipe.backbone_rate}]


def validate(mpn: MPN, held: Split, pictures: np.ndarray) -> Retrieval:
    """Retrieval on held-out identities: one picture per identity and camera asks, all are the gallery."""
    rows = features(mpn, pictures, flip=False)
    _, query = np.unique(held.ids * 100 + held.cameras, return_index=True)
    return retrieval(rows[query], held.ids[query], held.cameras[query], rows, held.ids, held.cameras)


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False) -> Path:
    """Train on the data set in ``data``; writes ``last.pt`` each epoch, ``log.csv``, and returns the path of ``last.pt``."""
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    layout = recognise(unpacked(data))
    print(f"{layout.name} ({layout.terms}). Training on {recipe.threads} CPU thread(s).", flush=True)
    every = read_split(data, "train")
    people = len(np.unique(every.ids))
    if people < recipe.held_out_ids + recipe.batch_ids:
        raise ValueError(
            f"{data}: {people} people; held_out_ids ({recipe.held_out_ids}) and batch_ids ({recipe.batch_ids}) ask for more: lower one of them"
        )
    kept_back = held_out(every, recipe.held_out_ids, recipe.seed)
    held, held_pictures = load_pictures(every.take(kept_back), recipe.height, recipe.width)
    split, pictures = load_pictures(every.take(~kept_back), recipe.height, recipe.width)
    labels = np.unique(split.ids, return_inverse=True)[1]

    ids = int(labels.max() + 1)
    mpn = build(recipe, ids * (len(CHANNEL_ORDERS) if recipe.recoloured else 1), pretrained=None if recipe.start is None else False)
    if recipe.start is not None and not (resume and (out / "last.pt").exists()):
        sample = np.random.default_rng(recipe.seed).permutation(len(pictures))[:512]
        start_from(mpn, recipe.start, to_tensor(pictures[sample]))
        classifiers_from_centres(mpn, head_features(mpn, pictures), torch.from_numpy(labels))
        print(f"started from {recipe.start}: held-out {validate(mpn, held, held_pictures)}", flush=True)
    average = copy.deepcopy(mpn).eval()
    optimizer = torch.optim.AdamW(parameter_groups(mpn, recipe), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    steps = len(split.ids) // (recipe.batch_ids * recipe.batch_images)
    first, last = 0, out / "last.pt"
    if resume and last.exists():
        state = torch.load(last, map_location="cpu", weights_only=True)
        mpn.load_state_dict(state["model"])
        average.load_state_dict(state["average"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"]
    with torch.no_grad():  # in evaluation, or the batch norms would take the empty picture for data
        grid = mpn.eval().backbone(torch.zeros(1, 3, recipe.height, recipe.width)).shape[2:]
    masks = torch.from_numpy(stripes(recipe.parts, *grid))[None]
    for epoch in range(first, recipe.epochs):
        rng = np.random.default_rng([recipe.seed, epoch])  # an epoch is the same whether resumed or not
        mpn.train()
        began, sums, count = time.perf_counter(), np.zeros(4), 0
        for rows in pk_batches(labels, recipe.batch_ids, recipe.batch_images, rng):
            done = (epoch + count / steps) / recipe.epochs
            warm = min(1.0, (epoch + (count + 1) / steps) / max(recipe.warmup_epochs, 1e-9))
            rate = recipe.learning_rate * warm * max(0.01, 0.5 * (1 + math.cos(math.pi * min(done, 1))))
            for group in optimizer.param_groups:
                group["lr"] = rate * group["share"]
            batch, named = pictures[rows], labels[rows]
            if recipe.recoloured:
                batch, named = recolour(batch, named, ids, recipe.recoloured, rng)
            who = torch.from_numpy(named)
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                result = mpn(to_tensor(augment(batch, rng)), masks).float()
            terms = (
                losses.part_cross_entropy(result.main_logits, who, smoothing=recipe.label_smoothing),
                losses.part_cross_entropy(result.aux_logits, who, smoothing=recipe.label_smoothing),
                losses.class_alignment(result.main, result.aux, who) * recipe.alignment,
                losses.batch_hard_triplet(result.main.flatten(1), who, recipe.margin),
            )
            optimizer.zero_grad(set_to_none=True)
            torch.stack(terms).sum().backward()
            optimizer.step()
            count += 1
            decay = min(recipe.ema, (epoch * steps + count) / (epoch * steps + count + 10))
            with torch.no_grad():
                for kept, new in zip(average.state_dict().values(), mpn.state_dict().values(), strict=True):
                    kept.lerp_(new, 1 - decay) if kept.is_floating_point() else kept.copy_(new)
            sums += [float(term.detach()) for term in terms]
            if count % 50 == 0:
                print(
                    f"epoch {epoch + 1} step {count}/{steps} losses {(sums / count).round(3).tolist()} {(time.perf_counter() - began) / count:.2f} s/step",
                    flush=True,
                )
        score = validate(average, held, held_pictures)
        row = {"epoch": epoch + 1, **dict(zip(("main", "aux", "align", "triplet"), (sums / count).round(4).tolist(), strict=True))}
        row |= {
            "held_out_map": round(score.map, 4),
            "held_out_rank1": round(score.rank1, 4),
            "seconds": round(time.perf_counter() - began, 1),
        }
        print(row, flush=True)
        fresh = not (out / "log.csv").exists() or epoch == 0
        with (out / "log.csv").open("w" if fresh else "a", newline="") as file:
            writer = csv.DictWriter(file, row)
            if fresh:
                writer.writeheader()
            writer.writerow(row)
        state = {"model": mpn.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        state |= {"recipe": recipe.model_dump(mode="json"), "ids": int(mpn.main_classifiers.shape[2])}
        torch.save(state, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").replace(last)
    return last
