"""What was asked for and applies to nothing: said, so that a misspelled name is not taken for a quiet scene."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

from detectors.load import DetectorSettings
from detectors.runtime.settings import Settings
from pipeline.config import Config, MotionGate
from pipeline.engine.cameras import Camera
from pipeline.errors import UsageError
from tracker import Site, TrackerSettings


def check_site(site: Site, cameras: Iterable[str]) -> list[str]:
    """Warnings on the names of a site file that are not among ``cameras``. Raises UsageError if none of its cameras is."""
    known = sorted(set(cameras))
    named = dict.fromkeys((*site.cameras, *(end for link in site.links for end in (link.start, link.end))))
    named |= dict.fromkeys(name for group in site.overlaps or () for name in group)
    strange = [name for name in named if name not in known and name.rpartition("/")[2] not in {one.rpartition("/")[2] for one in known}]
    if not strange:
        return []
    hints = [f"did you mean {near[0]} for {name}?" for name in strange if (near := _near(name, [one for one in known if one not in named]))]
    said = f"the site file names {', '.join(strange)}, but the cameras are {', '.join(known)}"
    if hints:
        said += f"; {' '.join(hints)}"
    if len(strange) == len(named):
        raise UsageError(f"nothing in the site file applies: {said}")
    return [said]


def _near(name: str, known: Sequence[str]) -> list[str]:
    folded = {one.lower(): one for one in known}
    return [folded[one] for one in difflib.get_close_matches(name.lower(), list(folded), 1, 0.75)]


def check_settings(config: Config, cameras: Sequence[Camera]) -> list[str]:
    """Warnings on settings that differ from their defaults and apply to no camera."""
    said = []
    if not any(camera.detected for camera in cameras):
        defaults: tuple[tuple[str, Settings], ...] = (("detector", DetectorSettings()), ("motion_gate", MotionGate()))
        for group, default in defaults:
            used = {"classes": config.detector.classes} if group == "detector" else {}  # they choose among given boxes
            if getattr(config, group) != default.changed(**used):
                said.append(f"the settings of {group} have no effect: boxes or tracks are given for every camera")
    if all(camera.tracks is not None for camera in cameras) and config.tracker != TrackerSettings():
        said.append("the settings of tracker have no effect: tracks are given for every camera")
    if config.reading.time_pattern is not None and not any(camera.source.began for camera in cameras):
        said.append(f"reading.time_pattern {config.reading.time_pattern!r} matches no file name")
    for camera in cameras:
        if camera.area is not None and not camera.area.any():
            camera.source.progress.warn(f"its areas keep nothing of the {camera.source.width}x{camera.source.height} image")
    return said
