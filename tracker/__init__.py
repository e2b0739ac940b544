"""Tracking: ``DeepSort().update(Detections(boxes, scores, embeddings), time=seconds)`` gives the ``Tracks`` of one camera;
``associate(tracklets, site)`` gives one identity per tracklet over all cameras."""

from tracker.association import AssociationSettings, Identities, associate
from tracker.deepsort import DeepSort, Tracks
from tracker.evidence import Tracklets
from tracker.settings import TrackerSettings
from tracker.site import Site

__all__ = ["AssociationSettings", "DeepSort", "Identities", "Site", "TrackerSettings", "Tracklets", "Tracks", "associate"]
