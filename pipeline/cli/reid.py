"""The commands ``passerby reid`` and ``passerby detector``: train, measure and export the models."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, get_args

import typer

from pipeline.cli.checks import (
    EPILOG,
    PICTURES,
    Data,
    Json,
    Out,
    Recipe,
    Resume,
    Threads,
    file_to_write,
    folder_to_write,
    one_of_precisions,
    read_recipe,
    tell,
    told_to_people,
    write_picture,
)

reid_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train, measure and export re-ID models.", epilog=EPILOG)


@reid_app.command("train")
def train_reid(
    config: Recipe,
    data: Data,
    out: Out,
    threads: Threads = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", min=0, help="Instead of the recipe's, may be repeated: each into OUT/seed-N.")
    ] = None,
    resume: Resume = False,
) -> None:
    """Train MPN; any end but the last epoch's can be resumed."""
    with told_to_people():
        from reid.training.recipe import Recipe
        from reid.training.train import train

        recipe = read_recipe(config, Recipe, threads)
        for one in seeds or [recipe.seed]:
            folder = folder_to_write(out / f"seed-{one}" if seeds else out)
            print(f"trained: {train(recipe.model_copy(update={'seed': one}), data, folder, resume)}")


@reid_app.command("eval")
def evaluate_reid(
    model: Annotated[str, typer.Argument(help="Shipped name, bundle (.onnx), or any model's embeddings (.npz: names, rows).")],
    data: Data,
    ranks: Annotated[Path | None, typer.Option(help="Picture of rank lists: queries, their ten nearest, right and wrong framed.")] = None,
    rerank: Annotated[bool, typer.Option("--rerank", help="Also after k-reciprocal re-ranking.")] = False,
    as_json: Json = False,
) -> None:
    """Measure a bundle on a data set: CMC, mAP, mINP, and what a tracker needs: TPIR at FPIR 1 and 10 %, TPR at FPR 0.1 and 1 %."""
    with told_to_people():
        import numpy as np

        from reid import Embedder
        from reid.datasets.layouts import read_split
        from reid.evaluation.openset import open_set
        from reid.evaluation.rank_sheet import rank_sheet
        from reid.evaluation.rerank import reranked
        from reid.evaluation.retrieval import embed_split, given_rows, retrieval, scored

        if ranks is not None:
            file_to_write(ranks, *PICTURES)
        query, gallery = read_split(data, "query"), read_split(data, "gallery")
        if model.endswith(".npz"):
            query_rows, gallery_rows = given_rows(Path(model), query, gallery)
        else:
            embedder = Embedder(model)
            query, query_rows = embed_split(embedder, query)
            gallery, gallery_rows = embed_split(embedder, gallery)
        found = retrieval(query_rows, query.ids, query.cameras, gallery_rows, gallery.ids, gallery.cameras)
        figures = asdict(found) | asdict(open_set(gallery_rows, gallery))
        if rerank:
            better = reranked(query_rows, gallery_rows)
            again = scored(lambda part: better[part], query.ids, query.cameras, gallery.ids, gallery.cameras)
            figures |= {f"reranked_{name}": value for name, value in asdict(again).items() if name != "queries"}
        tell(figures, as_json)
        if ranks is not None:
            chosen = np.random.default_rng(0).permutation(len(query.ids))[:16]
            write_picture(ranks, rank_sheet(query, query_rows, gallery, gallery_rows, chosen))


@reid_app.command("priors")
def find_priors(
    data: Data,
    model: Annotated[str, typer.Option(help="Segmentation or pose model that ultralytics opens.")] = "yolo11n-seg.pt",
) -> None:
    """Find where the body is in each training picture, for recipes with prior body or mask; kept beside the data set (priors.npz)."""
    with told_to_people():
        from reid.datasets.layouts import read_split, unpacked
        from reid.training.priors import write_bodies
        from reid.training.silhouettes import find_bodies

        root = unpacked(data)
        split = read_split(root, "train")
        bodies, nobody = find_bodies(model, list(split.paths))
        path = write_bodies(root, [path.relative_to(root).as_posix() for path in split.paths], bodies)
    print(f"written: {path}, bodies in {len(split.paths) - nobody} of {len(split.paths)} pictures")


@reid_app.command("collect")
def collect_people(
    run: Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of passerby run or passerby associate.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write: a folder a person, CAMERA_TRACK_NUMBER.jpg in it.")],
    sure: Annotated[float, typer.Option(min=0, max=1, help="Only people of whom association is as sure as this.")] = 0.9,
    across: Annotated[bool, typer.Option("--across", help="Only people whom several cameras have seen.")] = False,
    as_json: Json = False,
) -> None:
    """Make a training set of the people that a run found. Look through it, and correct the run (passerby identities), before you train."""
    from pipeline.identities.training_set import collect

    tell(dict(collect(run, out, sure, across)), as_json)


@reid_app.command("export")
def export_reid(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE...", help="last.pt of trainings, or a bundle in fp32 (.onnx).")],
    data: Data,
    out: Annotated[Path, typer.Option("-o", "--out", help="The bundle to write (.onnx).")],
    precision: Annotated[str, typer.Option(help="fp32, packed (weights in 8 and 16 bits, arithmetic in fp32), fp16 or int8.")] = "fp32",
    dimensions: Annotated[int | None, typer.Option(min=1, help="Of the embedding: so many principal components, half whitened.")] = None,
) -> None:
    """Write a calibrated bundle, of several trainings one that puts their embeddings side by side.

    Nothing is written where its embeddings are not those of what it was made from.
    """
    with told_to_people():
        from reid.export.export import Form, export

        facts, cosine = export(sources, data, file_to_write(out, ".onnx"), one_of_precisions(precision, get_args(Form)), dimensions)
    print(f"written: {out}, gate {facts.calibration.gate:.4f}, least cosine to what it was made from {cosine:.7f}")
