"""Distil a teacher into MPN, on crops without labels. Needs the extra ``[train]``.

Sources: Park et al., "Relational Knowledge Distillation", CVPR 2019 (the cosines within a batch as targets); Beyer et al., "Knowledge
Distillation: A Good Teacher is Patient and Consistent", CVPR 2022 (the same view for teacher and student).
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F

from reid.datasets.layouts import read_split
from reid.datasets.split import Split, load_pictures, one_each
from reid.evaluation.centring import CameraMeans
from reid.evaluation.retrieval import retrieval
from reid.network.backbones import Backbone, last_convolution
from reid.network.mpn import MPN, Projected
from reid.training.crops import Crops, read_crops
from reid.training.jitter import Views
from reid.training.pixels import to_tensor
from reid.training.recipe import DistilRecipe
from reid.training.teacher import Teacher
from reid.training.train import DIMENSION, HELD_OUT, check_recipe, read_checkpoint, update_ema, write_log

log = logging.getLogger(__name__)
CHANGEABLE = {"epochs", "threads", "checkpoint_minutes", "start", "pretrained"}  # keys of a recipe that may change before it is resumed
CHUNK = 256
RIDGE = 3.0  # relative to the mean variance of the features; lower values overfit
PROJECTION_RMS = 0.1  # of the initial projection: AdamW's steps would change a smaller one too fast


def build_student(recipe: DistilRecipe, dimension: int, pretrained: bool | None = None) -> Projected:
    """The network of a recipe for embeddings of ``dimension``; ``pretrained`` overrides the recipe."""
    wanted = recipe.pretrained if pretrained is None else pretrained
    backbone = Backbone(recipe.backbone, recipe.last_stride, wanted)
    mpn = MPN(backbone, 1, recipe.parts, recipe.part_width, recipe.part_dim, recipe.neck, auxiliary=False)
    last = last_convolution(recipe.backbone) if wanted else None
    if last is not None:
        mpn.main.init_from(*last)
    return Projected(mpn, dimension).to(memory_format=torch.channels_last)


@dataclass(frozen=True)
class Material:
    """Training data: crops, ``targets`` (views, n, d) of the teacher, ``near`` (n, k) neighbours and sampling ``weight`` (n,) of each crop."""

    crops: Crops
    targets: np.ndarray
    near: np.ndarray
    weight: np.ndarray

    def views(self, recipe: DistilRecipe, number: int) -> Views:
        return Views.drawn(len(self.weight), recipe.jitter, [recipe.seed, number, 0])


def taught_views(teacher: Teacher, crops: Crops, recipe: DistilRecipe, folder: Path) -> np.ndarray:
    """(views, n, d) float16 unit rows of the teacher for all views of all crops; cached in ``folder``."""
    rows = []
    for number in range(recipe.views):
        told = [crops.fingerprint, teacher.sha256, recipe.jitter.model_dump_json(), str(recipe.seed), str(number)]
        path = folder / f"teacher-{hashlib.sha256(' '.join(told).encode()).hexdigest()[:16]}.npy"
        if not path.is_file():
            began = time.perf_counter()
            some = view_rows(teacher, crops, Views.drawn(len(crops.pictures), recipe.jitter, [recipe.seed, number, 0]))
            draft = path.with_suffix(".draft.npy")
            np.save(draft, some.astype(np.float16))
            draft.replace(path)
            log.info("teacher: view %d of %d, %d crops, %.0f s", number + 1, recipe.views, len(some), time.perf_counter() - began)
        rows.append(np.load(path))
    return np.stack(rows)


def view_rows(teacher: Teacher, crops: Crops, views: Views) -> np.ndarray:
    """(n, d) embeddings by the teacher of one view of each crop."""
    found = []
    for start in range(0, len(crops.pictures), CHUNK):
        rows = range(start, min(start + CHUNK, len(crops.pictures)))
        found.append(teacher.embed(np.stack([views.show(crops.pictures[row], row, teacher.height, teacher.width) for row in rows])))
    return np.concatenate(found)


def nearest(rows: np.ndarray, count: int, allowed: np.ndarray) -> np.ndarray:
    """(n, count) nearest other rows of each row by cosine, nearest first, among those ``allowed`` (n,) bool."""
    every, found = torch.from_numpy(rows.astype(np.float32)), []
    gone = torch.from_numpy(~allowed)
    for start in range(0, len(every), 1024):
        alike = every[start : start + 1024] @ every.T
        alike[:, gone] = -2
        alike[torch.arange(len(alike)), torch.arange(start, start + len(alike))] = -3
        found.append(alike.topk(min(count, int(allowed.sum()) - 1)).indices)
    return torch.cat(found).numpy()


def weights_of(recipe: DistilRecipe, crops: Crops) -> np.ndarray:
    """(n,) sampling probability of each crop. Raises ValueError if fewer than a batch can be sampled."""
    kinds = set(crops.kinds.tolist())
    for kind in recipe.often.keys() - kinds:
        log.warning("often: no crop of kind %s; kinds are %s", kind, ", ".join(sorted(kinds)))
    weight = np.array([recipe.often.get(kind, 1.0) for kind in crops.kinds.tolist()])
    if (weight > 0).sum() < recipe.batch:
        raise ValueError(f"{(weight > 0).sum()} crops are fewer than a batch ({recipe.batch})")
    return weight / weight.sum()


def size_at(recipe: DistilRecipe, done: float) -> tuple[int, int]:
    """Height and width of the input after a share ``done`` of the steps."""
    return next(((height, width) for height, width, until in recipe.smaller_first if done < until), (recipe.height, recipe.width))


def shown(
    recipe: DistilRecipe, material: Material, views: Views, rows: np.ndarray, rng: np.random.Generator, size: tuple[int, int]
) -> torch.Tensor:
    """(m, 3, *size) student input of the crops ``rows`` (m,)."""
    pictures = material.crops.pictures
    return to_tensor(np.stack([views.shown_again(pictures[row], int(row), *size, recipe.jitter, rng) for row in rows]))


def distances(rows: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Both losses of unit ``rows`` and ``targets`` (m, d): mean cosine distance, and mean squared error of the cosines within the batch."""
    return (1 - (rows * targets).sum(1)).mean(), (rows @ rows.T - targets @ targets.T).square().mean()


