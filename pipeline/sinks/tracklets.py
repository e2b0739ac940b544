"""Finished tracklets: ``tracklets.parquet``, ``crops.parquet``, and one contact sheet per tracklet."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pipeline.formats.contact_sheet import write_sheet
from pipeline.formats.crop_table import CropTable
from pipeline.formats.tracklet import Tracklet
from pipeline.formats.tracklet_table import TrackletTable
from pipeline.formats.wall_clock import time_zone
from pipeline.sinks.sink import Sink


class TrackletFiles(Sink):
    """Writes the tracklets of all cameras of a run below ``out``. ``facts`` are added to the metadata of ``tracklets.parquet``.

    ``began``: by camera, seconds since 1970 of its time 0, where they are known. Raises OutputError if a file cannot be created.
    """

    def __init__(self, out: Path, facts: dict[str, str], began: Mapping[str, float] | None = None) -> None:
        self._began, self._zone = dict(began or {}), time_zone(facts.get("time_zone"))
        self.people = out / "people"
        self.people.mkdir(parents=True, exist_ok=True)
        self.table = TrackletTable(out / "tracklets.parquet", facts, began=began)
        try:
            self.crops = CropTable(out / "crops.parquet")
        except BaseException:
            self.table.close()
            raise

    def finish(self, tracklet: Tracklet) -> None:
        self.table.add(tracklet)
        self.crops.add(tracklet)
        write_sheet(self.people, tracklet, self._began.get(tracklet.camera), self._zone)

    def close(self) -> None:
        try:
            self.table.close()
        finally:
            self.crops.close()
