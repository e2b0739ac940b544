"""``passerby detector``: label images for detectors, train, evaluate and export them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from pipeline.cli.checks import (
    EPILOG,
    IMAGE_SUFFIXES,
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
from pipeline.errors import SOURCE_FAILED, UsageError

if TYPE_CHECKING:
    import numpy as np

    from detectors import Detector
    from detectors.training.evaluate import Sample
    from pipeline.jobs.label import LabelCounts

log = logging.getLogger(__name__)
detector_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Get, train, evaluate and export person detectors; label images for them.",
    epilog=EPILOG,
)


@detector_app.command("train")
def train_detector(
    config: Recipe,
    data: Annotated[Path, typer.Option(help="Folder with train/ and val/, each with images/ and labels/ in YOLO format.")],
    out: Out,
    threads: Threads = None,
    resume: Resume = False,
) -> None:
    """Train a person detector with the ultralytics trainer."""
    with user_errors(), progress_log():
        from detectors.training.recipe import Recipe
        from detectors.training.train import train

        print(f"trained: {train(read_recipe(config, Recipe, threads), data, writable_folder(out), resume)}")


@detector_app.command("label")
def label_images(
    sources: Annotated[
        list[Path],
        typer.Argument(metavar="SOURCE...", help="Images (file, folder, glob), folders in YOLO format (images/, labels/), and videos."),
    ],
    teacher: Annotated[
        list[str],
        typer.Option(help="Detector whose boxes become labels: as for passerby run --detector. Repeatable: several are fused."),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Folder to write: images/ and labels/ in YOLO format.")],
    mirror: Annotated[bool, typer.Option("--mirror/--no-mirror", help="Teachers also look at each image mirrored.")] = True,
    tiles: Annotated[bool, typer.Option("--tiles", help="Teachers also look at four tiles of images over 900 px.")] = False,
    size: Annotated[
        list[int] | None, typer.Option(min=32, help="Input size: longest side, in pixels. Repeatable: looks at several sizes are fused.")
    ] = None,
    rate: Annotated[float, typer.Option(min=0.001, help="Labelled frames per second of a video.")] = 1.0,
    tracked: Annotated[
        bool, typer.Option("--tracked", help="In videos, people are what a track explains; other boxes are ignored. For fixed cameras.")
    ] = False,
    person: Annotated[float, typer.Option(min=0, max=1, help="Minimum score of a person.")] = 0.3,
    uncertain: Annotated[float, typer.Option(min=0, max=1, help="Minimum score of a box that training ignores.")] = 0.1,
    added: Annotated[float, typer.Option(min=0, max=1, help="Minimum score of a person that human labels lack.")] = 0.4,
    threads: Threads = None,
    as_json: Json = False,
) -> None:
    """Label images and video frames with the boxes of teachers, to train a detector.

    Rows of class 0 are people, rows of class 1 uncertain boxes, which training ignores. Human labels stay; boxes that meet none of them are
    added. Run again to continue after an interruption.
    """
    with user_errors(), progress_log():
        from detectors import load_detector
        from detectors.load import DetectorSettings
        from detectors.training.pseudo_labels import LabelThresholds
        from detectors.training.teachers import LOW, Teachers
        from pipeline.jobs.label import LabelRequest, label

        if not uncertain <= person <= added:
            raise UsageError(f"--uncertain {uncertain:g}, --person {person:g}, --added {added:g}: must not decrease in this order")
        sizes: list[int | None] = [*size] if size else [None]
        looks = [DetectorSettings(confidence=LOW, size=one, threads=threads or 0) for one in sizes]
        opened = [load_detector(name, settings) for name in teacher for settings in looks]
        names = [told(name, one) for name, one in zip(teacher, opened[:: len(looks)], strict=True)]
        about = {"teachers": names, "mirror": mirror, "tiles": tiles, "sizes": size or []}
        thresholds = LabelThresholds(person=person, uncertain=uncertain, added=added)
        request = LabelRequest(sources, writable_folder(out), thresholds, rate, tracked, settings=about)

        def tell(counts: LabelCounts) -> None:
            if counts.images % 100 == 0:
                log.info("%d images labelled", counts.images)

        counts = label(request, Teachers(opened, mirror, tiles), tell)
    print_figures(asdict(counts), as_json)
    if counts.failed_sources:
        raise typer.Exit(SOURCE_FAILED)


def told(name: str, detector: Detector) -> str:
    """A teacher as the record of a labelling names it: with the hash of its file, if it has one."""
    session = getattr(detector, "session", None)
    return name if session is None else f"{session.path.name} {session.sha256[:16]}"


def numbered_frames(path: Path, every: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield every ``every``-th frame of a source with its number, from 1. Lost and damaged frames are logged."""
    from pipeline.sources.frame import Selection
    from pipeline.sources.open import open_source

    source = open_source(path)
    for frame in source.read(Selection(every=every)):
        yield frame.index + 1, frame.image
    for text in source.progress.warnings:
        log.warning("%s: %s", path, text)
    if source.progress.error:
        log.error(source.progress.error)


