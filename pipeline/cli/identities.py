"""``passerby associate``, ``refine`` and ``identities``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.output import EXIT_CODES, people_line, report_failures


def associate(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder.")],
    runs: Annotated[list[Path] | None, typer.Argument(help="Output folders of passerby run or live, or folders of them.")] = None,
    tracks: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TRACKS.TXT", help="Tracks of any tracker (MOTChallenge text); requires --video.")
    ] = None,
    video: Annotated[list[str] | None, typer.Option(metavar="NAME=PATH", help="The video that --tracks NAME=... belongs to.")] = None,
    site: Annotated[Path | None, typer.Option(help="Site file (YAML): links between cameras, overlapping views, areas.")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (YAML).")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting, e.g. association.threshold=2; may be repeated.")
    ] = None,
    refined: Annotated[bool, typer.Option("--refine", help="Refine each run first, into OUT/refined.")] = False,
    online: Annotated[
        bool, typer.Option("--online", help="Replay through the online linker, and write its events to events.jsonl.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Assign one identity per person across runs, or across the tracks of any tracker with its videos."""
    from pipeline.config import load_config
    from pipeline.engine.cameras import specify
    from pipeline.errors import UsageError
    from pipeline.formats.site_file import load_site
    from pipeline.identities.recorded import run_folders
    from pipeline.jobs.associate import associate_runs, given_run

    settings, places, failed = load_config(config, set_ or ()), load_site(site), 0
    runs = run_folders(runs or ())
    if tracks or video:
        if not video:
            raise UsageError("--tracks requires --video NAME=PATH")
        specs = specify((), video, tracks=tracks or (), option="--video")
        if bare := [spec.name for spec in specs if spec.tracks is None]:
            raise UsageError(f"--video {bare[0]}=...: requires --tracks {bare[0]}=TRACKS.TXT")
        record = given_run(specs, settings, out / "given", places)
        failed = record.exit_code
        report_failures(record)
        runs.append(out / "given")
    if not runs:
        raise UsageError("nothing to associate: give output folders of passerby run, or --tracks NAME=TRACKS.TXT with --video NAME=PATH")
    if refined:
        from pipeline.identities.refinement import refine_run

        folders = [out / "refined" / f"{at}-{run.resolve().name}" if len(runs) > 1 else out / "refined" for at, run in enumerate(runs, 1)]
        for run, folder in zip(runs, folders, strict=True):
            refine_run(run, folder, settings.refine)
        runs = folders
    counts = associate_runs(runs, out, places, settings, online)
    print(counts.model_dump_json() if as_json else f"{people_line(counts)}\npage: {out / 'index.html'}")
    if failed:
        raise typer.Exit(failed)


identities_app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, epilog=EXIT_CODES,
    help="Correct identities by hand. Corrections are logged in OUT/corrections.jsonl and applied again by later runs into the folder.",
)  # fmt: skip


OUT = Annotated[Path, typer.Argument(metavar="OUT", help="Output folder of passerby run or passerby associate.")]


@identities_app.command("merge", epilog=EXIT_CODES)
def merge_identities(out: OUT, identities: Annotated[list[int], typer.Argument(help="Two or more identities to merge.")]) -> None:
    """Merge identities into the one with the lowest number."""
    from pipeline.identities import corrections
    from pipeline.jobs.associate import correct

    print(people_line(correct(out, lambda keys, ids: corrections.merge(keys, ids, identities))))


@identities_app.command("split", epilog=EXIT_CODES)
def split_identity(
    out: OUT,
    identity: Annotated[int, typer.Argument(help="Identity that contains two people.")],
    tracklets: Annotated[list[str], typer.Argument(metavar="CAMERA:TRACK...", help="Tracks to move to a new identity.")],
) -> None:
    """Move tracks out of an identity into a new one."""
    from pipeline.errors import UsageError
    from pipeline.identities import corrections
    from pipeline.jobs.associate import correct

    named = []
    for text in tracklets:
        camera, sign, track = text.rpartition(":")
        if not sign or not track.isdigit():
            raise UsageError(f"{text!r} is not a track: expected CAMERA:TRACK, as in identities.csv")
        named.append((camera, int(track)))
    print(people_line(correct(out, lambda keys, ids: corrections.split(keys, ids, identity, named))))


@identities_app.command("forget", epilog=EXIT_CODES)
def forget_identities(
    out: OUT, identities: Annotated[list[int], typer.Argument(help="Identities to erase, as in identities.csv.")]
) -> None:
    """Erase people from the results: the same as passerby forget OUT --person N."""
    from pipeline.cli.forget import report_forgotten
    from pipeline.config import Output
    from pipeline.jobs.forget import forget, user
    from pipeline.store import StoreSettings, Where

    report_forgotten(forget(out, Where(), user(), StoreSettings(), Output(), identities))


def refine(
    out: Annotated[Path, typer.Option("-o", "--out", help="Output folder; with --tracks, the text file to write.")],
    run: Annotated[Path | None, typer.Argument(help="Output folder of passerby run.")] = None,
    tracks: Annotated[Path | None, typer.Option(help="Tracks of any tracker (MOTChallenge text) instead of a run.")] = None,
    video: Annotated[Path | None, typer.Option(help="With --tracks: their video. Without it, only motion is used.")] = None,
    reid: Annotated[str | None, typer.Option(help="With --video: re-ID model, a shipped name or bundle (.onnx).")] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration file (YAML).")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set one setting, e.g. refine.max_join_gap=5; may be repeated.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the counts as JSON.")] = False,
) -> None:
    """Post-process tracks: split tracks that switch person, join fragments, fill gaps, smooth boxes."""
    from pipeline.config import load_config
    from pipeline.errors import UsageError
    from pipeline.identities.refinement import refine_run, refine_text

    if (run is None) == (tracks is None):
        raise UsageError("give either the output folder of a run or --tracks FILE")
    settings = load_config(config, set_ or (), {"reid.model": reid})
    if run is not None:
        if video is not None:
            raise UsageError("--video requires --tracks; a run already has its embeddings")
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
