"""The commands ``passerby reid`` and ``passerby detector``: train, measure and export the models."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_args

import typer

from pipeline.errors import OutputError, UsageError
from pipeline.yaml_file import read_yaml

if TYPE_CHECKING:
    from pydantic import BaseModel

EPILOG = "Training and exporting need pip install 'passerby[train]'."
reid_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train, measure and export re-ID models.", epilog=EPILOG)
detector_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train, measure and export person detectors.", epilog=EPILOG)

Recipe = Annotated[Path, typer.Argument(metavar="CONFIG", help="Recipe (YAML), see configs/.")]
DATA_HELP = "Market-1501, DukeMTMC-reID, CUHK03 or MSMT17 as published (folder or archive), or your own PERSON/CAMERA_*.jpg."
Data = Annotated[Path, typer.Option(help=DATA_HELP)]
Out = Annotated[Path, typer.Option("-o", "--out", help="Folder of the training: checkpoints and log.csv.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads, instead of the recipe's.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]

PICTURES = (".jpg", ".jpeg", ".png", ".webp")  # that a sheet can be

R = TypeVar("R", bound="BaseModel")


@contextmanager
def told_to_people() -> Iterator[None]:
    """A missing package, a wrong folder, a picture that cannot be read and a full disk are the user's to know, in a line."""
    from detectors.session import ModelError

    try:
        yield
    except ModelError:
        raise
    except ModuleNotFoundError as error:
        hint = str(error) if "pip install" in str(error) else f"{error.name} is missing: pip install 'passerby[train]'"
        raise UsageError(hint) from None
    except (FileNotFoundError, NotADirectoryError, ValueError) as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise OutputError(f"{error.filename or 'the output'}: cannot be written ({error.strerror or error})") from None


def folder_to_write(path: Path) -> Path:
    """Made if it is not there. Raises OutputError where that cannot be, before any work is done for it."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        if not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise OutputError(f"{path}: no folder that can be written ({error.strerror or error})") from None
    return path


def file_to_write(path: Path, *endings: str) -> Path:
    """Raises UsageError for another ending, OutputError where its folder is missing or cannot be written, before any work is done for it."""
    if endings and path.suffix.lower() not in endings:
        raise UsageError(f"{path}: its name is to end in {' or '.join(endings)}")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written: there is no folder {path.parent}")
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise OutputError(f"{path}: cannot be written ({'it is a folder' if path.is_dir() else os.strerror(errno.EACCES)})")
    return path


def read_recipe(path: Path, kind: type[R], threads: int | None) -> R:
    """Raises UsageError naming the file and the dotted path."""
    from pydantic import ValidationError

    values = read_yaml(path, "recipe")
    if not isinstance(values, dict):
        raise UsageError(f"{path}: a recipe is a group of keys ({', '.join(kind.model_fields)})")
    try:
        return kind.model_validate(values | ({"threads": threads} if threads else {}))
    except ValidationError as error:
        first = error.errors()[0]
        known = f"; known here: {', '.join(kind.model_fields)}" if first["type"] == "extra_forbidden" and len(first["loc"]) == 1 else ""
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}{known}") from None


def one_of_precisions(text: str, known: tuple[str, ...]) -> Any:
    if text not in known:
        raise UsageError(f"--precision {text}: one of {', '.join(known)}")
    return text


def write_picture(path: Path, picture: Any) -> None:
    import cv2

    try:
        path.write_bytes(cv2.imencode(path.suffix, picture)[1].tobytes())
    except (OSError, cv2.error) as error:
        raise OutputError(f"{path}: cannot be written ({error})") from None


def tell(values: dict[str, Any], as_json: bool) -> None:
    """Figures as JSON, or a line each."""
    rounded = json.loads(json.dumps(values), parse_float=lambda text: round(float(text), 4))
    if as_json:
        print(json.dumps(rounded))
        return
    for name, value in rounded.items():
        if isinstance(value, dict):
            text = (
                f"{value['value']} ({value['low']} to {value['high']})"
                if "low" in value
                else ", ".join(f"{k} {v}" for k, v in value.items())
            )
        else:
            text = str(value)
        print(f"{name.replace('_', ' ')}: {text}")


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
        from reid.recipe import Recipe
        from reid.train import train

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
        from reid.evaluate import embed_split, given_rows, retrieval, scored
        from reid.layouts import read_split
        from reid.openset import open_set
        from reid.rank_sheet import rank_sheet
        from reid.rerank import reranked

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
        from reid.layouts import read_split, unpacked
        from reid.priors import write_bodies
        from reid.silhouettes import find_bodies

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
    from pipeline.collecting import collect

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
        from reid.export import Form, export

        facts, cosine = export(sources, data, file_to_write(out, ".onnx"), one_of_precisions(precision, get_args(Form)), dimensions)
    print(f"written: {out}, gate {facts.calibration.gate:.4f}, least cosine to what it was made from {cosine:.7f}")


@detector_app.command("train")
def train_detector(
    config: Recipe,
    data: Annotated[Path, typer.Option(help="Folder with train/ and val/, each images/ and labels/ in YOLO format.")],
    out: Out,
    threads: Threads = None,
    resume: Resume = False,
) -> None:
    """Train a person detector over ultralytics' trainer."""
    with told_to_people():
        from detectors.train import Recipe, train

        print(f"trained: {train(read_recipe(config, Recipe, threads), data, folder_to_write(out), resume)}")


