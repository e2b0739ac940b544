"""Tracking: ``DeepSort().update(Detections(boxes, scores, embeddings), time=seconds)`` gives the ``Tracks`` of one camera;
``associate(tracklets, site)`` gives one identity per tracklet over all cameras; ``Linker(site)`` gives identities while cameras run."""

from tracker.association import AssociationSettings, Identities, associate
from tracker.deepsort import DeepSort, Tracks
from tracker.evidence import Tracklets
from tracker.linker import Linker, LinkerSettings
from tracker.settings import TrackerSettings
from tracker.site import Site
from tracker.updates import Event, TrackletUpdate, apply_events

__all__ = [
    "AssociationSettings", "DeepSort", "Event", "Identities", "Linker", "LinkerSettings", "Site", "TrackerSettings", "TrackletUpdate",
    "Tracklets", "Tracks", "apply_events", "associate",
]  # fmt: skip