@torch.no_grad()
def initialise(student: Projected, recipe: DistilRecipe, material: Material) -> float:
    """Initialise the statistics of the head, and the projection by ridge regression; returns the mean cosine distance of that fit."""
    rng, size = np.random.default_rng([recipe.seed, 0, 3]), size_at(recipe, 0)
    some = np.flatnonzero(material.weight > 0)
    rows = rng.permutation(some)[: recipe.ridge_crops]
    views = material.views(recipe, 0)
    backbone = copy.deepcopy(student.mpn.backbone.state_dict())
    student.train()
    for start in range(0, min(len(rows), 8 * recipe.batch), recipe.batch):
        student(shown(recipe, material, views, rows[start : start + recipe.batch], rng, size))
    student.mpn.backbone.load_state_dict(backbone)  # keeps ImageNet's statistics
    student.eval()
    features = []
    for start in range(0, len(rows), 64):
        images = shown(recipe, material, views, rows[start : start + 64], rng, size)
        with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
            features.append(student.features(images).float())
    x, y = torch.cat(features).double(), torch.from_numpy(material.targets[0][rows]).double()
    spread = (x - x.mean(0)).T @ (x - x.mean(0))
    ridge = RIDGE * spread.diagonal().mean() * torch.eye(len(spread))
    weight = torch.linalg.solve(spread + ridge, (x - x.mean(0)).T @ (y - y.mean(0)))
    bias = y.mean(0) - x.mean(0) @ weight
    scale = PROJECTION_RMS / weight.square().mean().sqrt()
    student.turn.weight.copy_(weight.T * scale)
    student.turn.bias.copy_(bias * scale)
    return float(distances(F.normalize(x @ weight + bias), F.normalize(y))[0])


def make_optimizer(student: Projected, recipe: DistilRecipe) -> torch.optim.Optimizer:
    """AdamW without weight decay on norms and biases; the unused classifiers are left out."""
    every = [parameter for name, parameter in student.named_parameters() if "classifiers" not in name]
    decay, plain = [p for p in every if p.ndim > 1], [p for p in every if p.ndim < 2]
    return torch.optim.AdamW(
        [{"params": decay, "weight_decay": recipe.weight_decay}, {"params": plain, "weight_decay": 0.0}], lr=recipe.learning_rate
    )


def learning_rate(recipe: DistilRecipe, step: int, steps: int) -> float:
    """Learning rate of ``step`` of ``steps``, counted from 0: linear warm-up, cosine."""
    warm = min(1.0, (step + 1) / max(recipe.warmup_steps, 1))
    return recipe.learning_rate * warm * max(0.005, 0.5 * (1 + math.cos(math.pi * step / steps)))


