"""Train MPN on a re-ID data set, resumable at any epoch. Needs the extra ``[train]``."""

from __future__ import annotations

import copy
import csv
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

from reid.datasets.layouts import read_split, recognise, unpacked
from reid.datasets.split import Split, fingerprint, held_out, load_pictures, one_each
from reid.evaluation.retrieval import Retrieval, retrieval
from reid.network.backbones import Backbone, last_convolution
from reid.network.mpn import MPN
from reid.training import losses
from reid.training.batches import CHANNEL_ORDERS, Moved, augment, pk_batches, recolour
from reid.training.imitation import Imitation, taught
from reid.training.log_plot import plot_log
from reid.training.pixels import to_tensor
from reid.training.priors import Bodies, body_parts, moved, read_bodies, stripes
from reid.training.recipe import Recipe
from reid.training.warm_start import classifiers_from_centres, start_from

TO_CHANGE = {"epochs", "threads", "compiled"}  # in a recipe, before a training goes on: who is held out and what is learned stay
HELD_OUT = "held_out"  # where a checkpoint, and the recipe in a bundle, keep the fingerprint of the held-out pictures
LOSSES = ("main", "aux", "align", "triplet", "imitation")


def build(recipe: Recipe, ids: int, pretrained: bool | None = None) -> MPN:
    """The recipe's network for ``ids`` identities; ``pretrained`` overrides the recipe's."""
    wanted = recipe.pretrained if pretrained is None else pretrained
    backbone = Backbone(recipe.backbone, recipe.last_stride, wanted, recipe.frozen_stages, recipe.drop_path)
    mpn = MPN(
        backbone, ids, recipe.parts, recipe.part_width, recipe.part_dim, recipe.neck, recipe.attention, recipe.shared, recipe.auxiliary
    )
    last = last_convolution(recipe.backbone) if wanted else None
    for head in (mpn.main, mpn.apart):
        if head is not None and last is not None:  # features that ImageNet taught generalise further than any that few people teach
            head.begin_from(*last)
    return mpn.to(memory_format=torch.channels_last)


@torch.no_grad()
def in_batches(
    network: Callable[[torch.Tensor], torch.Tensor], pictures: np.ndarray, device: torch.device, batch: int = 128
) -> torch.Tensor:
    """What ``network`` gives for (n, h, w, 3) uint8 RGB, shown to it as (batch, 3, h, w) normalised on ``device``; rows (n, ...) on the CPU."""
    starts = range(0, len(pictures), batch)
    return torch.cat([network(to_tensor(pictures[start : start + batch]).to(device)) for start in starts]).cpu()


def device_of(mpn: MPN) -> torch.device:
    return mpn.main_classifiers.device


