"""Corrections by hand reach the running process: it reads what is appended to ``corrections.jsonl``."""

from __future__ import annotations

import glob
import logging
from pathlib import Path

from pydantic import ValidationError

from pipeline.identities.corrections import LOG, Correction
from pipeline.live.events import EventLog
from tracker import Linker

log = logging.getLogger(__name__)


class CorrectionsByHand:
    """Hands new lines of ``folder``'s log to ``linker``, each once: how many were taken is part of the linker's state."""

    def __init__(self, folder: Path, linker: Linker, events: EventLog) -> None:
        self.path, self._linker, self._events = folder / LOG, linker, events
        self._size = -1

    def take(self, now: float) -> None:
        """Take what is new at ``now``, seconds since 1970."""
        try:
            size = self.path.stat().st_size
            if size == self._size:
                return
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            log.error("%s: cannot be read (%s)", self.path, error.strerror or error)
            return
        self._size = size
        lines = content.decode(errors="replace").split("\n")[:-1]  # the last one is not whole yet, or empty
        for number, line in enumerate(lines[self._linker.corrections :], self._linker.corrections + 1):
            self._linker.corrections = number
            try:
                self._apply(Correction.model_validate_json(line), now)
            except ValidationError:
                log.error("%s:%d: not a correction written by passerby; passed over", self.path, number)

    def _apply(self, correction: Correction, now: float) -> None:
        linker, decided = self._linker, []
        if correction.kind == "merge":
            decided = linker.merge(correction.tracklets, now)
        elif correction.kind == "split":
            decided = linker.split(correction.tracklets, correction.others, now)
        else:
            linker.forget(correction.tracklets, now)
            for camera, track in correction.tracklets:
                for clip in self.path.parent.glob(f"clips/*-{glob.escape(camera)}-{track}.mp4"):
                    clip.unlink(missing_ok=True)
                self._events.write("forgotten", now, camera=camera, track=track)
        for event in decided:
            self._events.decided(event)
        log.info("by hand: %s of %d tracklets", correction.kind, len(correction.tracklets))
