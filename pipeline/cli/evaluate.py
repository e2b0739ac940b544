"""``passerby eval`` and ``eval-identities``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer


def evaluate(
    gt: Annotated[Path, typer.Option("--gt", help="Ground truth: MOTChallenge or VisDrone text, COCO JSON or CVAT XML.")],
    tracks: Annotated[Path, typer.Option("--tracks", help="Tracks in any of these formats.")],
    classes: Annotated[
        str | None,
        typer.Option(metavar="N,N,...", help="Numbers or names of the classes to score, e.g. 1,2. Default: those that mean a person."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Evaluate tracks against ground truth with TrackEval: HOTA, DetA, AssA, IDF1, MOTA, identity switches, fragmentations."""
    from dataclasses import asdict

    from pipeline.evaluation.tracks import evaluate as score

    scores = score({tracks.stem: (gt, tracks)}, [part.strip() for part in classes.split(",") if part.strip()] if classes else None)
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


def evaluate_identities(
    runs: Annotated[list[Path], typer.Argument(help="Output folders of passerby run.")],
    gt: Annotated[
        list[str], typer.Option(metavar="CAMERA=GT.TXT", help="Ground truth of a camera, with identities shared by all cameras.")
    ],
    identities: Annotated[
        Path | None, typer.Option(help="Output folder of passerby associate. Default: the identities of the first run.")
    ] = None,
    site: Annotated[Path | None, typer.Option(help="Site file, for the plot.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Image to write: precision-recall curve over the association threshold.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Evaluate identities across cameras: multi-camera IDF1 and HOTA, precision and recall of tracklet pairs."""
    from dataclasses import asdict

    from pipeline.errors import UsageError
    from pipeline.evaluation import identities as scoring
    from pipeline.formats.site_file import load_site
    from pipeline.identities.recorded import read_runs
    from tracker import AssociationSettings

    truth = {}
    for item in gt:
        name, sign, path = item.partition("=")
        if not sign:
            raise UsageError(f"--gt {item}: expected CAMERA=GT.TXT")
        truth[name] = Path(path)
    recorded, out = read_runs(runs), identities or runs[0]
    unknown = sorted(set(truth) - set(recorded.tracklets.cameras.tolist()))
    if unknown:
        raise UsageError(
            f"--gt {unknown[0]}=...: the runs have no tracklet of this camera; cameras: {', '.join(sorted(set(recorded.tracklets.cameras)))}"
        )
    true_ids = scoring.true_identities(recorded, truth)
    pairs = scoring.pair_scores(scoring.identities_of(recorded, out), true_ids)
    boxes = scoring.merged(truth, {camera: out / camera / "tracks.global.txt" for camera in truth})
    if plot is not None:
        scoring.plot_curve(scoring.curve(recorded, true_ids, load_site(site), AssociationSettings()), pairs, plot)
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
