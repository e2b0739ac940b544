"""The pseudonymous export of a store, with its videos if wanted."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from pipeline.config import Output
from pipeline.errors import writing
from pipeline.identities.erasure import Trace, blank
from pipeline.store import Store, Where
from pipeline.store.exports import export_pseudonymous


def export(store: Store, folder: Path, where: Where, actor: str, output: Output, video: bool = False) -> tuple[int, int]:
    """Write the tables, and with ``video`` a copy of each annotated video in which everybody who was tracked is covered by one colour; returns how many
    sightings and videos. Raises UsageError and OutputError as ``export_pseudonymous`` does.
    """
    chosen, videos = export_pseudonymous(store, folder, where, actor), 0
    if not video:
        return len(chosen), videos
    for source in store.sightings.sources():
        for camera in sorted({one.camera for one in chosen if one.source == source.id and one.video}):
            everybody = [one for one in store.sightings.query(Where((camera,))) if one.source == source.id]
            path = Path(source.folder or "") / (everybody[0].video or "")
            if not path.is_file():
                continue
            copy = folder / f"{source.id}-{camera}.mp4"
            with writing(copy):
                shutil.copyfile(path, copy)
            traces = []
            for one in everybody:
                boxes = store.sightings.path(one.id)
                times = boxes.times if len(boxes.times) else np.array([one.start, one.end])
                traces.append(Trace(times - one.epoch, boxes.boxes.astype(float) if len(boxes.times) else np.array([[0, 0, 1e5, 1e5]] * 2)))
            videos += blank(copy, traces, (), output)
    return len(chosen), videos