@detector_app.command("eval")
def evaluate_detector(
    model: Annotated[str, typer.Argument(help="Shipped name, .onnx file, or what ultralytics opens.")],
    data: Annotated[Path, typer.Argument(help="Folder in YOLO format (images/, labels/), or with --gt a video.")],
    gt: Annotated[Path | None, typer.Option(help="MOTChallenge ground truth of the video.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Each Nth frame of the video.")] = 10,
    size: Annotated[int | None, typer.Option(min=32, help="Input size, longer side.")] = None,
    kinds: Annotated[list[str] | None, typer.Option(metavar="PREFIX", help="Only pictures whose names begin so; may be repeated.")] = None,
    sheet: Annotated[Path | None, typer.Option(help="Picture of who is missed and what is invented at the best score.")] = None,
    as_json: Json = False,
) -> None:
    """Measure a detector: AP50, AP50-95, recall by height, false boxes per picture."""
    with told_to_people():
        from detectors import load_detector
        from detectors.evaluate import evaluate, sequence, yolo_folder
        from detectors.load import DetectorSettings
        from detectors.miss_sheet import miss_sheet

        if sheet is not None:
            file_to_write(sheet, *PICTURES)
        opened = load_detector(model, DetectorSettings(confidence=0.01, size=size))

        def samples() -> Any:
            return sequence(data, gt, every) if gt is not None else yolo_folder(data, tuple(kinds or [""]))

        measured = evaluate(opened, samples())
        tell(asdict(measured), as_json)
        if sheet is not None:
            write_picture(sheet, miss_sheet(opened, samples(), measured.best_score))


@detector_app.command("export")
def export_detector(
    source: Annotated[
        Path,
        typer.Argument(help="A checkpoint of ours (a pickle, which runs what it holds: open no stranger's), or an fp32 model (.onnx)."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="The model to write (.onnx).")],
    held_out: Annotated[Path, typer.Option(help="Pictures not trained on, in YOLO format, to calibrate scores and measure on.")],
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    ranges: Annotated[
        Path | None, typer.Option(help="Pictures trained on, in YOLO format, for INT8's ranges; else the held-out ones.")
    ] = None,
    size: Annotated[int, typer.Option(min=32, help="Input size that the model names as its own.")] = 704,
    kinds: Annotated[list[str] | None, typer.Option(metavar="PREFIX", help="Only held-out pictures whose names begin so.")] = None,
    data: Annotated[str, typer.Option(help="What it was trained on, for the file's metadata.")] = "not stated",
) -> None:
    """Write a calibrated ONNX model; nothing is written where onnxruntime and torch differ, or INT8 finds fewer people."""
    with told_to_people():
        from detectors.export import export
        from detectors.quantise import Precision

        wanted = one_of_precisions(precision, get_args(Precision))
        before, after = export(source, file_to_write(out, ".onnx"), size, held_out, tuple(kinds or [""]), data, wanted, ranges)
    print(f"written: {out}, AP50 {after.ap50:.3f} on the held-out pictures ({before.ap50:.3f} in fp32)")
