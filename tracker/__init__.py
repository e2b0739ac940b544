"""Tracking: ``DeepSort().update(Detections(boxes, scores, embeddings), time=seconds)`` gives the ``Tracks`` of one camera;
``associate(tracklets, site)`` gives one identity per tracklet over all cameras; ``Linker(site)`` gives identities while cameras run."""

from tracker.following.deepsort import DeepSort, Tracks
from tracker.following.settings import TrackerSettings
from tracker.linking.association import AssociationSettings, Identities, associate
from tracker.linking.evidence import Tracklets
from tracker.linking.linker import Linker, LinkerSettings
from tracker.linking.updates import Event, TrackletUpdate, apply_events
from tracker.site import Site

__all__ = [
    "AssociationSettings", "DeepSort", "Event", "Identities", "Linker", "LinkerSettings", "Site", "TrackerSettings", "TrackletUpdate",
    "Tracklets", "Tracks", "apply_events", "associate",
]  # fmt: skip
