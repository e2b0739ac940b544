"""Export a trained MPN as a bundle: fused, calibrated on held-out identities, verified against its sources. Needs ``[train]``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch
from torch.nn import functional as F

from detectors.runtime.atomic_file import put
from detectors.runtime.checkout import commit
from detectors.runtime.precision import static_int8, to_half
from detectors.runtime.session import open_model
from reid.bundle import KEY, SEAL, UNSEALED, BundleFacts, EvidenceWeights, open_bundle, sealed
from reid.datasets.layouts import Layout, read_split, recognise, unpacked
from reid.datasets.split import Split, fingerprint, held_out, load_pictures
from reid.evaluation.calibration import calibrate
from reid.evaluation.openset import pool
from reid.export.joining import CROPS, EMBEDDINGS, OPSET, Network, joined
from reid.export.whitening import half_whitening
from reid.network.mpn import Inference
from reid.network.packing import pack, unpack
from reid.training.distillation import build_student
from reid.training.pixels import MEAN, STD, embeddings, to_tensor
from reid.training.recipe import DistilRecipe, Recipe
from reid.training.train import DIMENSION, HELD_OUT, build, read_checkpoint

QUANTISED = ["Conv", "Add", "Clip", "Relu"]  # pooling and normalisation stay in fp32
FIRST_IN_FP32 = (0, 4, 8, 16, 32)  # numbers of first convolutions to keep in fp32: their ranges are the widest
RANGE_CROPS = 256
WHITENING_CROPS = 6000  # for the principal components


def verify(path: Path, expected: Callable[[np.ndarray], np.ndarray], pictures: np.ndarray, minimum: float) -> float:
    """Minimum cosine between the embeddings of ``path`` in onnxruntime and those ``expected`` of (n, 3, h, w), at batches of 1, 3 and 8.

    Raises ValueError below ``minimum``.
    """
    session, worst = open_model(path, "cpu"), 1.0
    for batch in (1, 3, 8):
        crops = to_tensor(pictures[:batch]).contiguous().numpy()
        worst = min(worst, float((expected(crops) * session.run(crops)[0]).sum(1).min()))
    if worst < minimum:
        raise ValueError(f"{path}: embeddings differ from those of the sources: cosine {worst:.6f}, at least {minimum} is required")
    return worst


def int8(whole: Path, out: Path, pictures: np.ndarray, minimum: float) -> None:
    """Quantise ``whole`` to static INT8, ranges from (n, h, w, 3) uint8 RGB ``pictures``.

    The fewest first convolutions for which every cosine to fp32 reaches ``minimum`` stay in fp32.
    """
    before = embeddings(open_model(whole, "cpu"), pictures)
    crops = to_tensor(pictures).contiguous().numpy()
    for kept in FIRST_IN_FP32:
        batches = np.array_split(crops, max(1, len(crops) // 16))
        static_int8(whole, out, iter([{"crops": batch} for batch in batches]), QUANTISED, partial(first_convolutions, number=kept))
        if (before * embeddings(open_model(out, "cpu"), pictures)).sum(1).min() >= minimum:
            return
    raise ValueError(
        f"INT8: a cosine to fp32 stays below {minimum}, even with {FIRST_IN_FP32[-1]} convolutions in fp32; choose --precision packed or fp16"
    )


def first_convolutions(model: onnx.ModelProto, number: int) -> list[str]:
    """Names of the first convolutions of a graph."""
    return [node.name for node in model.graph.node if node.op_type == "Conv"][:number]


Form = Literal["fp32", "packed", "fp16", "int8"]  # packed: weights in 8 and 16 bits, arithmetic in fp32 (reid.network.packing)
MIN_COSINE: dict[Form, float] = {"fp32": 0.9999, "packed": 0.999, "fp16": 0.999, "int8": 0.99}
REWRITES: dict[Form, Callable[[onnx.ModelProto], onnx.ModelProto]] = {"packed": pack, "fp16": to_half}


@dataclass(frozen=True)
class Source:
    """A source of a bundle: its network, the recipes of the trainings in it, and ``expected``, the embeddings of (n, 3, h, w) crops by the
    source itself (a checkpoint in torch, a bundle in onnxruntime).
    """

    path: Path
    recipes: tuple[dict[str, Any], ...]
    network: Network
    expected: Callable[[np.ndarray], np.ndarray]


def from_checkpoint(path: Path, scratch: Path) -> Source:
    """The EMA weights of a training or a distillation, fused. Raises ValueError for a file that is not a checkpoint."""
    state = read_checkpoint(path)
    recipe: Recipe | DistilRecipe
    if DIMENSION in state:
        recipe, dimension = DistilRecipe(**state["recipe"]), int(state[DIMENSION])
        student = build_student(recipe, dimension, pretrained=False)
        student.load_state_dict(state["average"])
        inference = Inference(student.mpn, student.turn)
    else:
        recipe = Recipe(**state["recipe"])
        dimension = recipe.parts * recipe.part_dim
        mpn = build(recipe, state["ids"], pretrained=False)
        mpn.load_state_dict(state["average"])
        inference = Inference(mpn)
    inference = inference.to(memory_format=torch.contiguous_format)
    torch.onnx.export(
        inference, (torch.zeros(2, 3, recipe.height, recipe.width),), str(scratch / "network.onnx"), dynamo=False, opset_version=OPSET,
        input_names=[CROPS], output_names=[EMBEDDINGS], dynamic_axes={CROPS: {0: "batch"}, EMBEDDINGS: {0: "batch"}},
    )  # fmt: skip
    network = Network(onnx.load(scratch / "network.onnx"), recipe.height, recipe.width, dimension)

    def in_torch(crops: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return inference(torch.from_numpy(crops)).numpy()

    facts = {"epochs_done": state["epoch"]} | {key: state[key] for key in ("sources", "taught_by") if key in state}
    if HELD_OUT in state:  # older checkpoints have none
        facts[HELD_OUT] = state[HELD_OUT]
    return Source(path, (recipe.model_dump(mode="json") | facts,), network, in_torch)


def from_bundle(path: Path) -> Source:
    """An fp32 or packed bundle. Raises ModelError for a file that is not a bundle, ValueError for another precision."""
    session, facts = open_bundle(path, "cpu")
    first = dict(facts.recipe)
    if (form := first.pop("exported_as", "fp32")) not in ("fp32", "packed"):
        raise ValueError(f"{path}: precision {form}; a source must be fp32 or packed")
    others: Any = first.pop("joined", [])
    network = Network(unpack(onnx.load(path)), facts.height, facts.width, facts.dimension)
    return Source(path, (first, *others), network, lambda crops: session.run(crops)[0])


def common_held_out(sources: Sequence[Source]) -> tuple[int, int]:
    """Number and seed of the people that all sources held out: with one seed, fewer are a subset of more. Raises ValueError if seeds differ."""
    recipes = [(source.path, Recipe.model_validate(recipe_fields(recipe))) for source in sources for recipe in source.recipes]
    first, seed = recipes[0][0], recipes[0][1].held_out_seed
    for path, recipe in recipes:
        if recipe.held_out_seed != seed:
            raise ValueError(f"{path}: cannot be joined with {first}: held_out_seed is {recipe.held_out_seed}, not {seed}")
    return min(recipe.held_out_ids for _, recipe in recipes), seed


def check_people(sources: Sequence[Source], every: Split, root: Path, data: Path) -> None:
    """Raises ValueError if the people a source held out are not those its recipe holds out of ``every``: it may be trained on them."""
    for source in sources:
        for recipe in source.recipes:
            trained = Recipe.model_validate(recipe_fields(recipe))
            now = fingerprint(every.take(held_out(every, trained.held_out_ids, trained.held_out_seed)), root)
            then = recipe.get(HELD_OUT, now)
            distilled = isinstance(then, list)  # one fingerprint for each dataset among the crops
            if now not in (then if distilled else [then]):
                hint = ", or --unseen if none of them was shown" if distilled else ""
                raise ValueError(
                    f"{source.path}: cannot verify the held-out set: it was trained on other images than {data} has now; give those{hint}"
                )


def recipe_fields(recipe: dict[str, Any]) -> dict[str, Any]:
    """The keys that name the held-out people, in the recipe of a training or a distillation."""
    return {name: recipe[name] for name in ("held_out_ids", "held_out_seed") if name in recipe}


def provenance(sources: Sequence[Source], layout: Layout) -> tuple[str, str]:
    """Training data with teachers, and terms. The data of trainings on labels is of ``layout``; distillations name their own."""
    terms: dict[str, str] = {}
    teachers: dict[str, None] = {}
    for recipe in (recipe for source in sources for recipe in source.recipes):
        folders: Any = recipe.get("sources")
        terms |= {layout.name: layout.terms} if folders is None else dict(folders)
        teacher: Any = recipe.get("taught_by")
        teachers |= {} if teacher is None else {teacher["name"]: None}
    data = ", ".join(f"{name} ({term})" for name, term in terms.items()) + "".join(f"; teacher: {name}" for name in teachers)
    return f"{data}; backbone: ImageNet", ", ".join(dict.fromkeys(terms.values()))


def reference_embeddings(sources: Sequence[Source], projection: np.ndarray | None, crops: np.ndarray) -> np.ndarray:
    """Expected embeddings of a bundle of ``sources`` for (n, 3, h, w) ``crops``: each source by itself, crops resized by torch."""
    rows = []
    for source in sources:
        own = F.interpolate(torch.from_numpy(crops), (source.network.height, source.network.width), mode="bilinear")
        rows.append(source.expected(own.contiguous().numpy()))
    side = np.concatenate(rows, axis=1)
    turned = side if projection is None else side @ projection
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)


def concatenated(sources: Sequence[Source], people: Split, dimensions: int | None, scratch: Path) -> tuple[Network, np.ndarray | None]:
    """The networks of the sources as one, and its projection: ``dimensions`` principal components of ``people``, who were trained on."""
    networks = [source.network for source in sources]
    whole = joined(networks)
    if dimensions is None:
        return whole, None
    spread = np.linspace(0, len(people.ids) - 1, min(len(people.ids), WHITENING_CROPS)).astype(int)
    _, pictures = load_pictures(people.take(spread), whole.height, whole.width)
    onnx.save(whole.model, scratch / "whole.onnx")
    projection = half_whitening(embeddings(open_model(scratch / "whole.onnx", "cpu"), pictures), dimensions)
    return joined(networks, projection), projection


def export(
    sources: Sequence[Path],
    data: Path,
    out: Path,
    precision: Form = "fp32",
    dimensions: int | None = None,
    evidence: EvidenceWeights | None = None,
    unseen: bool = False,
) -> tuple[BundleFacts, float]:
    """Write ``out`` (.onnx) from checkpoints and bundles; returns its metadata and the minimum cosine to the sources.

    Embeddings of several sources are concatenated. ``dimensions``: number of principal components, half whitened. ``evidence``: what distances
    mean to association, fitted over several sites, or association's own defaults. Distances are
    calibrated on the people that all recipes held out; on all people of ``data`` if it is ``unseen``, a dataset none of whose images was
    trained on. Raises ValueError for sources that are neither or do not fit together, for other
    data than they were trained on, and if onnxruntime gives other embeddings (nothing is written then); OutputError if ``out`` cannot be
    written.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        whole_path, draft = scratch / "fp32.onnx", scratch / out.name
        made_of = [from_bundle(path) if path.suffix == ".onnx" else from_checkpoint(path, scratch) for path in sources]
        if len(sources) == 1 and sources[0].suffix == ".onnx" and precision == "fp32" and dimensions is None:
            raise ValueError(f"{sources[0]}: already a bundle; choose --precision packed, fp16 or int8, or --dimensions")
        held_ids, seed = common_held_out(made_of)
        root = unpacked(data)
        layout, every = recognise(root), read_split(root, "train")
        if unseen and dimensions is not None:
            raise ValueError("--dimensions needs people who were trained on; --unseen says that --data has none")
        if not unseen:
            check_people(made_of, every, root, data)
        kept_back = np.ones(len(every.ids), bool) if unseen else held_out(every, held_ids, seed)
        if kept_back.all() and not unseen:
            raise ValueError(f"{data}: has {len(np.unique(every.ids))} people, but {held_ids} were held out in training; give all its data")
        whole, projection = concatenated(made_of, every.take(~kept_back), dimensions, scratch)
        held, pictures = load_pictures(every.take(kept_back), whole.height, whole.width)
        onnx.save(whole.model, whole_path)
        expected = partial(reference_embeddings, made_of, projection)
        verify(whole_path, expected, pictures, MIN_COSINE["fp32"])
        if precision == "int8":
            spread = np.linspace(0, len(pictures) - 1, min(len(pictures), RANGE_CROPS)).astype(int)
            int8(whole_path, draft, pictures[spread], MIN_COSINE["int8"])
            model = onnx.load(draft)
        else:
            model = REWRITES[precision](whole.model) if precision in REWRITES else whole.model
            onnx.save(model, draft)
        rows = embeddings(open_model(draft, "cpu"), pictures)
        first, *others = (recipe for source in made_of for recipe in source.recipes)
        trained_on, terms = provenance(made_of, layout)
        facts = BundleFacts(
            name=out.stem,
            height=whole.height,
            width=whole.width,
            mean=tuple(MEAN.tolist()),
            std=tuple(STD.tolist()),
            dimension=rows.shape[1],
            calibration=calibrate(rows, held),
            evidence=evidence,
            pooled=calibrate(*pool(rows, held)),
            data=trained_on,
            licence=f"AGPL-3.0-or-later; trained on data whose terms are: {terms}",
            commit=(commit() or "unknown")[:7],
            recipe=first
            | {"held_out_ids": held_ids, HELD_OUT: fingerprint(every.take(kept_back), root)}
            | ({"joined": others} if others else {})
            | {"exported_as": precision},
        )
        onnx.helper.set_model_props(model, {KEY: facts.model_dump_json(), SEAL: UNSEALED})
        draft.write_bytes(sealed(model.SerializeToString()))
        open_bundle(draft, "cpu")
        worst = verify(draft, expected, pictures, MIN_COSINE[precision])
        put(draft, out)
    return facts, worst