def batches(recipe: DistilRecipe, material: Material, epoch: int) -> Iterator[np.ndarray]:
    """Rows of the batches of an epoch: half sampled by weight, half a random neighbour of each."""
    rng, half = np.random.default_rng([recipe.seed, epoch, 1]), recipe.batch // 2
    order = rng.choice(len(material.weight), len(material.weight), True, material.weight)
    for start in range(0, len(order) - half + 1, half):
        first = order[start : start + half]
        yield np.concatenate([first, material.near[first, rng.integers(0, material.near.shape[1], half)]])


@dataclass(frozen=True)
class Watched:
    """A dataset that is not trained on, to evaluate each epoch: ``pictures`` (n, h, w, 3) uint8 RGB at the input size."""

    split: Split
    pictures: np.ndarray

    @staticmethod
    def read(folder: Path, recipe: DistilRecipe) -> Watched:
        """The training split of a re-ID dataset. Raises FileNotFoundError and ValueError as the readers do."""
        return Watched(*load_pictures(read_split(folder, "train"), recipe.height, recipe.width))

    def measured(self, embed: Callable[[torch.Tensor], torch.Tensor]) -> dict[str, float]:
        """mAP and Rank-1, as is and centred per camera: one query per person and camera, all images as the gallery."""
        with torch.no_grad():
            starts = range(0, len(self.pictures), 64)
            rows = torch.cat([embed(to_tensor(self.pictures[start : start + 64])).float() for start in starts]).numpy()
        found: dict[str, float] = {}
        asked, cameras = one_each(self.split), self.split.cameras
        for name, some in (("", rows), ("centred_", CameraMeans.of(rows, cameras).centred(rows, cameras))):
            score = retrieval(some[asked], self.split.ids[asked], cameras[asked], some, self.split.ids, cameras)
            found |= {f"{name}map": round(score.map, 4), f"{name}rank1": round(score.rank1, 4)}
        return found


def read_distilled(path: Path) -> dict[str, Any]:
    """The state saved by ``distil``. Raises ValueError for any other file."""
    state = read_checkpoint(path)
    if DIMENSION not in state:
        raise ValueError(f"{path}: not a checkpoint of passerby reid distil")
    return state


def resumable_state(path: Path, recipe: DistilRecipe, facts: dict[str, Any]) -> dict[str, Any]:
    """The state of a distillation with the same ``recipe``, crops and teacher. Raises ValueError, naming what differs."""
    state = read_distilled(path)
    check_recipe(path, state, recipe, CHANGEABLE)
    if state["crops"] != facts["crops"]:
        raise ValueError(f"{path}: cannot resume: it was trained on other crops; restore them or omit --resume")
    if state["taught_by"] != facts["taught_by"]:
        raise ValueError(f"{path}: cannot resume: its teacher was {state['taught_by']['name']}; restore it or omit --resume")
    return state


