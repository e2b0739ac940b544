"""The store of sightings: who was seen where and when, with embeddings, identities, corrections and an audit log, in one SQLite file.

``open_store(path)`` opens it; the parts of a ``Store`` write and answer:

- ``sightings``: tracklets of cameras, by camera and time, their paths and crops;
- ``vectors``: their embeddings, scored exactly;
- ``people``: identities with names, tags and history;
- ``corrections``: what people said about identities, and the pairs to review;
- ``events``: camera states, zones, alarms;
- ``audit``: who looked at what and changed what.
"""

from pipeline.store.records import (
    AuditEntry,
    Camera,
    Correction,
    Crop,
    Feed,
    HistoryEntry,
    Identity,
    Path,
    Sighting,
    Source,
    StoredEvent,
    UncertainPair,
    Visit,
    Where,
)
from pipeline.store.settings import StoreSettings
from pipeline.store.store import FILE, Store, open_store

__all__ = [
    "FILE", "AuditEntry", "Camera", "Correction", "Crop", "Feed", "HistoryEntry", "Identity", "Path", "Sighting", "Source", "Store",
    "StoreSettings", "StoredEvent", "UncertainPair", "Visit", "Where", "open_store",
]  # fmt: skip