@detector_app.command("eval")
def evaluate_detector(
    model: Annotated[str, typer.Argument(help="Shipped name, .onnx file, or a model for ultralytics.")],
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder in YOLO format (images/, labels/). With --gt: a video, an image folder or glob, or a MOTChallenge sequence."
        ),
    ],
    gt: Annotated[Path | None, typer.Option(help="MOTChallenge ground truth of the frames.")] = None,
    every: Annotated[int, typer.Option(min=1, help="With --gt, evaluate every Nth frame.")] = 10,
    size: Annotated[int | None, typer.Option(min=32, help="Input size: longest side, in pixels.")] = None,
    kinds: Annotated[
        list[str] | None, typer.Option(metavar="PREFIX", help="Use only images whose names start with PREFIX; may be repeated.")
    ] = None,
    sheet: Annotated[
        Path | None, typer.Option(help="Contact sheet to write: false negatives and false positives at the best score threshold.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Evaluate a detector: AP50, AP50-95, recall by height, false positives per image."""
    with user_errors():
        from detectors import load_detector
        from detectors.load import DetectorSettings
        from detectors.training.evaluate import evaluate, sequence, yolo_folder
        from detectors.training.miss_sheet import miss_sheet
        from pipeline.formats.mot import read_mot

        if sheet is not None:
            writable_file(sheet, *IMAGE_SUFFIXES)
        opened = load_detector(model, DetectorSettings(confidence=0.01, size=size))

        truth = None if gt is None else read_mot(gt)

        def samples() -> Iterator[Sample]:
            if truth is None:
                return yolo_folder(data, tuple(kinds or [""]))
            counted = truth.scores != 0  # in ground truth the column is a flag: 0 means ignore
            return sequence(numbered_frames(data, every), truth.frames[counted], truth.boxes[counted])

        measured = evaluate(opened, samples())
        print_figures(asdict(measured), as_json)
        if sheet is not None:
            write_image(sheet, miss_sheet(opened, samples(), measured.best_score))


@detector_app.command("export")
def export_detector(
    source: Annotated[
        Path,
        typer.Argument(
            help="Checkpoint of passerby detector train (a pickle, which can run code: open only your own), or an fp32 model (.onnx)."
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", help="Model to write (.onnx).")],
    held_out: Annotated[Path, typer.Option(help="Held-out images in YOLO format, for calibration and evaluation.")],
    precision: Annotated[str, typer.Option(help="fp32, fp16 or int8.")] = "fp32",
    ranges: Annotated[
        Path | None, typer.Option(help="Training images in YOLO format, to calibrate INT8 ranges. Default: the held-out images.")
    ] = None,
    size: Annotated[int, typer.Option(min=32, help="Default input size of the model: longest side, in pixels.")] = 704,
    kinds: Annotated[
        list[str] | None, typer.Option(metavar="PREFIX", help="Use only held-out images whose names start with PREFIX; may be repeated.")
    ] = None,
    data: Annotated[str, typer.Option(help="Description of the training data, for the model's metadata.")] = "not stated",
) -> None:
    """Export a calibrated ONNX model.

    Nothing is written if onnxruntime and torch differ, or if fp16 or INT8 loses more than 0.02 AP50.
    """
    with user_errors():
        from detectors.runtime.precision import Precision
        from detectors.training.export import export

        wanted = precision_of(precision, get_args(Precision))
        before, after = export(source, writable_file(out, ".onnx"), size, held_out, tuple(kinds or [""]), data, wanted, ranges)
    print(f"written: {out}, AP50 {after.ap50:.3f} on the held-out images ({before.ap50:.3f} in fp32)")


@detector_app.command("get")
def get_detector(
    name: Annotated[
        str, typer.Argument(help="yolox-nano, -tiny, -s, -m, -l or -x; or a name of ultralytics, such as yolo11s (with [train]).")
    ],
    sha256: Annotated[str | None, typer.Option("--sha256", help="The SHA-256 that the file must have.")] = None,
    source: Annotated[
        str | None, typer.Option("--from", metavar="URL", help="Download from here: a file, or a folder that ends in /.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Download again, and replace what is there.")] = False,
) -> None:
    """Download a bigger detector once, for --detector NAME. An interrupted download is resumed; proxies are those of the environment."""
    from detectors import catalogue
    from detectors.onnx import OnnxDetector

    def check(path: Path) -> None:
        OnnxDetector(path, 0.1, 0.6, None, "cpu", 0, None, None)

    with _download_progress(name) as watch:
        found = catalogue.get(name, check, sha256, source, again, watch)
    print(f"{name}: {catalogue.folder() / f'{name}.onnx'}\nfrom: {found.origin}\nlicence: {found.licence}\nSHA-256: {found.sha256}")
    print(f"use it with: --detector {name}")


@contextmanager
def _download_progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty():
        yield lambda done, whole: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task(name, total=None)
        yield lambda done, whole: progress.update(task, completed=done, total=whole)
