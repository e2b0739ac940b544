"""Export a trained MPN as a bundle: fused, calibrated on held-out identities, verified against what it comes from. Needs ``[train]``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import torch

from detectors.quantise import static_int8, to_half
from detectors.session import Session, open_model
from reid.bundle import KEY, BundleFacts, open_bundle
from reid.calibration import calibrate
from reid.checkout import commit
from reid.data import held_out, load_pictures
from reid.layouts import read_split, recognise, unpacked
from reid.model import Inference, Joined
from reid.openset import pool
from reid.packing import pack, unpack
from reid.pixels import MEAN, STD, to_tensor
from reid.recipe import Recipe
from reid.train import build, in_batches
from reid.whitening import half_whitening

QUANTISED = ["Conv", "Add", "Clip", "Relu"]  # the last steps (pooling, norm) stay in single precision
FIRST_SPARED = (0, 4, 8, 16, 32)  # so many first convolutions stay in single precision, if fewer will not do: their ranges are the widest
RANGE_CROPS = 256
WHITENING_CROPS = 6000  # of which the principal components are taken


def embeddings(session: Session, pictures: np.ndarray, batch: int = 64) -> np.ndarray:
    """(n, d) of (n, h, w, 3) uint8 RGB pictures of the model's own size."""
    starts = range(0, len(pictures), batch)
    return np.concatenate([session.run(to_tensor(pictures[start : start + batch]).contiguous().numpy())[0] for start in starts])


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


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state that ``reid.train`` saved. Raises ValueError for a file that is not such."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises whatever the archive, the pickle or the reader raise
        raise ValueError(f"{path}: not a checkpoint that can be read ({str(error).splitlines()[0]})") from None
    if not isinstance(state, dict) or not {"average", "recipe", "ids", "epoch"} <= state.keys():
        raise ValueError(f"{path}: not a checkpoint of passerby reid train")
    return state


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
ALIKE = ("height", "width", "held_out_seed")  # what networks that are joined share; of one seed, fewer people held out are some of more


def one_network(checkpoint: Path) -> tuple[Recipe, int, Inference]:
    """A checkpoint's recipe, the epochs done, and its running average for inference."""
    state = read_checkpoint(checkpoint)
    recipe = Recipe(**state["recipe"])
    mpn = build(recipe, state["ids"], pretrained=False)
    mpn.load_state_dict(state["average"])
    return recipe, state["epoch"], Inference(mpn)


def fused(checkpoints: Sequence[Path], out: Path, data: Path, dimensions: int | None) -> tuple[dict[str, Any], Joined]:
    """Write the running averages of checkpoints as one fp32 ONNX, fused; returns the first's recipe, in which ``joined`` are the others'
    and ``held_out_ids`` the people whom all held out.

    With ``dimensions`` its embeddings are so many principal components over the training split less the people held out.
    """
    recipes, epochs, networks = zip(*map(one_network, checkpoints), strict=True)
    first: Recipe = recipes[0]
    for path, recipe in zip(checkpoints, recipes, strict=True):
        for field in ALIKE:
            ours, theirs = getattr(recipe, field), getattr(first, field)
            if ours != theirs:
                raise ValueError(f"{path}: cannot be joined with {checkpoints[0]}: {field} is {ours}, and {theirs} there")
    told = [recipe.model_dump(mode="json") | {"epochs_done": done} for recipe, done in zip(recipes, epochs, strict=True)]
    held_ids = min(recipe.held_out_ids for recipe in recipes)
    joined = Joined(networks).to(memory_format=torch.contiguous_format)
    if dimensions is not None:
        every = read_split(data, "train")
        rest = every.take(~held_out(every, held_ids, first.held_out_seed))
        spread = np.linspace(0, len(rest.ids) - 1, min(len(rest.ids), WHITENING_CROPS)).astype(int)
        _, pictures = load_pictures(rest.take(spread), first.height, first.width)
        rows = in_batches(joined, pictures, torch.device("cpu")).numpy()
        joined.turn_by(torch.from_numpy(half_whitening(rows, dimensions)))
    example = torch.zeros(2, 3, first.height, first.width)
    torch.onnx.export(
        joined, (example,), str(out), dynamo=False, opset_version=17, input_names=["crops"], output_names=["embeddings"],
        dynamic_axes={"crops": {0: "batch"}, "embeddings": {0: "batch"}},
    )  # fmt: skip
    return told[0] | {"held_out_ids": held_ids} | ({"joined": told[1:]} if told[1:] else {}), joined


