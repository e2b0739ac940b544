"""Export a trained MPN as a bundle: fused, calibrated on held-out identities, verified against what it comes from. Needs ``[train]``."""

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
from reid.bundle import KEY, SEAL, UNSEALED, BundleFacts, open_bundle, sealed
from reid.datasets.layouts import read_split, recognise, unpacked
from reid.datasets.split import Split, fingerprint, held_out, load_pictures
from reid.evaluation.calibration import calibrate
from reid.evaluation.openset import pool
from reid.export.joining import CROPS, EMBEDDINGS, OPSET, Network, joined
from reid.export.whitening import half_whitening
from reid.network.mpn import Inference
from reid.network.packing import pack, unpack
from reid.training.pixels import MEAN, STD, embeddings, to_tensor
from reid.training.recipe import Recipe
from reid.training.train import HELD_OUT, build, read_checkpoint

QUANTISED = ["Conv", "Add", "Clip", "Relu"]  # the last steps (pooling, norm) stay in single precision
FIRST_SPARED = (0, 4, 8, 16, 32)  # so many first convolutions stay in single precision, if fewer will not do: their ranges are the widest
RANGE_CROPS = 256
WHITENING_CROPS = 6000  # of which the principal components are taken


def verify(path: Path, expected: Callable[[np.ndarray], np.ndarray], pictures: np.ndarray, least: float) -> float:
    """Least cosine between ``path`` in onnxruntime and what is ``expected`` of (n, 3, h, w), on real crops at batch 1, 3 and 8.

    Raises ValueError under ``least``.
    """
    session, worst = open_model(path, "cpu"), 1.0
    for batch in (1, 3, 8):
        crops = to_tensor(pictures[:batch]).contiguous().numpy()
        worst = min(worst, float((expected(crops) * session.run(crops)[0]).sum(1).min()))
    if worst < least:
        raise ValueError(f"{path}: gives other embeddings than what it was made from: cosine {worst:.6f}, at least {least} is wanted")
    return worst


