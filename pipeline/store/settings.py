"""Settings of the store: what is kept, and for how long."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from detectors.runtime.settings import Settings, Share

Days = Annotated[float, Field(gt=0, json_schema_extra={"unit": "days"})]


class Retention(Settings):
    """How long each kind of data is kept, from the end of a sighting or the time of an entry. Leave one out to keep it until it is erased."""

    sightings: Days | None = Field(default=None, title="Sightings", description="Whole sightings, with all that belongs to them.")
    vectors: Days | None = Field(default=None, title="Embeddings", description="Embeddings: search finds a sighting no longer.")
    crops: Days | None = Field(default=None, title="Crops", description="Pictures of people.")
    paths: Days | None = Field(default=None, title="Paths", description="Boxes of each frame.")
    events: Days | None = Field(default=None, title="Events", description="Events, those of zones and of the watch list too.")
    audit: Days | None = Field(default=None, title="Audit log", description="Entries of the audit log.")


class StoreSettings(Settings):
    """The store of sightings, `store.db` in the output folder."""

    enabled: bool = Field(default=True, title="Enabled", description="Write the store.")
    crops: Annotated[int, Field(json_schema_extra={"unit": "crops"})] = Field(
        default=4, ge=0, le=64, title="Crops", description="Maximum number of crops kept per sighting."
    )
    false_positive_rate: Share = Field(
        default=0.01,
        title="False-positive rate",
        description="Of searches for somebody who is not in the store, the share that reports a match.",
    )
    watch: bool = Field(default=False, title="Watch list", description="Compare everybody with the people on the watch list.")
    retention: Retention = Field(default=Retention(), title="Retention", description="How long each kind of data is kept.")
