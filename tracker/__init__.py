"""Tracking: ``DeepSort().update(Detections(boxes, scores, embeddings), time=seconds)`` gives the ``Tracks`` of one camera."""

from tracker.deepsort import DeepSort, Tracks
from tracker.settings import TrackerSettings

__all__ = ["DeepSort", "TrackerSettings", "Tracks"]