def int8(whole: Path, out: Path, pictures: np.ndarray, least: float) -> None:
    """``whole`` in static INT8, ranges from (n, h, w, 3) uint8 RGB ``pictures``.

    As few of the first convolutions as bring each picture's cosine to what it was to ``least`` stay in single precision.
    """
    before = embeddings(open_model(whole, "cpu"), pictures)
    crops = to_tensor(pictures).contiguous().numpy()
    for spared in FIRST_SPARED:
        batches = np.array_split(crops, max(1, len(crops) // 16))
        static_int8(whole, out, iter([{"crops": batch} for batch in batches]), QUANTISED, partial(first_convolutions, number=spared))
        if (before * embeddings(open_model(out, "cpu"), pictures)).sum(1).min() >= least:
            return


def first_convolutions(model: onnx.ModelProto, number: int) -> list[str]:
    """Names of a graph's first convolutions."""
    return [node.name for node in model.graph.node if node.op_type == "Conv"][:number]


Form = Literal["fp32", "packed", "fp16", "int8"]  # packed: weights in 8 and 16 bits, arithmetic in fp32 (reid.packing)
LEAST_COSINE: dict[Form, float] = {"fp32": 0.9999, "packed": 0.999, "fp16": 0.999, "int8": 0.99}
REWRITTEN: dict[Form, Callable[[onnx.ModelProto], onnx.ModelProto]] = {"packed": pack, "fp16": to_half}


@dataclass(frozen=True)
class Source:
    """What a bundle is made of: a network, the recipes of the trainings in it, and what the file itself gives for (n, 3, h, w) crops:
    a checkpoint in torch, a bundle as it is.
    """

    path: Path
    recipes: tuple[dict[str, Any], ...]
    network: Network
    expected: Callable[[np.ndarray], np.ndarray]


def from_checkpoint(path: Path, scratch: Path) -> Source:
    """The running average of a training, fused. Raises ValueError for a file that is no checkpoint."""
    state = read_checkpoint(path)
    recipe = Recipe(**state["recipe"])
    mpn = build(recipe, state["ids"], pretrained=False)
    mpn.load_state_dict(state["average"])
    inference = Inference(mpn).to(memory_format=torch.contiguous_format)
    torch.onnx.export(
        inference, (torch.zeros(2, 3, recipe.height, recipe.width),), str(scratch / "network.onnx"), dynamo=False, opset_version=OPSET,
        input_names=[CROPS], output_names=[EMBEDDINGS], dynamic_axes={CROPS: {0: "batch"}, EMBEDDINGS: {0: "batch"}},
    )  # fmt: skip
    network = Network(onnx.load(scratch / "network.onnx"), recipe.height, recipe.width, recipe.parts * recipe.part_dim)

    def in_torch(crops: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return inference(torch.from_numpy(crops)).numpy()

    told = {"epochs_done": state["epoch"]}
    if HELD_OUT in state:  # those of before have none
        told[HELD_OUT] = state[HELD_OUT]
    return Source(path, (recipe.model_dump(mode="json") | told,), network, in_torch)


def from_bundle(path: Path) -> Source:
    """A bundle in fp32 or packed. Raises ModelError for a file that is no bundle, ValueError for one that is rounded more."""
    session, facts = open_bundle(path, "cpu")
    first = dict(facts.recipe)
    if (form := first.pop("exported_as", "fp32")) not in ("fp32", "packed"):
        raise ValueError(f"{path}: is in {form}; a bundle is made of one in fp32 or packed")
    others: Any = first.pop("joined", [])
    network = Network(unpack(onnx.load(path)), facts.height, facts.width, facts.dimension)
    return Source(path, (first, *others), network, lambda crops: session.run(crops)[0])


def whom_all_held_out(sources: Sequence[Source]) -> tuple[int, int]:
    """How many people, and the seed that names them: of one seed, fewer are some of more. Raises ValueError where seeds differ."""
    told = [(source.path, Recipe.model_validate(known(recipe))) for source in sources for recipe in source.recipes]
    first, seed = told[0][0], told[0][1].held_out_seed
    for path, recipe in told:
        if recipe.held_out_seed != seed:
            raise ValueError(f"{path}: cannot be joined with {first}: held_out_seed is {recipe.held_out_seed}, and {seed} there")
    return min(recipe.held_out_ids for _, recipe in told), seed


def check_people(sources: Sequence[Source], every: Split, root: Path, data: Path) -> None:
    """Raises ValueError where those whom a source held out are not those whom its recipe holds out of ``every``: it may have seen them."""
    for source in sources:
        for recipe in source.recipes:
            told = Recipe.model_validate(known(recipe))
            now = fingerprint(every.take(held_out(every, told.held_out_ids, told.held_out_seed)), root)
            if recipe.get(HELD_OUT, now) != now:
                raise ValueError(
                    f"{source.path}: was trained on other pictures than {data} has now: who was held out cannot be told; give those"
                )


def known(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name in Recipe.model_fields}


def by_hand(sources: Sequence[Source], projection: np.ndarray | None, crops: np.ndarray) -> np.ndarray:
    """What a bundle of ``sources`` is to give for (n, 3, h, w) ``crops``: each run by itself, its crops resized by torch."""
    rows = []
    for source in sources:
        own = F.interpolate(torch.from_numpy(crops), (source.network.height, source.network.width), mode="bilinear")
        rows.append(source.expected(own.contiguous().numpy()))
    side = np.concatenate(rows, axis=1)
    turned = side if projection is None else side @ projection
    return turned / np.linalg.norm(turned, axis=1, keepdims=True)


def side_by_side(sources: Sequence[Source], people: Split, dimensions: int | None, scratch: Path) -> tuple[Network, np.ndarray | None]:
    """The sources' networks as one, and the projection in it: ``dimensions`` principal components over ``people``, who were trained on."""
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
    sources: Sequence[Path], data: Path, out: Path, precision: Form = "fp32", dimensions: int | None = None
) -> tuple[BundleFacts, float]:
    """Write ``out`` (.onnx) from checkpoints of training and bundles; returns its facts, and the least cosine to torch or to those bundles.

    Of several the embeddings are put side by side. ``dimensions``: so many principal components, half whitened, of that. Distances are
    calibrated on the people whom all the recipes held out. Raises ValueError for sources that are neither or do not fit together, for other
    data than they were trained on, and where onnxruntime gives other embeddings: then nothing is written; OSError where ``out`` cannot be.
    """
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        whole_path, draft = scratch / "fp32.onnx", scratch / out.name
        made_of = [from_bundle(path) if path.suffix == ".onnx" else from_checkpoint(path, scratch) for path in sources]
        if len(sources) == 1 and sources[0].suffix == ".onnx" and precision == "fp32" and dimensions is None:
            raise ValueError(f"{sources[0]}: is a bundle already; --precision packed, fp16 or int8 makes another of it")
        held_ids, seed = whom_all_held_out(made_of)
        root = unpacked(data)
        layout, every = recognise(root), read_split(root, "train")
        check_people(made_of, every, root, data)
        kept_back = held_out(every, held_ids, seed)
        if kept_back.all():
            raise ValueError(f"{data}: has {len(np.unique(every.ids))} people, and {held_ids} were held out in training; give all its data")
        whole, projection = side_by_side(made_of, every.take(~kept_back), dimensions, scratch)
        held, pictures = load_pictures(every.take(kept_back), whole.height, whole.width)
        onnx.save(whole.model, whole_path)
        expected = partial(by_hand, made_of, projection)
        verify(whole_path, expected, pictures, LEAST_COSINE["fp32"])
        if precision == "int8":
            spread = np.linspace(0, len(pictures) - 1, min(len(pictures), RANGE_CROPS)).astype(int)
            int8(whole_path, draft, pictures[spread], LEAST_COSINE["int8"])
            model = onnx.load(draft)
        else:
            model = REWRITTEN[precision](whole.model) if precision in REWRITTEN else whole.model
            onnx.save(model, draft)
        rows = embeddings(open_model(draft, "cpu"), pictures)
        first, *others = (recipe for source in made_of for recipe in source.recipes)
        facts = BundleFacts(
            name=out.stem,
            height=whole.height,
            width=whole.width,
            mean=tuple(MEAN.tolist()),
            std=tuple(STD.tolist()),
            dimension=rows.shape[1],
            calibration=calibrate(rows, held),
            pooled=calibrate(*pool(rows, held)),
            data=f"{layout.name} ({layout.terms}); backbone: ImageNet",
            licence=f"AGPL-3.0-or-later; trained on data whose terms are: {layout.terms}",
            commit=(commit() or "unknown")[:7],
            recipe=first
            | {"held_out_ids": held_ids, HELD_OUT: fingerprint(every.take(kept_back), root)}
            | ({"joined": others} if others else {})
            | {"exported_as": precision},
        )
        onnx.helper.set_model_props(model, {KEY: facts.model_dump_json(), SEAL: UNSEALED})
        draft.write_bytes(sealed(model.SerializeToString()))
        open_bundle(draft, "cpu")
        worst = verify(draft, expected, pictures, LEAST_COSINE[precision])
        put(draft, out)
    return facts, worst
