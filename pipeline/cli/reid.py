"""``passerby reid``: train, evaluate and export re-ID models."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, get_args

import typer

from pipeline.cli.checks import (
    EPILOG,
    IMAGE_SUFFIXES,
    Data,
    Json,
    Out,
    Recipe,
    Resume,
    Threads,
    precision_of,
    print_figures,
    progress_log,
    read_recipe,
    user_errors,
    writable_file,
    writable_folder,
    write_image,
)

log = logging.getLogger(__name__)
reid_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train, evaluate and export re-ID models.", epilog=EPILOG)


@reid_app.command("train")
def train_reid(
    config: Recipe,
    data: Data,
    out: Out,
    threads: Threads = None,
    seeds: Annotated[
        list[int] | None,
        typer.Option("--seed", min=0, help="Random seed; overrides the recipe. Repeat to train several, each into OUT/seed-N."),
    ] = None,
    resume: Resume = False,
) -> None:
    """Train MPN. --resume continues from the last complete epoch."""
    with user_errors(), progress_log():
        from reid.training.recipe import Recipe
        from reid.training.train import train

        recipe = read_recipe(config, Recipe, threads)
        for seed in seeds or [recipe.seed]:
            folder = writable_folder(out / f"seed-{seed}" if seeds else out)
            print(f"trained: {train(recipe.model_copy(update={'seed': seed}), data, folder, resume)}")


@reid_app.command("distil")
def distil_reid(
    config: Recipe,
    crops: Annotated[
        list[Path],
        typer.Option(help="Repeatable: re-ID dataset, YOLO dataset (images/, labels/), or folder of images of one person each."),
    ],
    teacher: Annotated[Path, typer.Option(help="Model to imitate: OpenVINO IR (.xml, BGR 0-255) or bundle (.onnx).")],
    out: Out,
    watch: Annotated[
        Path | None, typer.Option(help="Re-ID dataset that is not trained on: evaluated after each epoch, as is and centred per camera.")
    ] = None,
    threads: Threads = None,
    resume: Resume = False,
) -> None:
    """Train MPN to imitate a teacher's embeddings, on images of people without labels."""
    with user_errors(), progress_log():
        from reid.training.distillation import distil
        from reid.training.recipe import DistilRecipe

        recipe = read_recipe(config, DistilRecipe, threads)
        print(f"distilled: {distil(recipe, crops, teacher, writable_folder(out), watch, resume)}")


@reid_app.command("eval")
def evaluate_reid(
    model: Annotated[
        str, typer.Argument(help="Shipped or downloaded name, bundle (.onnx), or embeddings of any model (.npz: names, rows).")
    ],
    data: Data,
    ranks: Annotated[
        Path | None,
        typer.Option(help="Image to write: 16 queries with their ten nearest matches, correct ones framed green, wrong ones red."),
    ] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Also evaluate after k-reciprocal re-ranking.")] = False,
    centred: Annotated[
        bool, typer.Option("--centred", help="Also evaluate after subtracting the mean embedding of each camera (of the gallery, shrunk).")
    ] = False,
    as_json: Json = False,
) -> None:
    """Evaluate a re-ID model: CMC, mAP, mINP; open set: TPIR at FPIR 1 and 10 %, TPR at FPR 0.1 and 1 %."""
    with user_errors():
        import numpy as np

        from reid import Embedder
        from reid.datasets.layouts import read_split
        from reid.evaluation.centring import CameraMeans
        from reid.evaluation.openset import open_set
        from reid.evaluation.rank_sheet import rank_sheet
        from reid.evaluation.rerank import reranked
        from reid.evaluation.retrieval import embed_split, evaluate_ranking, read_embeddings, retrieval

        if ranks is not None:
            writable_file(ranks, *IMAGE_SUFFIXES)
        query, gallery = read_split(data, "query"), read_split(data, "gallery")
        if model.endswith(".npz"):
            query_rows, gallery_rows = read_embeddings(Path(model), query, gallery)
        else:
            embedder = Embedder(model)
            query, query_rows = embed_split(embedder, query)
            gallery, gallery_rows = embed_split(embedder, gallery)
        found = retrieval(query_rows, query.ids, query.cameras, gallery_rows, gallery.ids, gallery.cameras)
        figures = asdict(found) | asdict(open_set(gallery_rows, gallery))
        if centred:
            means = CameraMeans.of(gallery_rows, gallery.cameras)
            moved = means.centred(query_rows, query.cameras), means.centred(gallery_rows, gallery.cameras)
            again = retrieval(moved[0], query.ids, query.cameras, moved[1], gallery.ids, gallery.cameras)
            figures |= {f"centred_{name}": value for name, value in (asdict(again) | asdict(open_set(moved[1], gallery))).items()}
        if rerank:
            better = reranked(query_rows, gallery_rows)
            again = evaluate_ranking(lambda part: better[part], query.ids, query.cameras, gallery.ids, gallery.cameras)
            figures |= {f"reranked_{name}": value for name, value in asdict(again).items() if name != "queries"}
        print_figures(figures, as_json)
        if ranks is not None:
            chosen = np.random.default_rng(0).permutation(len(query.ids))[:16]
            write_image(ranks, rank_sheet(query, query_rows, gallery, gallery_rows, chosen))


