"""The command ``passerby``. Commands import what they need when they run, so that help is quick."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.model_cli import detector_app, reid_app

BEGAN = time.perf_counter()
EXIT_CODES = """Exit codes: 0 all good; 1 finished, but a source failed; 2 usage or configuration; 3 no source could be opened; 4 model invalid; 5 output could not be written; 130/143 ended by a signal, outputs complete so far."""

app = typer.Typer(
    rich_markup_mode=None,
    name="passerby", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, context_settings={"help_option_names": ["-h", "--help"]},
    help="Follow people through the video of one or many fixed cameras.", epilog=EXIT_CODES,
)  # fmt: skip


def say(text: str) -> None:
    print(text, file=sys.stderr)


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
        raise typer.BadParameter(f"{text!r} is not a time: write seconds or h:mm:ss") from None


@app.callback(invoke_without_command=True)
def root(version: Annotated[bool, typer.Option("--version", help="Print the version and end.")] = False) -> None:
    if version:
        from importlib import metadata

        print(f"passerby {metadata.version('passerby')}")
        raise typer.Exit


@app.command(epilog=EXIT_CODES)
def run(
    videos: Annotated[
        list[str] | None, typer.Argument(help="Video file, folder or glob of images, or MOTChallenge sequence folder: one camera each.")
    ] = None,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="Output folder.")] = None,
    camera: Annotated[list[str] | None, typer.Option(metavar="NAME=PATH", help="A camera with a name of your own.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting by its dotted key, tracker.keep=5 for example.")
    ] = None,
    detector: Annotated[str | None, typer.Option(help="Shipped name, .onnx file, or what ultralytics opens (yolo11m.pt).")] = None,
    reid: Annotated[str | None, typer.Option(help="Shipped name or bundle (.onnx); 'none': motion alone.")] = None,
    detections: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]DET.TXT", help="Boxes in MOTChallenge format instead of a detector.")
    ] = None,
    tracks: Annotated[
        list[str] | None, typer.Option(metavar="[NAME=]TRACKS.TXT", help="Another tracker's tracks (MOTChallenge text), taken as they are.")
    ] = None,
    site: Annotated[Path | None, typer.Option(help="Site file (YAML): which camera leads to which, which views overlap.")] = None,
    every: Annotated[int | None, typer.Option(help="Process each Nth frame.")] = None,
    start: Annotated[str | None, typer.Option(help="Begin here (seconds or h:mm:ss).")] = None,
    end: Annotated[str | None, typer.Option(help="End here (seconds or h:mm:ss).")] = None,
    no_video: Annotated[bool, typer.Option("--no-video", help="Write no annotated video.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where an earlier run into the same folder ended.")] = False,
    dry: Annotated[bool, typer.Option("--dry-run", help="Open everything, print the resolved configuration, do nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print run.json on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Follow people through video files: tracks, tracklets, contact sheets, annotated video and a page."""
    from pipeline.cameras import specify
    from pipeline.config import load_config
    from pipeline.errors import UsageError
    from pipeline.job import Request, dry_run, execute
    from pipeline.site import load_site

    options = {
        "detector.model": detector, "reid.model": reid, "reading.every": every, "reading.start": seconds(start), "reading.end": seconds(end),
        "output.video": False if no_video else None,
    }  # fmt: skip
    settings = load_config(config, set_ or (), options)
    specs = specify(videos or (), camera or (), detections or (), tracks or ())
    if out is None:
        raise UsageError("no output folder given: add -o OUT")
    request = Request(specs, settings, out, resume, load_site(site), BEGAN)
    if dry:
        print(json.dumps(dry_run(request), indent=1))
        return
    from pipeline.progress import watch_progress

    with watch_progress(shown=sys.stderr.isatty() and not quiet, settings=settings) as watcher:
        record = execute(request, watcher)
    report(record, out, as_json, quiet)
    if record["exit_code"]:
        raise typer.Exit(record["exit_code"])