class Run:
    """State of a distillation: ``student``, its moving ``average``, the number of steps done, and a ``history`` row per finished epoch."""

    def __init__(self, recipe: DistilRecipe, facts: dict[str, Any], state: dict[str, Any] | None) -> None:
        """``facts`` about crops and teacher go into checkpoints. Continues from ``state``, if any."""
        self.recipe, self.facts = recipe, facts
        torch.manual_seed(recipe.seed)
        begun = state is not None or recipe.start is not None
        self.student = build_student(recipe, facts[DIMENSION], pretrained=False if begun else None)
        self.step, self.history = 0, list[dict[str, float]]()
        if state is not None:
            self.student.load_state_dict(state["model"])
            self.step, self.history = state["step"], state["log"]
        elif recipe.start is not None:
            self.student.load_state_dict(read_distilled(recipe.start)["average"])
        self.average, self.optimizer = copy.deepcopy(self.student).eval(), make_optimizer(self.student, recipe)
        if state is not None:
            self.average.load_state_dict(state["average"])
            self.optimizer.load_state_dict(state["optimizer"])

    def learn(self, images: torch.Tensor, targets: torch.Tensor, steps: int) -> np.ndarray:
        """One of ``steps`` steps on ``images`` (m, 3, h, w) with the unit rows ``targets`` (m, d) of the teacher; returns both losses."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.recipe, self.step, steps)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.recipe.precision == "bf16"):
            embedded = self.student(images)
        terms = distances(embedded.float(), targets)
        self.optimizer.zero_grad(set_to_none=True)
        (terms[0] + self.recipe.relations * terms[1]).backward()
        self.optimizer.step()
        self.step += 1
        update_ema(self.average, self.student, min(self.recipe.ema, self.step / (self.step + 10)))
        losses = np.array([float(term.detach()) for term in terms])
        if not np.isfinite(losses).all():
            raise ValueError(f"step {self.step}: loss became NaN or infinite; lower learning_rate")
        return losses

    def save(self, path: Path) -> None:
        """Write a checkpoint, atomically."""
        networks = {"model": self.student.state_dict(), "average": self.average.state_dict(), "optimizer": self.optimizer.state_dict()}
        saved = networks | self.facts | {"step": self.step, "epoch": len(self.history), "log": self.history}
        torch.save(saved | {"recipe": self.recipe.model_dump(mode="json")}, path.with_suffix(".draft"))
        path.with_suffix(".draft").replace(path)


def distil(
    recipe: DistilRecipe, folders: list[Path], teacher_path: Path, out: Path, watch: Path | None = None, resume: bool = False
) -> Path:
    """Distil the model ``teacher_path`` on the crops of ``folders``; returns the path of ``last.pt`` in ``out``.

    Writes ``last.pt`` every few minutes and after each epoch, ``log.csv`` after each epoch, and caches crops and teacher embeddings in
    ``out``. ``watch``: a re-ID dataset that is not trained on, evaluated after each epoch. A resumed distillation gives the same result, bit for
    bit on a CPU. Raises FileNotFoundError and ValueError as the readers do, ModelError for the teacher, ValueError if the loss becomes NaN or
    infinite, or if ``resume`` finds another distillation.
    """
    torch.set_num_threads(recipe.threads)
    last = out / "last.pt"
    watched = None if watch is None else Watched.read(watch, recipe)
    teacher = Teacher(teacher_path, recipe.threads)
    stored = (recipe.stored_height, recipe.stored_width)
    crops = read_crops(folders, *stored, recipe.held_out_ids, recipe.held_out_seed, out / "crops.npy")
    weight = weights_of(recipe, crops)
    facts: dict[str, Any] = {"crops": crops.fingerprint, "taught_by": {"name": teacher_path.stem, "sha256": teacher.sha256}}
    state = resumable_state(last, recipe, facts) if resume and last.is_file() else None
    targets = taught_views(teacher, crops, recipe, out)
    material = Material(crops, targets, nearest(targets[0], recipe.neighbours, weight > 0), weight)
    facts |= {DIMENSION: targets.shape[2], "sources": [list(source) for source in crops.sources], HELD_OUT: list(crops.held_out)}
    run = Run(recipe, facts, state)
    if state is None and recipe.start is None:
        log.info("projection initialised: 1 - cosine %.3f", initialise(run.student, recipe, material))
        run.average.load_state_dict(run.student.state_dict())
    steps_an_epoch = len(weight) // (recipe.batch // 2)
    steps = recipe.epochs * steps_an_epoch
    saved_at = time.perf_counter()
    for epoch in range(run.step // steps_an_epoch, recipe.epochs):
        number = epoch % recipe.views
        views = material.views(recipe, number)
        began, sums, before = time.perf_counter(), np.zeros(2), run.step
        run.student.train()
        for rows in itertools.islice(batches(recipe, material, epoch), before - epoch * steps_an_epoch, None):
            rng = np.random.default_rng([recipe.seed, run.step, 2])
            images = shown(recipe, material, views, rows, rng, size_at(recipe, run.step / steps))
            sums += run.learn(images, F.normalize(torch.from_numpy(targets[number][rows]).float()), steps)
            if (count := run.step - before) % 100 == 0:
                pace, (distance, relations) = (time.perf_counter() - began) / count, sums / count
                place, left = f"epoch {epoch + 1}/{recipe.epochs} step {run.step}/{steps}", pace * (steps - run.step) / 60
                log.info("%s: distance %.4f, relations %.5f; %.2f s per step, %.0f min left", place, distance, relations, pace, left)
            if time.perf_counter() - saved_at > recipe.checkpoint_minutes * 60:
                run.save(last)
                saved_at = time.perf_counter()
        distance, relations = (sums / max(run.step - before, 1)).tolist()
        row: dict[str, float] = {"epoch": epoch + 1, "distance": round(distance, 4), "relations": round(relations, 6)}
        row |= watched.measured(run.average) if watched is not None else {}
        row |= {"seconds": round(time.perf_counter() - began, 1)}
        log.info("%s", ", ".join(f"{name} {value}" for name, value in row.items()))
        run.history = [*run.history, row]
        run.save(last)
        saved_at = time.perf_counter()
        write_log(out / "log.csv", run.history)
    return last