def export(
    sources: Sequence[Path], data: Path, out: Path, precision: Form = "fp32", dimensions: int | None = None
) -> tuple[BundleFacts, float]:
    """Write ``out`` (.onnx) from checkpoints of training, or from one fp32 bundle in another form; returns its facts, and the least cosine
    to torch or to that bundle.

    Of several checkpoints the embeddings are put side by side. ``dimensions``: so many principal components, half whitened, of that.
    Distances are calibrated on the people whom the recipe held out. Raises ValueError for sources that are neither or do not fit
    together, and where onnxruntime gives other embeddings: then nothing is written.
    """
    with tempfile.TemporaryDirectory() as scratch:
        whole, draft = Path(scratch) / "fp32.onnx", Path(scratch) / out.name
        bundles = [source for source in sources if source.suffix == ".onnx"]
        if bundles:
            if len(sources) > 1:
                raise ValueError(f"{bundles[0]}: bundles cannot be joined; give the checkpoints (last.pt) that they were made from")
            if precision == "fp32":
                raise ValueError(f"{bundles[0]}: is a bundle already; --precision packed, fp16 or int8 makes another of it")
            if dimensions is not None:
                raise ValueError(f"{bundles[0]}: a bundle's dimensions stay as they are; --dimensions is for a checkpoint (last.pt)")
            session, before = open_bundle(bundles[0], "cpu")
            told, expected = dict(before.recipe), lambda crops: session.run(crops)[0]
            onnx.save(unpack(onnx.load(bundles[0])), whole)
        else:
            told, joined = fused(sources, whole, data, dimensions)

            def expected(crops: np.ndarray) -> np.ndarray:
                with torch.no_grad():
                    return joined(torch.from_numpy(crops)).numpy()  # type: ignore[no-any-return]

        recipe = Recipe.model_validate({name: value for name, value in told.items() if name in Recipe.model_fields})
        layout, every = recognise(unpacked(data)), read_split(data, "train")
        held, pictures = load_pictures(every.take(held_out(every, recipe.held_out_ids, recipe.held_out_seed)), recipe.height, recipe.width)
        verify(whole, expected, pictures, LEAST_COSINE["fp32"])
        if precision == "int8":
            spread = np.linspace(0, len(pictures) - 1, min(len(pictures), RANGE_CROPS)).astype(int)
            int8(whole, draft, pictures[spread], LEAST_COSINE["int8"])
            model = onnx.load(draft)
        else:
            model = onnx.load(whole)
            model = REWRITTEN[precision](model) if precision in REWRITTEN else model
            onnx.save(model, draft)
        rows = embeddings(open_model(draft, "cpu"), pictures)
        facts = BundleFacts(
            name=out.stem,
            height=recipe.height,
            width=recipe.width,
            mean=tuple(MEAN.tolist()),
            std=tuple(STD.tolist()),
            dimension=rows.shape[1],
            calibration=calibrate(rows, held),
            pooled=calibrate(*pool(rows, held)),
            data=f"{layout.name} ({layout.terms}); backbone: ImageNet",
            licence=f"AGPL-3.0-or-later; trained on data whose terms are: {layout.terms}",
            commit=(commit() or "unknown")[:7],
            recipe=told | {"exported_as": precision},
        )
        onnx.helper.set_model_props(model, {KEY: facts.model_dump_json()})
        onnx.save(model, draft)
        open_bundle(draft, "cpu")
        worst = verify(draft, expected, pictures, LEAST_COSINE[precision])
        out.write_bytes(draft.read_bytes())
    return facts, worst
