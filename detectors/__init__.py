"""Person detection: ``load_detector("person-s").detect([bgr, ...])`` gives one ``Detections`` per image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detectors.detections import Detections
    from detectors.load import Detector, load_detector

__all__ = ["Detections", "Detector", "load_detector"]
_HOMES = {"Detections": "detectors.detections", "Detector": "detectors.load", "load_detector": "detectors.load"}


def __getattr__(name: str) -> Any:
    """Imported on first use: the command's help needs none of it."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