@reid_app.command("get")
def get_reid(
    name: Annotated[str, typer.Argument(help="Published model: retail-0287 (Intel, Open Model Zoo, Apache-2.0).")],
    url: Annotated[str | None, typer.Option(help="Folder to download from instead of the publisher's: http, https or file.")] = None,
) -> None:
    """Download a re-ID model that others publish, for --reid NAME. Its files are checked by SHA-256; it runs by OpenVINO."""
    with user_errors(), progress_log():
        from detectors.runtime import openvino_engine
        from reid.published import get

        path = get(name, url)
    print(f"downloaded: {path}; use it with --reid {name}")
    if not openvino_engine.installed():
        log.warning("it needs OpenVINO: pip install 'passerby[openvino]'")


@reid_app.command("priors")
def find_priors(
    data: Data,
    model: Annotated[str, typer.Option(help="Segmentation or pose model for ultralytics.")] = "yolo11n-seg.pt",
) -> None:
    """Locate the body in each training image, for recipes with prior: body or mask. Writes priors.npz into the dataset."""
    with user_errors(), progress_log():
        from reid.datasets.layouts import read_split, unpacked
        from reid.training.priors import write_bodies
        from reid.training.silhouettes import find_bodies

        root = unpacked(data)
        split = read_split(root, "train")
        bodies, empty = find_bodies(model, list(split.paths))
        path = write_bodies(root, [path.relative_to(root).as_posix() for path in split.paths], bodies)
    print(f"written: {path}, bodies found in {len(split.paths) - empty} of {len(split.paths)} images")


@reid_app.command("collect")
def collect_people(
    run: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of passerby run or passerby associate.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write: PERSON/CAMERA_TRACK_NUMBER.jpg.")],
    min_confidence: Annotated[float, typer.Option(min=0, max=1, help="Minimum identity confidence.")] = 0.9,
    across: Annotated[bool, typer.Option("--across", help="Include only identities seen by several cameras.")] = False,
    as_json: Json = False,
) -> None:
    """Build a training set from the identities of a run. Review it, and correct the run (passerby identities), before training."""
    from pipeline.identities.training_set import collect

    print_figures(dict(collect(run, out, min_confidence, across)), as_json)


