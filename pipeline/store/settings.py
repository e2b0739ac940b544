"""Settings of the store: what is kept, and for how long."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from detectors.runtime.settings import Settings, Share

Days = Annotated[float, Field(gt=0, json_schema_extra={"unit": "days"})]


class StoreSettings(Settings):
    """The store of sightings, `store.db` in the output folder."""

    enabled: bool = Field(default=True, title="Enabled", description="Write the store.")
    path: Path | None = Field(
        default=None,
        title="Path",
        description="The store to write into, for several runs in one. Default: `store.db` in the output folder.",
    )
    crops: Annotated[int, Field(json_schema_extra={"unit": "crops"})] = Field(
        default=4, ge=0, le=64, title="Crops", description="Maximum number of crops kept per sighting."
    )
    false_positive_rate: Share = Field(
        default=0.01,
        title="False-positive rate",
        description="Of searches for somebody who is not in the store, the share that reports a match.",
    )
    watch: bool = Field(default=False, title="Watch list", description="Compare everybody with the people on the watch list.")
    keep_sightings: Days | None = Field(
        default=None, title="Keep sightings", description="Whole sightings, with all that belongs to them. None: until they are erased."
    )
    keep_vectors: Days | None = Field(
        default=None, title="Keep embeddings", description="Embeddings; search finds the sighting no longer. None: as long as the sighting."
    )
    keep_crops: Days | None = Field(default=None, title="Keep crops", description="Pictures of people. None: as long as the sighting.")
    keep_paths: Days | None = Field(default=None, title="Keep paths", description="The boxes of each frame. None: as long as the sighting.")
    keep_events: Days | None = Field(default=None, title="Keep events", description="Events, those of the watch list too. None: for ever.")
    keep_audit: Days | None = Field(default=None, title="Keep audit log", description="Entries of the audit log. None: for ever.")
