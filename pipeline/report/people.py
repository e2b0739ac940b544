"""Identities as rows of the page, and their counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from pipeline.formats.crop_table import Key, best_crops
from pipeline.identities.recorded import RecordedTracklets
from pipeline.identities.results import by_identity
from tracker import Identities

MAX_PEOPLE, MAX_THUMBNAILS = 300, 6  # rows of the page, thumbnails of a row


@dataclass(frozen=True)
class Visit:
    """A tracklet of an identity: times in seconds, ``thumbnail`` base64 JPEG or None."""

    camera: str
    track: int
    start: float
    end: float
    thumbnail: str | None


@dataclass(frozen=True)
class Person:
    """A row of the page: an identity, the lowest confidence of its tracklets, its visits in time order, and the path of its contact sheet
    below the page's folder.
    """

    identity: int
    confidence: float
    visits: tuple[Visit, ...]
    sheet: str

    @property
    def cameras(self) -> list[str]:
        return sorted({visit.camera for visit in self.visits})


@dataclass(frozen=True)
class People:
    """The rows of the page, and the number of identities not shown. ``epoch``: seconds since 1970 of time 0, None if unknown;
    ``time_zone``: in which to show times.
    """

    rows: tuple[Person, ...] = ()
    hidden: int = 0
    epoch: float | None = None
    time_zone: str | None = None


class Counts(BaseModel):
    """Counts of an association, for ``run.json`` and the command's output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tracklets: int
    identities: int
    in_several_cameras: int
    uncertain_pairs: int


def people(recorded: RecordedTracklets, identities: Identities) -> People:
    """Rows for the page, in order of identity; at most ``MAX_PEOPLE``, those with the most tracklets."""
    every = sorted(by_identity(identities.ids), key=lambda item: (-len(item[1]), item[0]))
    shown = {}
    for identity, members in sorted(every[:MAX_PEOPLE]):
        shown[identity] = sorted(members, key=lambda row: (recorded.tracklets.start[row], recorded.tracklets.cameras[row]))
    thumbnails = _thumbnails(recorded, [row for members in shown.values() for row in members[:MAX_THUMBNAILS]])
    rows = []
    for identity, members in shown.items():
        visits = [
            Visit(
                str(recorded.tracklets.cameras[row]), int(recorded.tracklets.tracks[row]),
                float(recorded.tracklets.start[row]), float(recorded.tracklets.end[row]), thumbnails.get(row),
            )
            for row in members
        ]  # fmt: skip
        rows.append(Person(identity, float(identities.confidence[members].min()), tuple(visits), f"people/{identity:05d}.jpg"))
    return People(tuple(rows), max(0, len(every) - MAX_PEOPLE), recorded.epoch, recorded.time_zone)


def _thumbnails(recorded: RecordedTracklets, rows: list[int]) -> dict[int, str]:
    """The best crop of each row's tracklet, base64 JPEG. The crops of each run are read once."""
    wanted: dict[Path, dict[Key, int]] = {}
    for row in rows:
        wanted.setdefault(recorded.runs[row], {})[recorded.names[row], int(recorded.tracklets.tracks[row])] = row
    found: dict[int, str] = {}
    for run, row_of in wanted.items():
        crops = best_crops(run / "crops.parquet", {key: recorded.best[row] for key, row in row_of.items()})
        found |= {row_of[key]: crop for key, crop in crops.items()}
    return found


def counts(identities: Identities, recorded: RecordedTracklets) -> Counts:
    cameras = [len(set(recorded.tracklets.cameras[rows].tolist())) for _, rows in by_identity(identities.ids)]
    return Counts(
        tracklets=len(identities.ids),
        identities=len(cameras),
        in_several_cameras=sum(number > 1 for number in cameras),
        uncertain_pairs=len(identities.uncertain),
    )
