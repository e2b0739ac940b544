"""Rows of people for the page, and their counts."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.formats.contact_sheet import crop_of
from pipeline.identities.recorded import Recorded
from pipeline.identities.results import _groups
from tracker import Identities


@dataclass(frozen=True)
class Visit:
    """A tracklet of a person on the page; ``sheet`` is a path below the page's folder, or None."""

    camera: str
    track: int
    start: float
    end: float
    thumbnail: str | None


@dataclass(frozen=True)
class Person:
    """A row of the page: an identity, how sure, and its visits in order of time."""

    identity: int
    confidence: float
    visits: tuple[Visit, ...]
    sheet: str

    @property
    def cameras(self) -> list[str]:
        return sorted({visit.camera for visit in self.visits})


def people(recorded: Recorded, identities: Identities, most: int = 300, thumbnails: int = 6) -> tuple[list[Person], int]:
    """Rows for the page, those seen most often first where there are over ``most``; and how many are left out."""
    every = sorted(_groups(identities.ids), key=lambda item: (-len(item[1]), item[0]))
    rows = []
    for identity, members in sorted(every[:most]):
        members = sorted(members, key=lambda row: (recorded.tracklets.start[row], recorded.tracklets.cameras[row]))
        visits = []
        for at, row in enumerate(members):
            sheet = recorded.sheet(row)
            visits.append(
                Visit(
                    str(recorded.tracklets.cameras[row]), int(recorded.tracklets.tracks[row]),
                    float(recorded.tracklets.start[row]), float(recorded.tracklets.end[row]),
                    crop_of(sheet, recorded.best[row]) if at < thumbnails else None,
                )
            )  # fmt: skip
        rows.append(Person(identity, float(identities.confidence[members].min()), tuple(visits), f"people/{identity:05d}.jpg"))
    return rows, max(0, len(every) - most)


def summary(recorded: Recorded, identities: Identities) -> dict[str, object]:
    """Counts for ``run.json`` and the command's last lines."""
    cameras = [len(set(recorded.tracklets.cameras[rows].tolist())) for _, rows in _groups(identities.ids)]
    return {
        "tracklets": len(identities.ids),
        "identities": len(cameras),
        "in_several_cameras": sum(count > 1 for count in cameras),
        "uncertain_pairs": len(identities.uncertain),
    }
