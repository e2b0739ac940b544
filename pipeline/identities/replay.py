"""Replay recorded runs through the online linker: tracklets grow second by second."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from pipeline.errors import writing
from pipeline.formats.tracklet import PATH_POINTS
from pipeline.identities.recorded import RecordedTracklets, calibrated
from tracker import AssociationSettings, Event, Identities, Linker, LinkerSettings, Site, TrackletUpdate, apply_events
from tracker.linking.evidence import probability


def grown(recorded: RecordedTracklets, row: int, step: float) -> Iterator[TrackletUpdate]:
    """The updates of one tracklet: every ``step`` seconds, and at its end."""
    tracklets = recorded.tracklets
    start, end, whole = float(tracklets.start[row]), float(tracklets.end[row]), tracklets.embeddings[row]
    path = np.zeros((0, 3)) if tracklets.paths is None else tracklets.paths[row]
    times, embeddings = recorded.embeddings[row] if recorded.embeddings else (np.zeros(0), np.zeros((0, 0), np.float32))
    for until in [*np.arange(start + step, end, step).tolist(), end]:
        seen = path[: np.searchsorted(path[:, 0], until, side="right")][-PATH_POINTS:]
        share = (until - start) / (end - start) if end > start else 1.0
        known = int(np.searchsorted(times, until, side="right"))
        if until == end:
            pooled = whole if whole.any() else None
        else:
            pooled = embeddings[:known].sum(0) if known else None
            if pooled is not None:
                pooled = (pooled / max(float(np.linalg.norm(pooled)), 1e-9)).astype(np.float32)
        yield TrackletUpdate(
            str(tracklets.cameras[row]), int(tracklets.tracks[row]), start, until, pooled, recorded.weights[row] * share, seen
        )


def link(
    recorded: RecordedTracklets, site: Site, settings: LinkerSettings, association: AssociationSettings
) -> tuple[Identities, list[Event]]:
    """The final identities of all tracklets, and the linker's events."""
    updates = sorted(
        (update for row in range(len(recorded.names)) for update in grown(recorded, row, settings.step)),
        key=lambda update: (update.end, update.key),
    )
    linker, events = Linker(site, settings, calibrated(association, recorded.calibration)), list[Event]()
    for update in updates:
        linker.add([update])
        events += linker.advance(update.end)
    events += linker.finish()
    ids = apply_events({}, events)
    odds_of = {(event.camera, event.track): event.odds for event in events if event.kind != "merged"}
    odds = np.array([odds_of[key] for key in recorded.keys])
    numbers = np.array([ids[key] for key in recorded.keys], np.int64)
    return Identities(numbers, probability(odds), np.zeros((0, 2), np.int64), np.zeros(0)), events


def write_events(path: Path, events: Sequence[Event]) -> None:
    """Write one line of JSON per event, ``key`` first. Raises OutputError if the file cannot be written."""
    with writing(path), path.open("w", encoding="utf-8") as file:
        for event in events:
            file.write(json.dumps({"key": event.key, **asdict(event)}) + "\n")
