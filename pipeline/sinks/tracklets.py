"""Finished tracklets: ``tracklets.parquet``, ``crops.parquet``, and one contact sheet per tracklet."""

from __future__ import annotations

from pathlib import Path

from pipeline.formats.contact_sheet import write_sheet
from pipeline.formats.crop_table import CropTable
from pipeline.formats.tracklet import Tracklet
from pipeline.formats.tracklet_table import TrackletTable
from pipeline.sinks.sink import Sink


class TrackletFiles(Sink):
    """Writes the tracklets of all cameras of a run below ``out``. ``facts`` are added to the metadata of ``tracklets.parquet``.

    Raises OutputError if a file cannot be created.
    """

    def __init__(self, out: Path, facts: dict[str, str]) -> None:
        self.people = out / "people"
        self.people.mkdir(parents=True, exist_ok=True)
        self.table = TrackletTable(out / "tracklets.parquet", facts)
        try:
            self.crops = CropTable(out / "crops.parquet")
        except BaseException:
            self.table.close()
            raise

    def finish(self, tracklet: Tracklet) -> None:
        self.table.add(tracklet)
        self.crops.add(tracklet)
        write_sheet(self.people, tracklet)

    def close(self) -> None:
        try:
            self.table.close()
        finally:
            self.crops.close()