def report(record: dict[str, Any], out: Path, as_json: bool, quiet: bool) -> None:
    """Say what came of a run: results on standard output, what went wrong on standard error."""
    report_failures(record)
    if as_json:
        print(json.dumps(record, indent=1))
    elif not quiet:
        for name, camera in record["cameras"].items():
            lost = f", {camera['failed']} lost" if camera["failed"] else ""
            skipped = f", {camera['skipped']} skipped" if camera["skipped"] else ""
            print(f"{name}: {camera['tracks']} tracks in {camera['processed']} frames{skipped}{lost}")
        if record["people"]:
            print(people_line(record["people"]))
        timing = record["timing"]
        print(f"{timing['wall_seconds']:.1f} s, {timing['frames_per_second']} frames per second")
        print(f"page: {out / 'index.html'}")
    if record["exit_code"] >= 128:
        say("passerby: stopped by a signal; what is written is complete so far, and --resume goes on from here")


def report_failures(record: dict[str, Any]) -> None:
    for name, message in record["not_opened"].items():
        say(f"passerby: {name}: not opened: {message}")
    for name, camera in record["cameras"].items():
        for text in [*camera["warnings"], *([camera["error"]] if camera["error"] else [])]:
            say(f"passerby: {name}: {text}")


def people_line(counts: dict[str, Any]) -> str:
    several = f", {counts['in_several_cameras']} of them in several cameras" if counts["in_several_cameras"] else ""
    return f"people: {counts['identities']} in {counts['tracklets']} tracks{several}"


