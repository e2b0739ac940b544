"""Train MPN on a re-ID dataset, resumable at any epoch. Needs the extra ``[train]``."""

from __future__ import annotations

import copy
import csv
import logging
import math
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from reid.datasets.layouts import read_split, recognise, unpacked
from reid.datasets.split import Split, fingerprint, held_out, load_pictures, one_each
from reid.evaluation.retrieval import Retrieval, retrieval
from reid.network.backbones import Backbone, last_convolution
from reid.network.mpn import MPN
from reid.training import losses
from reid.training.batches import CHANNEL_ORDERS, Geometry, augment, pk_batches, recolour
from reid.training.imitation import Imitation, teacher_embeddings
from reid.training.log_plot import plot_log
from reid.training.pixels import to_tensor
from reid.training.priors import Bodies, body_parts, read_bodies, stripes, transform_bodies
from reid.training.recipe import DistilRecipe, Recipe
from reid.training.warm_start import classifiers_from_centres, start_from

log = logging.getLogger(__name__)
CHANGEABLE = {"epochs", "threads", "compiled"}  # keys of a recipe that may change before it is resumed
HELD_OUT = "held_out"  # key of the fingerprint of the held-out images, in a checkpoint and in the recipe of a bundle
DIMENSION = "dimension"  # key of the embedding dimension, in a checkpoint of a distillation only
LOSSES = ("main", "aux", "align", "triplet", "imitation")


def build(recipe: Recipe, ids: int, pretrained: bool | None = None) -> MPN:
    """The network of a recipe for ``ids`` identities; ``pretrained`` overrides the recipe."""
    wanted = recipe.pretrained if pretrained is None else pretrained
    backbone = Backbone(recipe.backbone, recipe.last_stride, wanted, recipe.frozen_stages, recipe.drop_path)
    mpn = MPN(
        backbone, ids, recipe.parts, recipe.part_width, recipe.part_dim, recipe.neck, recipe.attention, recipe.shared, recipe.auxiliary
    )
    last = last_convolution(recipe.backbone) if wanted else None
    for head in (mpn.main, mpn.apart):
        if head is not None and last is not None:  # ImageNet's features generalise better than features learned from few people
            head.init_from(*last)
    return mpn.to(memory_format=torch.channels_last)


@torch.no_grad()
def in_batches(network: Callable[[torch.Tensor], torch.Tensor], images: np.ndarray, device: torch.device, batch: int = 128) -> torch.Tensor:
    """Run ``network`` on (n, h, w, 3) uint8 RGB images in normalised batches on ``device``; returns (n, ...) on the CPU."""
    starts = range(0, len(images), batch)
    return torch.cat([network(to_tensor(images[start : start + batch]).to(device)) for start in starts]).cpu()


def device_of(mpn: MPN) -> torch.device:
    return mpn.main_classifiers.device


def make_optimizer(mpn: MPN, imitation: Imitation | None, recipe: Recipe) -> torch.optim.Optimizer:
    """Parameter groups of head and backbone, each with its ``share`` of the learning rate; no weight decay on norms and biases."""
    backbone = set(mpn.backbone.parameters())
    every = [*mpn.parameters(), *(imitation.parameters() if imitation else ())]
    groups = []
    for share, inside in ((1.0, False), (recipe.backbone_rate, True)):
        for decay, plain in ((recipe.weight_decay, False), (0.0, True)):
            chosen = [p for p in every if (p in backbone) == inside and (p.ndim < 2) == plain]
            groups.append({"params": chosen, "share": share, "weight_decay": decay})
    if recipe.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=recipe.learning_rate, momentum=0.9, nesterov=True)
    return (torch.optim.Adam if recipe.optimizer == "adam" else torch.optim.AdamW)(groups, lr=recipe.learning_rate)


