"""Person detection: ``load_detector("person-s").detect([bgr, ...])`` gives one ``Detections`` per image."""

from detectors.detections import Detections
from detectors.load import Detector, load_detector

__all__ = ["Detections", "Detector", "load_detector"]
