"""Progress bars on standard error, one per camera, only on a terminal."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from pipeline.config import Config
from pipeline.engine.cameras import Camera

Watcher = Callable[[list[Camera]], Callable[[], None]]


@contextmanager
def watch_progress(shown: bool, settings: Config) -> Iterator[Watcher]:
    """Yield a function that takes the cameras and returns a callback, to be called after every step."""
    if not shown:
        yield lambda cameras: lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]} fps"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def watch(cameras: list[Camera]) -> Callable[[], None]:
            began = time.perf_counter()
            tasks = [progress.add_task(camera.name, total=expected(camera, settings), rate="-") for camera in cameras]

            def step() -> None:
                for task, camera in zip(tasks, cameras, strict=True):
                    counts = camera.source.progress
                    progress.update(task, completed=counts.frames_in, rate=f"{counts.given / (time.perf_counter() - began):.1f}")

            return step

        yield watch


def expected(camera: Camera, settings: Config) -> int | None:
    """Number of frames to read; None if the source does not know it."""
    frames, end = camera.source.frames, settings.reading.end
    if end is None:
        return frames
    until = round(end * camera.source.rate)
    return until if frames is None else min(frames, until)
