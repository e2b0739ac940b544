"""``passerby run`` and ``passerby demo``."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.output import report

BEGAN = time.perf_counter()


def seconds(text: str | None) -> float | None:
    """``90``, ``1:30`` or ``0:01:30.5`` -> seconds."""
    if text is None:
        return None
    try:
        value = 0.0
        for part in text.split(":"):
            value = value * 60 + float(part)
        if value < 0:
            raise ValueError
        return value
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time: expected seconds or h:mm:ss") from None


def run(
    videos: Annotated[
        list[str] | None,
        typer.Argument(
            help="Video file; folder, glob or list of videos or images; or MOTChallenge sequence folder. One camera each; files that differ in the time in their names alone are one camera."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Output folder.")] = None,
    camera: Annotated[list[str] | None, typer.Option(metavar="NAME=PATH", help="Named camera; may be repeated.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (YAML).")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting, e.g. tracker.max_lost=5; may be repeated.")
    ] = None,
    detector: Annotated[
        str | None, typer.Option(help="Detector: shipped name, .onnx file, or a model for ultralytics (yolo11m.pt).")
    ] = None,
    reid: Annotated[str | None, typer.Option(help="Re-ID model: shipped name or bundle (.onnx); none: track by motion alone.")] = None,
    detections: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]DET.TXT", help="Detections in MOTChallenge format, used instead of a detector.")
    ] = None,
    tracks: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]TRACKS.TXT", help="Tracks of another tracker (MOTChallenge text), used unchanged.")
    ] = None,
    site: Annotated[Path | None, typer.Option(help="Site file (YAML): links between cameras, overlapping views, areas.")] = None,
    every: Annotated[int | None, typer.Option(help="Process every Nth frame.")] = None,
    start: Annotated[str | None, typer.Option(help="Start time (seconds or h:mm:ss).")] = None,
    end: Annotated[str | None, typer.Option(help="End time (seconds or h:mm:ss).")] = None,
    recorded_at: Annotated[
        list[str] | None,
        typer.Option(metavar="[NAME=]TIME", help="When a recording began (ISO 8601); default: from its name or container."),
    ] = None,
    no_video: Annotated[bool, typer.Option("--no-video", help="Do not write the annotated video.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Resume an interrupted run into the same folder.")] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Open sources and models, print the resolved configuration, and exit.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print run.json on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Do not print results.")] = False,
) -> None:
    """Track people in video files. Writes tracks, identities, contact sheets, annotated video and an HTML report."""
    from pipeline.config import load_config
    from pipeline.engine.cameras import specify
    from pipeline.errors import UsageError
    from pipeline.formats.site_file import load_site
    from pipeline.jobs.run import Request, dry_run
    from pipeline.jobs.run import run as run_job
    from pipeline.jobs.signals import stop_on_signals
    from pipeline.report.run_record import redacted
    from pipeline.sources.wall import WallRules

    options = {
        "detector.model": detector, "reid.model": reid, "reading.every": every, "reading.start": seconds(start), "reading.end": seconds(end),
        "output.video": False if no_video else None,
    }  # fmt: skip
    settings = load_config(config, set_ or (), options)
    specs = specify(
        videos or (), camera or (), detections or (), tracks or (), "--camera", recorded_at or (), WallRules.of(settings.reading)
    )
    if out is None:
        raise UsageError("no output folder given: add -o OUT")
    request = Request(specs, settings, out, resume, load_site(site), BEGAN)
    if dry:
        print(json.dumps(redacted(dry_run(request)), indent=1))
        return
    from pipeline.cli.progress import watch_progress

    with watch_progress(shown=sys.stderr.isatty() and not quiet, settings=settings) as watcher, stop_on_signals() as stop:
        record = run_job(request, watcher, stop)
    report(record, out, as_json, quiet)
    if record.exit_code:
        raise typer.Exit(record.exit_code)


def demo(out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("demo")) -> None:
    """Run on OpenCV's pedestrian clip, downloaded if needed."""
    from pipeline.jobs.demo_clip import obtain_clip

    clip = obtain_clip()
    run(videos=[str(clip)], out=out)
    camera = out / clip.stem
    print(f"video: {camera / 'video.mp4'}\ntracks: {camera / 'tracks.txt'}")