@app.command(epilog=EXIT_CODES)
def associate(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")],
    runs: Annotated[list[Path] | None, typer.Argument(help="Output folders of passerby run.")] = None,
    tracks: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TRACKS.TXT", help="Any tracker's MOTChallenge text of a camera, with its --video.")
    ] = None,
    video: Annotated[list[str] | None, typer.Option(metavar="NAME=PATH", help="The video that --tracks NAME=... is of.")] = None,
    site: Annotated[Path | None, typer.Option(help="Site file (YAML): which camera leads to which, which views overlap.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, association.visits=10 for example.")
    ] = None,
    refined: Annotated[bool, typer.Option("--refine", help="Refine each run first, into OUT/refined.")] = False,
    online: Annotated[bool, typer.Option("--online", help="Decide as if the cameras ran now; events.jsonl says what and when.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Say which tracks of any number of runs, or of any tracker with its videos, are the same person: identities, sheets and a page."""
    from pipeline.cameras import specify
    from pipeline.config import load_config
    from pipeline.errors import UsageError
    from pipeline.job import associate_runs, given_run
    from pipeline.site import load_site

    settings, places, failed = load_config(config, set_ or ()), load_site(site), 0
    runs = list(runs or ())
    if tracks or video:
        if not video:
            raise UsageError("--tracks goes with the video it is of: add --video NAME=PATH")
        specs = specify((), video, tracks=tracks or (), option="--video")
        if bare := [spec.name for spec in specs if spec.tracks is None]:
            raise UsageError(f"--video {bare[0]}=...: no --tracks {bare[0]}=TRACKS.TXT for it")
        record = given_run(specs, settings, out / "given", places)
        failed = record["exit_code"]
        report_failures(record)
        runs.append(out / "given")
    if not runs:
        raise UsageError("nothing to associate: give output folders of passerby run, or --tracks NAME=TRACKS.TXT with --video NAME=PATH")
    if refined:
        from pipeline.refining import refine_run

        better = [out / "refined" / f"{at}-{run.resolve().name}" if len(runs) > 1 else out / "refined" for at, run in enumerate(runs, 1)]
        for run, into in zip(runs, better, strict=True):
            refine_run(run, into, settings.refine)
        runs = better
    counts = associate_runs(runs, out, places, settings, online)
    print(json.dumps(counts) if as_json else f"{people_line(counts)}\npage: {out / 'index.html'}")
    if failed:
        raise typer.Exit(failed)


app.add_typer(reid_app, name="reid")
app.add_typer(detector_app, name="detector")

identities_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, epilog=EXIT_CODES,
    help="Correct identities by hand; the log, OUT/corrections.jsonl, is respected by later runs into the folder.",
)  # fmt: skip
app.add_typer(identities_app, name="identities")
OUT = Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of passerby run or passerby associate.")]


@identities_app.command("merge", epilog=EXIT_CODES)
def merge_identities(out: OUT, identities: Annotated[list[int], typer.Argument(help="Two or more that are one person.")]) -> None:
    """Make one person of several identities: that with the least number."""
    from pipeline import corrections
    from pipeline.job import correct

    print(people_line(correct(out, lambda keys, ids: corrections.merge(keys, ids, identities))))


@identities_app.command("split", epilog=EXIT_CODES)
def split_identity(
    out: OUT,
    identity: Annotated[int, typer.Argument(help="The identity that is two people.")],
    tracklets: Annotated[list[str], typer.Argument(metavar="CAMERA:TRACK...", help="Its tracks that are another person.")],
) -> None:
    """Take tracks out of an identity: together they are a person of their own."""
    from pipeline import corrections
    from pipeline.errors import UsageError
    from pipeline.job import correct

    named = []
    for text in tracklets:
        camera, sign, track = text.rpartition(":")
        if not sign or not track.isdigit():
            raise UsageError(f"{text!r} is no track: write CAMERA:TRACK, as identities.csv has them")
        named.append((camera, int(track)))
    print(people_line(correct(out, lambda keys, ids: corrections.split(keys, ids, identity, named))))


@identities_app.command("forget", epilog=EXIT_CODES)
def forget_identities(out: OUT, identities: Annotated[list[int], typer.Argument(help="Who is to be forgotten.")]) -> None:
    """Remove people's embeddings and pictures from the results. Boxes stay, and they can still be seen in the annotated video."""
    from pipeline import corrections
    from pipeline.job import correct

    print(people_line(correct(out, lambda keys, ids: corrections.forget(keys, ids, identities))))


@app.command(epilog=EXIT_CODES)
def refine(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder; with --tracks the text file to write.")],
    run: Annotated[Path | None, typer.Argument(help="Output folder of passerby run.")] = None,
    tracks: Annotated[Path | None, typer.Option(help="Any tracker's MOTChallenge text instead of a run.")] = None,
    video: Annotated[Path | None, typer.Option(help="With --tracks: the video they are of; without it motion alone decides.")] = None,
    reid: Annotated[str | None, typer.Option(help="With --video: shipped name or bundle (.onnx).")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file of settings.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="One setting, refine.gap=5 for example.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Make tracks better after the fact: split those that changed person, join broken ones, fill gaps, smooth boxes."""
    from pipeline.config import load_config
    from pipeline.errors import UsageError
    from pipeline.refining import refine_run, refine_text

    if (run is None) == (tracks is None):
        raise UsageError("give either a run's output folder or --tracks FILE")
    settings = load_config(config, set_ or (), {"reid.model": reid})
    if run is not None:
        if video is not None:
            raise UsageError("--video goes with --tracks; a run has its embeddings already")
        counts = refine_run(run, out, settings.refine)
    else:
        from reid import Embedder

        assert tracks is not None
        embedder = Embedder(settings=settings.reid) if video is not None and settings.reid.model != "none" else None
        counts = {tracks.stem: refine_text(tracks, video, out, settings.refine, embedder)}
    if as_json:
        print(json.dumps(counts))
        return
    for name, count in counts.items():
        print(f"{name}: {count['before']} tracks before, {count['after']} after")
    print(f"written: {out}")


@app.command("eval", epilog=EXIT_CODES)
def evaluate(
    gt: Annotated[Path, typer.Option("--gt", help="Ground truth in MOTChallenge format.")],
    tracks: Annotated[Path, typer.Option("--tracks", help="Tracks in MOTChallenge format.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score tracks against ground truth with TrackEval: HOTA, DetA, AssA, IDF1, MOTA, switches, fragments."""
    from dataclasses import asdict

    from pipeline.evaluation import evaluate as score

    scores = score({tracks.stem: (gt, tracks)})
    if as_json:
        print(json.dumps(asdict(scores)))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("HOTA", "DetA", "AssA", "IDF1", "MOTA", "switches", "fragments")
    table.add_row(
        *(f"{value:.2f}" for value in (scores.hota, scores.det_a, scores.ass_a, scores.idf1, scores.mota)),
        str(scores.switches),
        str(scores.fragments),
    )
    Console().print(table)


@app.command("eval-identities", epilog=EXIT_CODES)
def evaluate_identities(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of passerby run.")],
    gt: Annotated[list[str], typer.Option(metavar="CAMERA=GT.TXT", help="Ground truth of a camera, identities shared by all cameras.")],
    identities: Annotated[Path | None, typer.Option(help="Output folder of passerby associate; else the first run's identities.")] = None,
    site: Annotated[Path | None, typer.Option(help="Site file, for the plot.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Picture of precision against recall over the threshold.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Score identities over cameras: multi-camera IDF1 and HOTA, precision and recall of pairs of tracklets."""
    from dataclasses import asdict

    from pipeline import identity_evaluation as scoring
    from pipeline.errors import UsageError
    from pipeline.identities import read_runs
    from pipeline.site import load_site
    from tracker import AssociationSettings

    truth = {}
    for item in gt:
        name, sign, path = item.partition("=")
        if not sign:
            raise UsageError(f"--gt {item}: write it as CAMERA=GT.TXT")
        truth[name] = Path(path)
    recorded, out = read_runs(runs), identities or runs[0]
    unknown = sorted(set(truth) - set(recorded.tracklets.cameras.tolist()))
    if unknown:
        raise UsageError(
            f"--gt {unknown[0]}=...: no tracklet of such a camera; there are {', '.join(sorted(set(recorded.tracklets.cameras)))}"
        )
    who = scoring.true_identities(recorded, truth)
    pairs = scoring.pair_scores(scoring.identities_of(recorded, out), who)
    boxes = scoring.merged(truth, {camera: out / camera / "tracks.global.txt" for camera in truth})
    if plot is not None:
        scoring.plot_curve(scoring.curve(recorded, who, load_site(site), AssociationSettings()), pairs, plot)
    if as_json:
        print(json.dumps({"boxes": asdict(boxes), "pairs": asdict(pairs)}))
        return
    from rich.console import Console
    from rich.table import Table

    table = Table("HOTA", "AssA", "IDF1", "pair precision", "pair recall", "pair F1")
    table.add_row(
        *(f"{value:.2f}" for value in (boxes.hota, boxes.ass_a, boxes.idf1, 100 * pairs.precision, 100 * pairs.recall, 100 * pairs.f1))
    )
    Console().print(table)


@app.command(epilog=EXIT_CODES)
def doctor(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Say what is installed, which execution providers work, and whether the models load."""
    from pipeline.doctor import examine

    checks = examine()
    if as_json:
        print(json.dumps([check._asdict() for check in checks], indent=1))
    else:
        for check in checks:
            print(
                f"{ {True: 'ok  ', False: 'FAIL', None: '-   '}[check.good] } {check.name}: {check.found}"
                + (f"\n       {check.hint}" if check.hint else "")
            )
    if any(check.good is False for check in checks):
        raise typer.Exit(1)


@app.command(epilog=EXIT_CODES)
def demo(out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")] = Path("demo")) -> None:
    """Run on OpenCV's pedestrian clip, which it gets by itself."""
    from pipeline.demo import obtain_clip

    clip = obtain_clip()
    run(videos=[str(clip)], out=out)
    camera = out / clip.stem
    print(f"video: {camera / 'video.mp4'}\ntracks: {camera / 'tracks.txt'}")


def main() -> None:
    """Run the command; a user's mistake is one message on standard error and a documented exit code."""
    try:
        app(standalone_mode=True)
    except SystemExit:
        raise
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        code = exit_code_of(error)
        if code is None:
            raise
        say(f"passerby: {error}")
        raise SystemExit(code) from None


def exit_code_of(error: Exception) -> int | None:
    from detectors.session import ModelError
    from pipeline.errors import MODEL, PasserbyError

    if isinstance(error, PasserbyError):
        return error.code
    return MODEL if isinstance(error, ModelError) else None


if __name__ == "__main__":
    main()