@reid_app.command("export")
def export_reid(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="Checkpoints (last.pt) and bundles (.onnx, fp32 or packed).")],
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="Bundle to write (.onnx).")],
    precision: Annotated[str, typer.Option(help="fp32, packed (8- and 16-bit weights, fp32 arithmetic), fp16 or int8.")] = "fp32",
    dimensions: Annotated[
        int | None, typer.Option(min=1, help="Number of principal components to reduce the embedding to, half whitened.")
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="JSON of evidence weights fitted for this model. Default: those of association.evidence.")
    ] = None,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="--data has no image that was trained on: calibrate on all of its people.")
    ] = False,
) -> None:
    """Export a calibrated bundle. Several sources become one bundle with concatenated embeddings.

    Nothing is written if the exported embeddings differ from those of the sources.
    """
    with user_errors():
        from reid.bundle import EvidenceWeights
        from reid.export.export import Form, export

        weights = None if evidence is None else EvidenceWeights.model_validate_json(evidence.read_text(encoding="utf-8"))
        form = precision_of(precision, get_args(Form))
        facts, cosine = export(sources, data, writable_file(out, ".onnx"), form, dimensions, weights, unseen)
    print(f"written: {out}, gate {facts.calibration.gate:.4f}, minimum cosine to the sources {cosine:.7f}")


@reid_app.command("wrap")
def wrap_reid(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL.ONNX", help="Re-ID network of another project: OSNet, FastReID, retail-0287, ...")
    ],
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="Bundle to write (.onnx).")],
    size: Annotated[str | None, typer.Option(metavar="HEIGHTxWIDTH", help="Input size. Default: the network's own, else 256x128.")] = None,
    layout: Annotated[str | None, typer.Option(help="NCHW or NHWC. Default: by the network's input.")] = None,
    output: Annotated[str | None, typer.Option(help="Name of the output that is the embedding, if there are several.")] = None,
    pixels: Annotated[
        str, typer.Option(help="imagenet, 0-1, 0-255 or -1-1; auto: the one of them that separates the people of --data best.")
    ] = "auto",
    colour: Annotated[str | None, typer.Option(help="RGB or BGR. Default: as for --pixels auto.")] = None,
    mean: Annotated[str | None, typer.Option(metavar="M,M,M", help="Mean per channel, with --std, instead of --pixels.")] = None,
    std: Annotated[str | None, typer.Option(metavar="S,S,S", help="Standard deviation per channel.")] = None,
    licence: Annotated[
        str, typer.Option(help="Licence of the network, for the bundle's metadata.")
    ] = "not stated: that of the model's authors",
    as_json: Json = False,
) -> None:
    """Make a calibrated bundle of any re-ID network in ONNX, for --reid. The people of --data should be none that it was trained on."""
    from pipeline.errors import UsageError

    def numbers(option: str, text: str | None, sign: str = ",") -> list[float] | None:
        try:
            return None if text is None else [float(part) for part in text.lower().split(sign)]
        except ValueError:
            raise UsageError(f"{option} {text}: not numbers separated by {sign!r}") from None

    if layout not in (None, "NCHW", "NHWC"):
        raise UsageError(f"--layout {layout}: must be NCHW or NHWC")
    if colour not in (None, "RGB", "BGR"):
        raise UsageError(f"--colour {colour}: must be RGB or BGR")
    sides = numbers("--size", size, "x")
    if sides is not None and (len(sides) != 2 or min(sides) < 8):
        raise UsageError(f"--size {size}: expected HEIGHTxWIDTH, such as 256x128")
    with user_errors():
        from reid.export.wrap import wrap

        wrapped = wrap(
            model, data, writable_file(out, ".onnx"), layout, None if sides is None else (int(sides[0]), int(sides[1])), output, pixels,
            colour, numbers("--mean", mean), numbers("--std", std), licence,  # type: ignore[arg-type]
        )  # fmt: skip
    facts, apart = wrapped.facts, wrapped.separation
    if as_json:
        print_figures({"gate": facts.calibration.gate, "pixels": facts.recipe["pixels"], "colour": facts.colour, "separation": apart}, True)
        return
    for name, deviations in apart.items():
        print(f"pixels {name}: people are {deviations:.2f} standard deviations apart")
    print(
        f"written: {out}, {facts.dimension} dimensions, {facts.height}x{facts.width}, pixels {facts.recipe['pixels']} {facts.colour}, "
        f"gate {facts.calibration.gate:.4f} (calibrated on {wrapped.pictures} images of {wrapped.people} people)"
    )
