"""``index.html``: one self-contained page per run, with identities, tracks on a timeline, counts and run facts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import jinja2

from pipeline.address import redact
from pipeline.formats.colours import colour
from pipeline.formats.contact_sheet import clock, moment
from pipeline.formats.crop_table import best_crops
from pipeline.formats.tracklet_table import read_tracklets
from pipeline.formats.wall_clock import local_time, time_zone
from pipeline.report.people import People
from pipeline.report.run_record import CameraRecord, RunRecord, segments_line

MAX_CARDS = 2000  # tracks shown per camera, to keep browsers fast; tracklets.parquet has all


S = TypeVar("S", bound="Span")


@dataclass(frozen=True)
class Card:
    """A tracklet on the page. ``sheet``: path of its contact sheet below the output folder; ``thumbnail``: base64 JPEG."""

    track: int
    start: float
    end: float
    boxes: int
    score: float
    thumbnail: str | None
    sheet: str


def read_cards(folder: Path) -> dict[str, list[Card]]:
    """The cards of a run folder's tracklets, by camera."""
    columns = ["camera", "track", "start_time", "end_time", "boxes_count", "mean_score", "best_crop"]
    rows = read_tracklets(folder / "tracklets.parquet", columns).to_pylist()
    best = {(row["camera"], row["track"]): row.get("best_crop") or 0 for row in rows}
    thumbnails = best_crops(folder / "crops.parquet", best)
    cards: dict[str, list[Card]] = {}
    for row in rows:
        camera, track = row["camera"], row["track"]
        sheet, thumbnail = f"people/{camera}-{track:05d}.jpg", thumbnails.get((camera, track))
        card = Card(track, row["start_time"], row["end_time"], row["boxes_count"], row["mean_score"], thumbnail, sheet)
        cards.setdefault(camera, []).append(card)
    return cards


class Span(Protocol):
    """Anything with a start and an end on a timeline, in seconds."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def track(self) -> int: ...


def lanes(cards: Sequence[S], gap: float = 0.0) -> list[list[S]]:
    """Place the cards, earliest first, in as few rows as possible, with at least ``gap`` seconds between neighbours."""
    rows: list[list[S]] = []
    for card in sorted(cards, key=lambda card: (card.start, card.track)):
        row = next((row for row in rows if row[-1].end + gap <= card.start), None)
        if row is None:
            rows.append([card])
        else:
            row.append(card)
    return rows


def ticks(duration: float) -> list[float]:
    """About eight round times over ``duration`` seconds."""
    steps = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400)
    step = next((step for step in steps if duration / step <= 9), 86400)
    return [at * step for at in range(int(duration // step) + 1)]


def max_concurrent(cards: list[Card]) -> int:
    """Maximum number of tracks at one time."""
    events = sorted([(card.start, 1) for card in cards] + [(card.end, -1) for card in cards], key=lambda event: (event[0], -event[1]))
    now = highest = 0
    for _, change in events:
        now += change
        highest = max(highest, now)
    return highest


@dataclass(frozen=True)
class CameraSection:
    """A camera on the page: its record, its cards, the path of its video below the page's folder, or None, and by how many seconds it
    starts after the earliest camera.
    """

    name: str
    record: CameraRecord
    cards: list[Card]
    video: str | None
    shift: float = 0.0

    @property
    def kept(self) -> list[Card]:
        """The ``MAX_CARDS`` longest tracks, in time order."""
        longest = sorted(self.cards, key=lambda card: card.start - card.end)[:MAX_CARDS]
        return sorted(longest, key=lambda card: (card.start, card.track))

    def video_time(self, time: float) -> float:
        """Where ``time`` is in the video, seconds: pauses are shortened there."""
        return round(time - sum(cut for at, cut in self.record.video_cuts if at <= time), 3)

    @property
    def hidden(self) -> int:
        return max(0, len(self.cards) - MAX_CARDS)

    @property
    def max_concurrent(self) -> int:
        return max_concurrent(self.cards)


def write_run_page(out: Path, record: RunRecord, people: People) -> None:
    """Write the page of a run in ``out``. Raises OSError if it cannot be written."""
    cards, sections = read_cards(out), []
    starts = {name: datetime.fromisoformat(camera.began).timestamp() for name, camera in record.cameras.items() if camera.began}
    epoch = min(starts.values(), default=None)
    for name, camera in record.cameras.items():
        shift = 0.0 if epoch is None else starts.get(name, epoch) - epoch
        whole = record.config["output"]["video"] and "video.mp4" not in camera.outputs_failed
        video = f"{name}/video.mp4" if whole and (out / name / "video.mp4").exists() else None
        sections.append(CameraSection(name, camera, cards.get(name, []), video, shift))
    models, timing = record.models, record.timing
    facts = {
        "passerby": record.passerby,
        "started": record.began,
        "duration": f"{timing.wall_seconds} s ({timing.frames_per_second} frames per second)",
        "detector": models.detector.file if models.detector else "none: boxes or tracks given",
        "re-ID": models.reid.file if models.reid else "none",
    }
    if record.not_opened:
        facts["not opened"] = "; ".join(record.not_opened.values())
    if record.exit_code >= 128:
        facts["ended"] = "stopped by a signal; results are incomplete"
    write_page(
        out / "index.html", sections, facts, replace(people, epoch=epoch, time_zone=record.config.get("reading", {}).get("time_zone"))
    )


def write_page(path: Path, cameras: Sequence[CameraSection], facts: Mapping[str, object], people: People) -> None:
    """Render the page; ``facts`` are shown in a table. Raises OSError if it cannot be written."""
    visits = [visit for person in people.rows for visit in person.visits]
    ends = [camera.shift + end for camera in cameras for end in [camera.record.duration, *(card.end for card in camera.cards)]]
    duration = max([*ends, *(visit.end for visit in visits), 1.0])
    zone = time_zone(people.time_zone)
    shown = partial(moment, epoch=people.epoch, zone=zone)
    began = None if people.epoch is None else local_time(people.epoch, zone)
    names = [camera.name for camera in cameras] or sorted({visit.camera for visit in visits})
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(clock=clock, colour=colour, lanes=lanes, moment=shown, segments=segments_line)
    html = environment.get_template("page.html").render(
        cameras=cameras, facts=facts, duration=duration, ticks=ticks(duration), people=people.rows, hidden_people=people.hidden, names=names,
        began=began, sections={camera.name: camera for camera in cameras},
    )  # fmt: skip
    path.write_text(redact(html), encoding="utf-8")
