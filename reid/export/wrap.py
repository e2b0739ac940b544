"""Any re-ID network in ONNX as a bundle: its input and output in the bundle's form, calibrated on people. Needs the package onnx, no torch."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper

from detectors.runtime.atomic_file import put
from detectors.runtime.checkout import commit
from detectors.runtime.session import open_model
from reid.bundle import KEY, SEAL, UNSEALED, BundleFacts, Calibration, sealed
from reid.datasets.layouts import read_split, recognise, unpacked
from reid.datasets.split import Split, load_pictures
from reid.embedder import Embedder, EmbedderSettings
from reid.evaluation.calibration import calibrate
from reid.evaluation.openset import pool

Colour = Literal["RGB", "BGR"]
PICTURES, TRIED = 4000, 400  # images to calibrate on, and to choose the preparation of pixels by
DEFAULT_SIZE = (256, 128)  # of networks that take any size
IMAGENET = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
NAMED: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "imagenet": IMAGENET,
    "0-1": ((0.0,) * 3, (255.0,) * 3),
    "0-255": ((0.0,) * 3, (1.0,) * 3),
    "-1-1": ((127.5,) * 3, (127.5,) * 3),
}


@dataclass(frozen=True)
class Pixels:
    """How the network wants its pixels: ``mean`` and ``std`` of each channel in its ``colour`` order, in 0..255."""

    name: str
    colour: Colour
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Wrapped:
    """What ``wrap`` wrote. ``separation``: by preparation of pixels tried, how far apart it puts distances of one person and of two, in
    standard deviations.
    """

    facts: BundleFacts
    separation: dict[str, float]
    people: int
    pictures: int


def candidates(pixels: str, colour: Colour | None, mean: Sequence[float] | None, std: Sequence[float] | None) -> list[Pixels]:
    """The preparations to try: the one that is stated, or the usual ones. Raises ValueError for half a statement."""
    colours: tuple[Colour, ...] = (colour,) if colour is not None else ("RGB", "BGR")
    if (mean is None) != (std is None):
        raise ValueError("give both --mean and --std, or neither")
    if mean is not None and std is not None:
        if len(mean) != 3 or len(std) != 3 or min(std) <= 0:
            raise ValueError("--mean and --std need three numbers each, those of --std above 0")
        scale = 255.0 if max(max(mean), max(std)) <= 2 else 1.0  # stated for pixels of 0..1
        given = tuple(scale * value for value in mean), tuple(scale * value for value in std)
        return [Pixels("as stated", one, *given) for one in colours]
    if pixels != "auto" and pixels not in NAMED:
        raise ValueError(f"--pixels {pixels}: must be auto, {', '.join(NAMED)}")
    chosen = NAMED if pixels == "auto" else {pixels: NAMED[pixels]}
    return [
        Pixels(name, one, *(tuple(values if one == "RGB" else values[::-1]) for values in both))
        for name, both in chosen.items()
        for one in colours
    ]


def adapted(
    model: onnx.ModelProto, layout: str | None, size: tuple[int, int] | None, output: str | None
) -> tuple[onnx.ModelProto, tuple[int, int]]:
    """The network with one float32 input (batch, 3, height, width) and one output (batch, d), and the height and width it takes.

    Raises ValueError for a network that is no re-ID network, naming what is wrong.
    """
    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    weights = {one.name for one in graph.initializer}
    inputs = [one for one in graph.input if one.name not in weights]
    if len(inputs) != 1 or len(inputs[0].type.tensor_type.shape.dim) != 4:
        raise ValueError(f"takes {len(inputs)} inputs; expected one of four dimensions, a batch of images")
    taken = inputs[0]
    shape = [dim.dim_value or None for dim in taken.type.tensor_type.shape.dim]
    layout = layout or ("NHWC" if shape[3] == 3 and shape[1] != 3 else "NCHW")
    own = (shape[1], shape[2]) if layout == "NHWC" else (shape[2], shape[3])
    channels = shape[3] if layout == "NHWC" else shape[1]
    if channels not in (3, None):
        raise ValueError(f"its input {shape} has {channels} channels, but crops have 3 (layout {layout})")
    if size is not None and any(here not in (None, wanted) for here, wanted in zip(own, size, strict=True)):
        raise ValueError(f"takes images of {own[0]}x{own[1]} (height x width), not {size[0]}x{size[1]}")
    height, width = size or (own[0] or DEFAULT_SIZE[0], own[1] or DEFAULT_SIZE[1])
    kind, inner = taken.type.tensor_type.elem_type, taken.name
    front, name = [], "crops"
    if kind == TensorProto.FLOAT16:
        front.append(helper.make_node("Cast", [name], ["crops_fp16"], to=TensorProto.FLOAT16))
        name = "crops_fp16"
    elif kind != TensorProto.FLOAT:
        raise ValueError(f"takes {TensorProto.DataType.Name(kind)}; expected FLOAT or FLOAT16")
    if layout == "NHWC":
        front.append(helper.make_node("Transpose", [name], ["crops_nhwc"], perm=[0, 2, 3, 1]))
        name = "crops_nhwc"
    front.append(helper.make_node("Identity", [name], [f"{inner}_inner"]))
    for node in graph.node:
        node.input[:] = [f"{inner}_inner" if one == inner else one for one in node.input]
    chosen = _output(graph, output)
    rank = len(chosen.type.tensor_type.shape.dim)
    back = [helper.make_node("Flatten", [chosen.name], ["embeddings_flat"], axis=1)] if rank != 2 else []
    back.append(helper.make_node("Cast", ["embeddings_flat" if back else chosen.name], ["embeddings"], to=TensorProto.FLOAT))
    nodes = [*front, *graph.node, *back]
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    others = [one for one in graph.input if one.name != inner]
    del graph.input[:], graph.output[:]
    graph.input.extend([helper.make_tensor_value_info("crops", TensorProto.FLOAT, ["batch", 3, height, width]), *others])
    graph.output.extend([helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, ["batch", None])])
    return model, (height, width)


def one_at_a_time(model: onnx.ModelProto, height: int, width: int) -> onnx.ModelProto:
    """The adapted network, which takes one image only, for batches: its graph becomes the body of a Scan over them."""
    out = onnx.ModelProto.FromString(model.SerializeToString())
    body = helper.make_graph(
        [
            helper.make_node("Unsqueeze", ["crop", "first_axis"], ["crops"]),
            *model.graph.node,
            helper.make_node("Squeeze", ["embeddings", "first_axis"], ["embedding"]),
        ],
        "one", [helper.make_tensor_value_info("crop", TensorProto.FLOAT, [3, height, width])],
        [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [None])],
    )  # fmt: skip
    for node in body.node:  # names in the body must differ from those around it
        node.input[:] = ["crops_one" if name == "crops" else "embeddings_one" if name == "embeddings" else name for name in node.input]
        node.output[:] = ["crops_one" if name == "crops" else "embeddings_one" if name == "embeddings" else name for name in node.output]
    del out.graph.node[:]
    out.graph.initializer.append(helper.make_tensor("first_axis", TensorProto.INT64, [1], [0]))
    out.graph.node.append(helper.make_node("Scan", ["crops"], ["embeddings"], body=body, num_scan_inputs=1))
    return out


def _output(graph: Any, wanted: str | None) -> Any:
    names = [one.name for one in graph.output]
    if wanted is not None:
        if wanted not in names:
            raise ValueError(f"has no output {wanted!r}; outputs: {', '.join(names)}")
        return graph.output[names.index(wanted)]
    flat = [one for one in graph.output if all(dim.dim_value in (0, 1) for dim in list(one.type.tensor_type.shape.dim)[2:])]
    telling = [one for one in flat if any(word in one.name.lower() for word in ("emb", "feat", "bn"))]
    if len(flat) > 1 and len(telling) != 1:
        raise ValueError(f"has several outputs ({', '.join(names)}); choose the embedding with --output")
    if not flat:
        raise ValueError(f"none of its outputs ({', '.join(names)}) is one vector per image")
    return telling[0] if telling else flat[0]


def wrap(
    source: Path,
    data: Path,
    out: Path,
    layout: str | None = None,
    size: tuple[int, int] | None = None,
    output: str | None = None,
    pixels: str = "auto",
    colour: Colour | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    licence: str = "not stated: that of the model's authors",
) -> Wrapped:
    """Write ``out`` (.onnx), a bundle of the network in ``source``, calibrated on the people of ``data``.

    Where nothing states how it wants its pixels, the usual preparations are tried, and the one that separates people best is taken. A network that takes one image only is run once per image. Raises
    ValueError for a network that cannot be wrapped and for data without pairs of a person, ModelError for a file that is no model,
    OutputError if ``out`` cannot be written.
    """
    tried = candidates(pixels, colour, mean, std)
    open_model(source, "cpu")  # says what is wrong with a file that is no model
    model, (height, width) = adapted(onnx.load(source), layout, size, output)
    root = unpacked(data)
    kind, split = recognise(root), read_split(root, _part(root))
    split, pictures = load_pictures(_some(split, PICTURES), height, width)
    crops = np.ascontiguousarray(pictures[..., ::-1])  # the embedder takes BGR
    with tempfile.TemporaryDirectory() as folder:
        draft = Path(folder) / "wrapped.onnx"
        few = np.linspace(0, len(crops) - 1, min(len(crops), TRIED)).astype(int) if len(tried) > 1 else np.zeros(0, int)
        few = _whole_people(split, few) if len(few) else few
        apart = {}
        try:
            dimension = _dimension(model, draft, height, width)
        except ValueError:
            model = one_at_a_time(model, height, width)
            dimension = _dimension(model, draft, height, width)

        def written(one: Pixels, calibration: Calibration, pooled: Calibration | None = None) -> BundleFacts:
            facts = BundleFacts(
                name=out.stem, height=height, width=width, colour=one.colour, mean=one.mean, std=one.std,  # type: ignore[arg-type]
                dimension=dimension, calibration=calibration, pooled=pooled, data=f"not known; calibrated on {kind.name} ({kind.terms})",
                licence=licence, commit=(commit() or "unknown")[:7], recipe={"wrapped": source.name, "pixels": one.name},
            )  # fmt: skip
            helper.set_model_props(model, {KEY: facts.model_dump_json(), SEAL: UNSEALED})
            draft.write_bytes(sealed(model.SerializeToString()))
            return facts

        unknown = Calibration(gate=1.0, slope=1.0, offset=0.0)
        settings = EmbedderSettings(model=str(draft), device="cpu")
        for one in tried if len(tried) > 1 else ():
            written(one, unknown)
            rows = Embedder(settings=settings).embed(list(crops[few]))
            apart[f"{one.name} {one.colour}"] = separation(rows, split.take(few))
        best = tried[int(np.argmax(list(apart.values())))] if apart else tried[0]
        written(best, unknown)
        rows = Embedder(settings=settings).embed(list(crops))
        if not np.isfinite(rows).all() or np.abs(rows - rows[:1]).max() < 1e-6:
            raise ValueError(f"{source}: gives the same embedding for every image; is this a re-ID network, with these pixels?")
        facts = written(best, calibrate(rows, split), calibrate(*pool(rows, split)))
        put(draft, out)
    return Wrapped(facts, apart, len(np.unique(split.ids)), len(crops))


def separation(rows: np.ndarray, split: Split) -> float:
    """How many standard deviations lie between the distances of pairs of one person and of two, across cameras (d')."""
    distance = 1 - rows @ rows.T
    upper = np.triu(split.cameras[:, None] != split.cameras[None], 1)
    same = split.ids[:, None] == split.ids[None]
    near, far = distance[upper & same], distance[upper & ~same]
    if not len(near) or not len(far):
        raise ValueError("nothing to calibrate on: no pictures of one person, or of two, from different cameras")
    spread = float(np.sqrt((near.var() + far.var()) / 2))
    return float(far.mean() - near.mean()) / spread if spread > 0 and np.isfinite(spread) else 0.0


def _part(root: Path) -> Literal["train", "gallery"]:
    """The people that published networks were not trained on: those of the test part, where there is one."""
    try:
        return "gallery" if len(read_split(root, "gallery").ids) else "train"
    except (ValueError, FileNotFoundError):
        return "train"


def _some(split: Split, number: int) -> Split:
    """Whole people of ``split``, no distractors, with at most about ``number`` images."""
    split = split.take(split.ids > 0) if (split.ids > 0).any() else split
    return split.take(_whole_people(split, np.arange(number)))


def _whole_people(split: Split, rows: np.ndarray) -> np.ndarray:
    """Row numbers of the first people in a fixed random order, all their images, until there are as many as ``rows``."""
    ids, counts = np.unique(split.ids, return_counts=True)
    order = np.random.default_rng(0).permutation(len(ids))
    chosen = ids[order[: max(2, int(np.searchsorted(np.cumsum(counts[order]), len(rows))))]]
    return np.flatnonzero(np.isin(split.ids, chosen))


def _dimension(model: onnx.ModelProto, scratch: Path, height: int, width: int) -> int:
    """Length of the embedding. Raises ValueError if the network does not take batches of any size."""
    onnx.save(model, scratch)
    session, given = open_model(scratch, "cpu"), []
    for batch in (1, 3):
        try:
            rows = session.run(np.zeros((batch, 3, height, width), np.float32))[0]
        except Exception as error:  # onnxruntime's errors are untyped
            raise ValueError(
                f"cannot run on a batch of {batch}; export it with a dynamic batch ({str(error).splitlines()[0][:120]})"
            ) from None
        if rows.ndim != 2 or len(rows) != batch:
            raise ValueError(f"gives {rows.shape} for a batch of {batch}; export it with a dynamic batch")
        given.append(rows.shape[1])
    if given[0] != given[1] or given[0] < 2:
        raise ValueError(f"gives embeddings of {given[0]} and {given[1]} numbers")
    dims = model.graph.output[0].type.tensor_type.shape.dim
    dims[1].dim_value = given[0]
    return int(given[0])
