"""Export a trained MPN as a bundle: fused, calibrated on held-out identities, verified against torch. Needs ``[train]``."""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from scipy.optimize import minimize

from detectors.session import open_model
from reid.bundle import KEY, BundleFacts, Calibration, open_bundle
from reid.data import Split, held_out, load_pictures, market1501
from reid.model import Inference
from reid.openset import pool
from reid.train import MEAN, STD, Recipe, build, features, to_tensor


def calibrate(rows: np.ndarray, split: Split, false_rate: float = 0.001) -> Calibration:
    """Gate and logistic from pairs of held-out pictures across cameras.

    The gate is the cosine distance under which ``false_rate`` of the pairs of different people fall. The logistic gives both
    kinds of pairs the same weight, that is, it assumes that one pair in two is the same person.
    """
    distance = 1 - rows @ rows.T
    across = split.cameras[:, None] != split.cameras[None]
    upper = np.triu(across, 1)
    same = split.ids[:, None] == split.ids[None]
    near, far = distance[upper & same].astype(np.float64), distance[upper & ~same].astype(np.float64)

    def loss(weights: np.ndarray) -> float:
        slope, offset = weights
        return float(np.logaddexp(0, slope * near + offset).mean() + np.logaddexp(0, -(slope * far + offset)).mean())

    slope, offset = minimize(loss, np.array([10.0, -5.0]), method="Nelder-Mead").x
    return Calibration(gate=float(np.quantile(far, false_rate)), slope=float(slope), offset=float(offset))


def verify(path: Path, inference: torch.nn.Module, pictures: np.ndarray, least: float) -> float:
    """Least cosine between torch and onnxruntime on real crops at batch 1, 3 and 8. Raises ValueError under ``least``."""
    session = open_model(path, "cpu")
    worst = 1.0
    for batch in (1, 3, 8):
        x = to_tensor(pictures[:batch]).contiguous()
        with torch.no_grad():
            expected = inference(x).numpy()
        got = session.run(x.numpy())[0]
        worst = min(worst, float((expected * got).sum(1).min()))
    if worst < least:
        raise ValueError(f"{path}: onnxruntime and torch differ: cosine {worst:.6f}, at least {least} is wanted")
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


def export(checkpoint: Path, data: Path, out: Path) -> tuple[BundleFacts, float]:
    """Write ``out`` (.onnx, fp32) from a checkpoint of ``reid/train.py``; returns its facts and the least cosine to torch.

    Raises ValueError for another checkpoint, and where onnxruntime gives other embeddings: then nothing is written.
    """
    state = read_checkpoint(checkpoint)
    recipe = Recipe(**state["recipe"])
    mpn = build(recipe, state["ids"], pretrained=False)
    mpn.load_state_dict(state["average"])
    every = market1501(data, "bounding_box_train")
    held = every.take(held_out(every, recipe.held_out_ids, recipe.seed))
    pictures = load_pictures(held.paths, recipe.height, recipe.width)
    rows = features(mpn, pictures, flip=False)
    calibration, pooled = calibrate(rows, held), calibrate(*pool(rows, held))
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False).stdout.strip()
    facts = BundleFacts(
        name=out.stem,
        height=recipe.height,
        width=recipe.width,
        mean=tuple(MEAN.tolist()),
        std=tuple(STD.tolist()),
        dimension=recipe.parts * recipe.part_dim,
        calibration=calibration,
        pooled=pooled,
        data="Market-1501 (research only); backbone: ImageNet",
        licence="AGPL-3.0-or-later; trained on data for research only",
        commit=commit or "unknown",
        recipe=recipe.model_dump(mode="json") | {"epochs_done": state["epoch"]},
    )
    inference = Inference(mpn).eval().to(memory_format=torch.contiguous_format)
    with tempfile.TemporaryDirectory() as scratch:
        draft = Path(scratch) / out.name
        example = torch.zeros(2, 3, recipe.height, recipe.width)
        torch.onnx.export(
            inference, (example,), str(draft), dynamo=False, opset_version=17, input_names=["crops"], output_names=["embeddings"],
            dynamic_axes={"crops": {0: "batch"}, "embeddings": {0: "batch"}},
        )  # fmt: skip
        model = onnx.load(draft)
        onnx.helper.set_model_props(model, {KEY: facts.model_dump_json()})
        onnx.save(model, draft)
        open_bundle(draft, "cpu")
        worst = verify(draft, inference, pictures, 0.9999)
        out.write_bytes(draft.read_bytes())
    return facts, worst
