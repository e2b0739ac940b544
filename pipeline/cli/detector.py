"""``passerby detector``: train, measure and export detectors."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from pipeline.cli.checks import (
    EPILOG,
    PICTURES,
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

detector_app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Train, measure and export person detectors.", epilog=EPILOG)


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
        from detectors.training.train import Recipe, train

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
        from detectors.load import DetectorSettings
        from detectors.training.evaluate import evaluate, sequence, yolo_folder
        from detectors.training.miss_sheet import miss_sheet

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
        from detectors.runtime.precision import Precision
        from detectors.training.export import export

        wanted = one_of_precisions(precision, get_args(Precision))
        before, after = export(source, file_to_write(out, ".onnx"), size, held_out, tuple(kinds or [""]), data, wanted, ranges)
    print(f"written: {out}, AP50 {after.ap50:.3f} on the held-out pictures ({before.ap50:.3f} in fp32)")
