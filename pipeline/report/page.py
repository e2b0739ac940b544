"""``index.html``: one self-contained page of a run: who was where and when, counts, run facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import jinja2

from pipeline.formats.colours import colour
from pipeline.formats.contact_sheet import clock, crop_of
from pipeline.formats.tracklet_table import read_tracklets
from pipeline.report.people import Person

MOST_CARDS = 2000  # thumbnails a page: a browser stays quick, and the table has all


S = TypeVar("S", bound="Span")


@dataclass(frozen=True)
class Card:
    """What the page needs of a tracklet; ``sheet`` is its contact sheet's path below the output folder, ``thumbnail`` base64 JPEG."""

    track: int
    start: float
    end: float
    boxes: int
    score: float
    thumbnail: str | None
    sheet: str


def read_cards(folder: Path) -> dict[str, list[Card]]:
    """Per camera the cards of a run folder's tracklets, their pictures from the sheets."""
    cards: dict[str, list[Card]] = {}
    columns = ["camera", "track", "start_time", "end_time", "boxes_count", "mean_score", "best_crop"]
    for row in read_tracklets(folder / "tracklets.parquet", columns).to_pylist():
        sheet = Path("people") / f"{row['camera']}-{row['track']:05d}.jpg"
        thumbnail = crop_of(folder / sheet, row.get("best_crop") or 0)
        card = Card(row["track"], row["start_time"], row["end_time"], row["boxes_count"], row["mean_score"], thumbnail, sheet.as_posix())
        cards.setdefault(row["camera"], []).append(card)
    return cards


class Span(Protocol):
    """Anything on a timeline, seconds."""

    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def track(self) -> int: ...


def lanes(cards: Sequence[S], gap: float) -> list[list[S]]:
    """Cards in as few rows as it takes that none touches the next within ``gap`` seconds; earliest first."""
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


def busiest(cards: list[Card]) -> int:
    """The most tracks at one time."""
    events = sorted([(card.start, 1) for card in cards] + [(card.end, -1) for card in cards], key=lambda event: (event[0], -event[1]))
    now = most = 0
    for _, change in events:
        now += change
        most = max(most, now)
    return most


def write_page(
    path: Path, cameras: list[dict[str, Any]], facts: dict[str, Any], people: Sequence[Person] = (), hidden_people: int = 0
) -> None:
    """Render the page. ``cameras``: name, cards, error, warnings, counts; ``facts``: pairs shown as they are; ``people``: its rows."""
    ends = [camera["duration"] for camera in cameras] + [card.end for camera in cameras for card in camera["cards"]]
    duration = max([*ends, *(visit.end for person in people for visit in person.visits), 1.0])
    names = [camera["name"] for camera in cameras] or sorted({visit.camera for person in people for visit in person.visits})
    shown = []
    for camera in cameras:
        longest = sorted(camera["cards"], key=lambda card: card.start - card.end)[:MOST_CARDS]
        kept = sorted(longest, key=lambda card: (card.start, card.track))
        shown.append(
            camera
            | {
                "kept": kept,
                "lanes": lanes(kept, duration / 100),
                "busiest": busiest(camera["cards"]),
                "hidden": len(camera["cards"]) - len(kept),
            }
        )
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(clock=clock, colour=colour, lanes=lambda visits: lanes(visits, 0.0))
    html = environment.get_template("page.html").render(
        cameras=shown, facts=facts, duration=duration, ticks=ticks(duration), people=people, hidden_people=hidden_people, names=names
    )
    path.write_text(html, encoding="utf-8")