def learning_rate(recipe: Recipe, epoch: float) -> float:
    """Learning rate after ``epoch`` (fractional) epochs: linear warm-up, then half-cosine decay to 1 %, or steps by a factor of ten."""
    warm = min(1.0, epoch / max(recipe.warmup_epochs, 1e-9))
    if recipe.schedule == "step":
        return recipe.learning_rate * warm * float(0.1 ** (epoch // recipe.step_epochs))
    return recipe.learning_rate * warm * max(0.01, 0.5 * (1 + math.cos(math.pi * min(epoch / recipe.epochs, 1))))


def validate(mpn: MPN, held: Split, images: np.ndarray) -> Retrieval:
    """Retrieval on held-out identities: queries are one image per identity and camera, the gallery is all images."""
    rows = in_batches(mpn.eval().embed, images, device_of(mpn)).numpy()
    query = one_each(held)
    return retrieval(rows[query], held.ids[query], held.cameras[query], rows, held.ids, held.cameras)


@dataclass(frozen=True)
class Material:
    """Training data: ``pictures`` (n, h, w, 3) uint8 RGB with ``labels`` (n,) from 0 and ``bodies``, and held-out people for validation.

    ``people``: fingerprints of the training and held-out images, stored in checkpoints.
    """

    pictures: np.ndarray
    labels: np.ndarray
    bodies: Bodies | None
    held: Split
    held_pictures: np.ndarray
    people: dict[str, str]

    @property
    def ids(self) -> int:
        return int(self.labels.max()) + 1


def read_material(recipe: Recipe, data: Path) -> Material:
    """Read the data of a training. Raises ValueError if there are too few people, FileNotFoundError and ValueError as the readers do."""
    root = unpacked(data)
    every = read_split(root, "train")
    people = len(np.unique(every.ids))
    if people < recipe.held_out_ids + recipe.batch_ids:
        raise ValueError(
            f"{data}: {people} people are fewer than held_out_ids ({recipe.held_out_ids}) and batch_ids ({recipe.batch_ids}) together: lower one of them"
        )
    kept_back = held_out(every, recipe.held_out_ids, recipe.held_out_seed)
    held, rest = every.take(kept_back), every.take(~kept_back)
    if len(one_each(held)) == len(np.unique(held.ids)):
        raise ValueError(
            f"{data}: none of the {recipe.held_out_ids} held-out people is seen by two cameras, which validation needs; raise held_out_ids"
        )
    if recipe.people is not None:
        if recipe.people < recipe.batch_ids:
            raise ValueError(f"people ({recipe.people}) must be at least batch_ids ({recipe.batch_ids})")
        rest = rest.take(held_out(rest, recipe.people, recipe.held_out_seed))
    fingerprints = {"trained_on": fingerprint(rest, root), HELD_OUT: fingerprint(held, root)}
    held, held_pictures = load_pictures(held, recipe.height, recipe.width)
    split, pictures = load_pictures(rest, recipe.height, recipe.width)
    bodies = None
    if recipe.prior != "stripes":
        bodies = read_bodies(root, [path.relative_to(root).as_posix() for path in split.paths])
    return Material(pictures, np.unique(split.ids, return_inverse=True)[1], bodies, held, held_pictures, fingerprints)


def part_masks(
    recipe: Recipe, bodies: Bodies | None, geometry: Geometry, grid: tuple[int, int]
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The prior on the feature map, (n or 1, parts, *grid), after the ``geometry`` of the augmentation; and (n, parts) which parts are visible."""
    if bodies is None:
        return torch.from_numpy(stripes(recipe.parts, *grid))[None], None
    transformed = transform_bodies(bodies, geometry, recipe.height, recipe.width)
    masks, visible = body_parts(transformed, recipe.parts, *grid, foreground=recipe.prior == "mask")
    return torch.from_numpy(masks), torch.from_numpy(visible)


def map_size(mpn: MPN, recipe: Recipe) -> tuple[int, int]:
    with torch.no_grad():  # in eval mode, so that batch norm statistics do not change
        rows, columns = mpn.eval().backbone(torch.zeros(1, 3, recipe.height, recipe.width, device=device_of(mpn))).shape[2:]
    return int(rows), int(columns)


def loss_terms(
    mpn: MPN,
    imitation: Imitation | None,
    recipe: Recipe,
    material: Material,
    rows: np.ndarray,
    rng: np.random.Generator,
    grid: tuple[int, int],
) -> torch.Tensor:
    """(5,) weighted losses of a batch of ``rows``: main and auxiliary tasks, alignment, triplet, distillation."""
    pictures, labels = material.pictures[rows], material.labels[rows]
    if recipe.recoloured:
        pictures, labels = recolour(pictures, labels, material.ids, recipe.recoloured, rng)
    augmented, geometry = augment(pictures, rng, recipe.flip, recipe.pad, recipe.erase, recipe.jitter, recipe.zoom, recipe.gray)
    masks, visible = part_masks(recipe, None if material.bodies is None else material.bodies.take(rows), geometry, grid)
    device = device_of(mpn)
    who, masks = torch.from_numpy(labels).to(device), masks.to(device)
    visible = None if visible is None else visible.to(device)
    images = to_tensor(augmented).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        result = mpn(images, masks).float()
    main = losses.part_cross_entropy(result.main_logits, who, smoothing=recipe.label_smoothing)
    aux = align = likeness = torch.zeros_like(main)
    if recipe.auxiliary:
        aux = losses.part_cross_entropy(result.aux_logits, who, visible, smoothing=recipe.label_smoothing)
        align = losses.class_alignment(result.main, result.aux, who, visible) * recipe.alignment
    triplet = losses.batch_hard_triplet(result.main.flatten(1), who, recipe.margin) * recipe.triplet
    if imitation is not None:
        likeness = imitation(result.necked.flatten(1), rows) * recipe.imitation
    return torch.stack([main, aux, align, triplet, likeness])


@torch.no_grad()
def nearest_identities(mpn: MPN, count: int) -> np.ndarray:
    """(ids, count) most similar identities of each, by the cosine of the main tasks' classifiers, nearest first."""
    unit = torch.nn.functional.normalize(mpn.main_classifiers.flatten(0, 1), dim=0)
    return (unit.T @ unit).fill_diagonal_(-2).topk(min(count, unit.shape[1] - 1)).indices.cpu().numpy()


@torch.no_grad()
def update_ema(average: nn.Module, mpn: nn.Module, decay: float) -> None:
    """Update the exponential moving average of the weights, in place."""
    for kept, new in zip(average.state_dict().values(), mpn.state_dict().values(), strict=True):
        kept.lerp_(new, 1 - decay) if kept.is_floating_point() else kept.copy_(new)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state saved by ``train`` or ``distil``. Raises ValueError for any other file."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch passes on the errors of archive, pickle and reader
        raise ValueError(f"{path}: not a readable checkpoint ({str(error).partition(chr(10))[0]})") from None
    needed = {"model", "average", "optimizer", "recipe", "epoch"}
    if not isinstance(state, dict) or not needed <= state.keys() or not {"ids", DIMENSION} & state.keys():
        raise ValueError(f"{path}: not a checkpoint of passerby reid train or distil")
    return state


def check_recipe(path: Path, state: dict[str, Any], recipe: Recipe | DistilRecipe, changeable: set[str]) -> None:
    """Raises ValueError, naming what differs, if a checkpoint is of another recipe; ``changeable``: keys that may differ."""
    ours = recipe.model_dump(mode="json")
    differ = [name for name, value in ours.items() if name not in changeable and state["recipe"].get(name, value) != value]
    if differ:
        raise ValueError(f"{path}: cannot resume: the recipe has changed in {', '.join(differ)}; restore it or omit --resume")


def resumable_state(path: Path, recipe: Recipe, people: dict[str, str]) -> dict[str, Any]:
    """The state of a training with the same ``recipe`` and ``people``. Raises ValueError, naming what differs, and as ``read_checkpoint``."""
    state = read_checkpoint(path)
    check_recipe(path, state, recipe, CHANGEABLE)
    if any(state.get(name, value) != value for name, value in people.items()):
        raise ValueError(f"{path}: cannot resume: it was trained on other images than --data has now; restore them or omit --resume")
    return state


def restore(state: dict[str, Any], mpn: MPN, average: MPN, imitation: Imitation | None, optimizer: torch.optim.Optimizer) -> None:
    """Load a saved state."""
    mpn.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    if imitation is not None:
        imitation.load_state_dict(state["imitation"])
    optimizer.load_state_dict(state["optimizer"])


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False) -> Path:
    """Train on the dataset in ``data``; writes ``last.pt``, ``log.csv`` and ``log.png`` each epoch; returns the path of ``last.pt``.

    Raises ValueError for a recipe that does not fit the machine or the dataset, if the loss becomes NaN or infinite, and if ``resume``
    finds another training; FileNotFoundError and ValueError as the readers do; OSError if ``out`` cannot be written.
    """
    if recipe.compiled and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise ValueError("compiled: needs a C++ compiler: install g++ or set compiled: false")
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    layout, device = recognise(unpacked(data)), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    what = torch.cuda.get_device_name() if device.type == "cuda" else f"{recipe.threads} CPU thread(s)"
    log.info("%s (%s); training on %s in %s", layout.name, layout.terms, what, recipe.precision)
    material = read_material(recipe, data)
    last = out / "last.pt"
    state = resumable_state(last, recipe, material.people) if resume and last.exists() else None

    mpn = build(recipe, material.ids * (len(CHANNEL_ORDERS) if recipe.recoloured else 1), None if recipe.start is None else False)
    if recipe.start is not None and state is None:
        sample = np.random.default_rng(recipe.seed).permutation(len(material.pictures))[:512]
        start_from(mpn, recipe.start, to_tensor(material.pictures[sample]), recipe.start_network)
        classifiers_from_centres(mpn, in_batches(mpn.eval().necked, material.pictures, device_of(mpn)), torch.from_numpy(material.labels))
        log.info("warm start from %s: held-out %s", recipe.start, validate(mpn, material.held, material.held_pictures))
    mpn = mpn.to(device)
    imitation = None
    if recipe.teacher is not None:
        imitation = Imitation(teacher_embeddings(recipe.teacher, material.pictures), recipe.parts * recipe.part_dim).to(device)
    average = copy.deepcopy(mpn).eval()
    optimizer = make_optimizer(mpn, imitation, recipe)
    first, history = 0, []
    if state is not None:
        restore(state, mpn, average, imitation, optimizer)
        first, history = state["epoch"], state.get("log", [])
    steps = max(1, len(material.labels) // (recipe.batch_ids * recipe.batch_images))
    grid = map_size(mpn, recipe)
    if recipe.compiled:
        mpn.backbone.compile()
    for epoch in range(first, recipe.epochs):
        rng = np.random.default_rng([recipe.seed, epoch])  # an epoch is the same after resuming
        torch.manual_seed(int(rng.integers(2**31)))
        mpn.train()
        began, sums, count = time.perf_counter(), np.zeros(len(LOSSES)), 0
        near = nearest_identities(mpn, recipe.neighbours) if recipe.neighbours else None
        for rows in pk_batches(material.labels, recipe.batch_ids, recipe.batch_images, rng, near):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(recipe, epoch + (count + 1) / steps) * group["share"]
            terms = loss_terms(mpn, imitation, recipe, material, rows, rng, grid)
            optimizer.zero_grad(set_to_none=True)
            terms.sum().backward()
            optimizer.step()
            count += 1
            done = epoch * steps + count
            update_ema(average, mpn, min(recipe.ema, done / (done + 10)))
            sums += terms.detach().cpu().numpy()
            if not np.isfinite(sums).all():
                kept = f"; {last} holds epoch {epoch}" if epoch else ""
                raise ValueError(f"epoch {epoch + 1}, step {count}: loss became NaN or infinite; lower learning_rate{kept}")
            if count % 50 == 0:
                pace = (time.perf_counter() - began) / count
                left = pace * (recipe.epochs * steps - done) / 60
                means = ", ".join(f"{name} {value:.3f}" for name, value in zip(LOSSES, sums / count, strict=True))
                place = f"epoch {epoch + 1}/{recipe.epochs} step {count}/{steps}"
                log.info("%s: %s; %.2f s per step, %.0f min left", place, means, pace, left)
        score = validate(average, material.held, material.held_pictures)
        row = {"epoch": epoch + 1, **dict(zip(LOSSES, (sums / count).round(4).tolist(), strict=True))}
        row |= {"held_out_map": round(score.map, 4), "held_out_rank1": round(score.rank1, 4)}
        row |= {"seconds": round(time.perf_counter() - began, 1)}
        log.info("%s", ", ".join(f"{name} {value}" for name, value in row.items()))
        history = [*history, row]
        saved = {"model": mpn.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        saved |= {"imitation": {} if imitation is None else imitation.state_dict()}
        saved |= {"recipe": recipe.model_dump(mode="json"), "ids": int(mpn.main_classifiers.shape[2]), "log": history, **material.people}
        torch.save(saved, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").replace(last)
        write_log(out / "log.csv", history)  # rewritten, so that it always matches the checkpoint
        plot_log(out / "log.csv", out / "log.png")
    return last


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