def make_optimizer(mpn: MPN, imitation: Imitation | None, recipe: Recipe) -> torch.optim.Optimizer:
    """Head and backbone apart, each with the ``share`` of the learning rate that it gets; norms and biases do not decay."""
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
    """After ``epoch`` epochs, counted with fractions: linear warm-up, then half a cosine to nothing, or steps by ten."""
    warm = min(1.0, epoch / max(recipe.warmup_epochs, 1e-9))
    if recipe.schedule == "step":
        return recipe.learning_rate * warm * float(0.1 ** (epoch // recipe.step_epochs))
    return recipe.learning_rate * warm * max(0.01, 0.5 * (1 + math.cos(math.pi * min(epoch / recipe.epochs, 1))))


def validate(mpn: MPN, held: Split, pictures: np.ndarray) -> Retrieval:
    """Retrieval on held-out identities: one picture per identity and camera asks, all are the gallery."""
    rows = in_batches(mpn.eval().embed, pictures, device_of(mpn)).numpy()
    query = one_each(held)
    return retrieval(rows[query], held.ids[query], held.cameras[query], rows, held.ids, held.cameras)


@dataclass(frozen=True)
class Material:
    """What a training sees: pictures (n, h, w, 3) uint8 RGB with ``labels`` (n,) from 0 and bodies, and held-out people to select by.

    ``people``: the fingerprints of what is trained on and of what is held out, which a checkpoint keeps.
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
    """Raises ValueError where there are too few people, or FileNotFoundError and ValueError as the readers do."""
    root = unpacked(data)
    every = read_split(root, "train")
    people = len(np.unique(every.ids))
    if people < recipe.held_out_ids + recipe.batch_ids:
        raise ValueError(
            f"{data}: {people} people; held_out_ids ({recipe.held_out_ids}) and batch_ids ({recipe.batch_ids}) ask for more: lower one of them"
        )
    kept_back = held_out(every, recipe.held_out_ids, recipe.held_out_seed)
    held, rest = every.take(kept_back), every.take(~kept_back)
    if len(one_each(held)) == len(np.unique(held.ids)):
        raise ValueError(
            f"{data}: none of the {recipe.held_out_ids} people held out is seen by two cameras, and a training is measured by that"
        )
    if recipe.people is not None:
        if recipe.people < recipe.batch_ids:
            raise ValueError(f"people ({recipe.people}) are fewer than batch_ids ({recipe.batch_ids}): not one batch; lower batch_ids")
        rest = rest.take(held_out(rest, recipe.people, recipe.held_out_seed))
    told = {"trained_on": fingerprint(rest, root), HELD_OUT: fingerprint(held, root)}
    held, held_pictures = load_pictures(held, recipe.height, recipe.width)
    split, pictures = load_pictures(rest, recipe.height, recipe.width)
    bodies = None
    if recipe.prior != "stripes":
        bodies = read_bodies(root, [path.relative_to(root).as_posix() for path in split.paths])
    return Material(pictures, np.unique(split.ids, return_inverse=True)[1], bodies, held, held_pictures, told)


def part_masks(recipe: Recipe, bodies: Bodies | None, how: Moved, grid: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor | None]:
    """The prior on the backbone's map, (n or 1, parts, *grid), of pictures that were moved; and (n, parts) which parts are there."""
    if bodies is None:
        return torch.from_numpy(stripes(recipe.parts, *grid))[None], None
    shown = moved(bodies, how, recipe.height, recipe.width)
    masks, there = body_parts(shown, recipe.parts, *grid, foreground=recipe.prior == "mask")
    return torch.from_numpy(masks), torch.from_numpy(there)


def map_size(mpn: MPN, recipe: Recipe) -> tuple[int, int]:
    with torch.no_grad():  # in evaluation, or the batch norms would take the empty picture for data
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
    """(5,) the losses, weighted, of a batch of ``rows``: main and auxiliary tasks, alignment, triplet, imitation."""
    pictures, labels = material.pictures[rows], material.labels[rows]
    if recipe.recoloured:
        pictures, labels = recolour(pictures, labels, material.ids, recipe.recoloured, rng)
    shown, how = augment(pictures, rng, recipe.flip, recipe.pad, recipe.erase, recipe.jitter, recipe.zoom, recipe.gray)
    masks, there = part_masks(recipe, None if material.bodies is None else material.bodies.take(rows), how, grid)
    device = device_of(mpn)
    who, masks = torch.from_numpy(labels).to(device), masks.to(device)
    there = None if there is None else there.to(device)
    images = to_tensor(shown).to(device)
    with torch.autocast(device.type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        result = mpn(images, masks).float()
    main = losses.part_cross_entropy(result.main_logits, who, smoothing=recipe.label_smoothing)
    aux = align = likeness = torch.zeros_like(main)
    if recipe.auxiliary:
        aux = losses.part_cross_entropy(result.aux_logits, who, there, smoothing=recipe.label_smoothing)
        align = losses.class_alignment(result.main, result.aux, who, there) * recipe.alignment
    triplet = losses.batch_hard_triplet(result.main.flatten(1), who, recipe.margin) * recipe.triplet
    if imitation is not None:
        likeness = imitation(result.necked.flatten(1), rows) * recipe.imitation
    return torch.stack([main, aux, align, triplet, likeness])


@torch.no_grad()
def nearest_identities(mpn: MPN, count: int) -> np.ndarray:
    """(ids, count) of each identity those whose classifiers of the main tasks are most alike its own, nearest first."""
    unit = torch.nn.functional.normalize(mpn.main_classifiers.flatten(0, 1), dim=0)
    return (unit.T @ unit).fill_diagonal_(-2).topk(min(count, unit.shape[1] - 1)).indices.cpu().numpy()


@torch.no_grad()
def follow(average: MPN, mpn: MPN, decay: float) -> None:
    """Move the running average of the weights towards the weights."""
    for kept, new in zip(average.state_dict().values(), mpn.state_dict().values(), strict=True):
        kept.lerp_(new, 1 - decay) if kept.is_floating_point() else kept.copy_(new)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that ``train`` saved. Raises ValueError for a file that is not such."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the archive, the pickle or the reader raise
        raise ValueError(f"{path}: not a checkpoint that can be read ({str(error).partition(chr(10))[0]})") from None
    if not isinstance(state, dict) or not {"model", "average", "optimizer", "recipe", "ids", "epoch"} <= state.keys():
        raise ValueError(f"{path}: not a checkpoint of passerby reid train")
    return state


def state_to_go_on_with(path: Path, recipe: Recipe, people: dict[str, str]) -> dict[str, Any]:
    """Of a training of the same ``recipe`` and ``people``. Raises ValueError, with what differs, for another's, and as ``read_checkpoint``."""
    state = read_checkpoint(path)
    ours = recipe.model_dump(mode="json")
    differ = [name for name, value in ours.items() if name not in TO_CHANGE and state["recipe"].get(name, value) != value]
    if differ:
        raise ValueError(f"{path}: cannot be gone on with: its recipe has another {', '.join(differ)}; leave out --resume")
    if any(state.get(name, value) != value for name, value in people.items()):
        raise ValueError(f"{path}: cannot be gone on with: it was trained on other pictures than --data has now; leave out --resume")
    return state


def restore(state: dict[str, Any], mpn: MPN, average: MPN, imitation: Imitation | None, optimizer: torch.optim.Optimizer) -> None:
    """Put what was saved into all of them."""
    mpn.load_state_dict(state["model"])
    average.load_state_dict(state["average"])
    if imitation is not None:
        imitation.load_state_dict(state["imitation"])
    optimizer.load_state_dict(state["optimizer"])


def train(recipe: Recipe, data: Path, out: Path, resume: bool = False) -> Path:
    """Train on the data set in ``data``; writes ``last.pt``, ``log.csv`` and ``log.png`` each epoch; returns the path of ``last.pt``.

    Raises ValueError for a recipe that this machine or this data set cannot follow, where losses are finite no longer, and where ``resume``
    finds another training; FileNotFoundError and ValueError as the readers do, OSError where ``out`` cannot be written.
    """
    if recipe.compiled and shutil.which(os.environ.get("CXX", "g++")) is None:
        raise ValueError("compiled: needs a C++ compiler: install g++, or leave compiled out of the recipe")
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    out.mkdir(parents=True, exist_ok=True)
    layout, device = recognise(unpacked(data)), torch.device("cuda" if torch.cuda.is_available() else "cpu")
    what = torch.cuda.get_device_name() if device.type == "cuda" else f"{recipe.threads} CPU thread(s)"
    print(f"{layout.name} ({layout.terms}). Training on {what} in {recipe.precision}.", flush=True)
    material = read_material(recipe, data)
    last = out / "last.pt"
    state = state_to_go_on_with(last, recipe, material.people) if resume and last.exists() else None

    mpn = build(recipe, material.ids * (len(CHANNEL_ORDERS) if recipe.recoloured else 1), None if recipe.start is None else False)
    if recipe.start is not None and state is None:
        sample = np.random.default_rng(recipe.seed).permutation(len(material.pictures))[:512]
        start_from(mpn, recipe.start, to_tensor(material.pictures[sample]), recipe.start_network)
        classifiers_from_centres(mpn, in_batches(mpn.eval().necked, material.pictures, device_of(mpn)), torch.from_numpy(material.labels))
        print(f"started from {recipe.start}: held-out {validate(mpn, material.held, material.held_pictures)}", flush=True)
    mpn = mpn.to(device)
    imitation = None
    if recipe.teacher is not None:
        imitation = Imitation(taught(recipe.teacher, material.pictures), recipe.parts * recipe.part_dim).to(device)
    average = copy.deepcopy(mpn).eval()
    optimizer = make_optimizer(mpn, imitation, recipe)
    first, log = 0, []
    if state is not None:
        restore(state, mpn, average, imitation, optimizer)
        first, log = state["epoch"], state.get("log", [])
    steps = max(1, len(material.labels) // (recipe.batch_ids * recipe.batch_images))
    grid = map_size(mpn, recipe)
    if recipe.compiled:
        mpn.backbone.compile()
    for epoch in range(first, recipe.epochs):
        rng = np.random.default_rng([recipe.seed, epoch])  # an epoch is the same whether resumed or not
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
            follow(average, mpn, min(recipe.ema, done / (done + 10)))
            sums += terms.detach().cpu().numpy()
            if not np.isfinite(sums).all():
                kept = f"; {last} is as after epoch {epoch}" if epoch else ""
                raise ValueError(f"epoch {epoch + 1}, step {count}: the losses are finite no longer; lower learning_rate{kept}")
            if count % 50 == 0:
                pace = (time.perf_counter() - began) / count
                left = pace * (recipe.epochs * steps - done) / 60
                said = ", ".join(f"{name} {value:.3f}" for name, value in zip(LOSSES, sums / count, strict=True))
                print(
                    f"epoch {epoch + 1}/{recipe.epochs} step {count}/{steps}: {said}; {pace:.2f} s a step, {left:.0f} min left", flush=True
                )
        score = validate(average, material.held, material.held_pictures)
        row = {"epoch": epoch + 1, **dict(zip(LOSSES, (sums / count).round(4).tolist(), strict=True))}
        row |= {"held_out_map": round(score.map, 4), "held_out_rank1": round(score.rank1, 4)}
        row |= {"seconds": round(time.perf_counter() - began, 1)}
        print(row, flush=True)
        log = [*log, row]
        saved = {"model": mpn.state_dict(), "average": average.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch + 1}
        saved |= {"imitation": {} if imitation is None else imitation.state_dict()}
        saved |= {"recipe": recipe.model_dump(mode="json"), "ids": int(mpn.main_classifiers.shape[2]), "log": log, **material.people}
        torch.save(saved, last.with_suffix(".tmp"))
        last.with_suffix(".tmp").replace(last)
        write_log(out / "log.csv", log)  # whole: what stands in it is what the checkpoint has been through
        plot_log(out / "log.csv", out / "log.png")
    return last


def write_log(path: Path, rows: list[dict[str, float]]) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
