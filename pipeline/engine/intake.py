"""Intakes decide which frames form a step. Files are read in step: one frame of each camera that has not ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Protocol

from pipeline.config import Reading
from pipeline.engine.camera_run import CameraRun
from pipeline.errors import PasserbyError
from pipeline.sources.frame import Frame, Selection
from pipeline.sources.prefetch import Prefetch


class Intake(Protocol):
    """Gives the engine its frames."""

    @property
    def ended(self) -> bool:
        """Whether no more frames will come."""

    def next(self, timeout: float | None = None) -> dict[str, Frame]:
        """The frames of the next step by camera name; empty if none came within ``timeout`` seconds, and at the end."""

    def close(self) -> None: ...


class FilesInStep:
    """Frames of files in step, decoded ahead in one thread per camera. Files are always waited for: ``timeout`` has no effect."""

    def __init__(self, runs: Sequence[CameraRun], reading: Reading) -> None:
        self._close, self._reading = ExitStack(), reading
        self._live: dict[str, tuple[CameraRun, Iterator[Frame]]] = {}
        selection = Selection(reading.every, reading.start, reading.end)
        with ExitStack() as opened:  # if one reader cannot start, close those before it
            for run in runs:
                frames = Prefetch(run.camera.source.read(selection), reading.prefetch)
                opened.callback(frames.close)
                self._live[run.camera.name] = run, iter(frames)
            self._close = opened.pop_all()

    @property
    def ended(self) -> bool:
        return not self._live

    def next(self, timeout: float | None = None) -> dict[str, Frame]:
        frames = {name: frame for name, (run, ahead) in self._live.items() if (frame := self._next(run, ahead)) is not None}
        self._live = {name: live for name, live in self._live.items() if name in frames}
        return frames

    def _next(self, run: CameraRun, ahead: Iterator[Frame]) -> Frame | None:
        """The camera's next frame; None at the end. A source that fails ends here, with the error in its progress."""
        source = run.camera.source
        try:
            frame = next(ahead, None)
            if frame is not None:
                return frame
            self._compare_lengths(run)
        except PasserbyError as error:
            source.progress.error = str(error)
        except Exception as error:  # a decoder's unexpected error must not stop the other cameras
            source.progress.error = f"{source.path}: reading failed ({type(error).__name__}: {error})"
        run.result.end()
        return None

    def _compare_lengths(self, run: CameraRun) -> None:
        given, progress = run.camera.tracks, run.camera.source.progress
        if given is not None and self._reading.end is None and given.last > progress.frames_in:
            progress.warn(
                f"{given.path}: has rows up to frame {given.last}, but the source has {progress.frames_in} frames; "
                "check that both belong to the same video"
            )

    def close(self) -> None:
        self._close.close()
