"""One camera in many files: the segments that recorders write. They are opened one after the other, so that thousands cost no memory."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import SourceError
from pipeline.sources.frame import Began, Frame, Progress, SegmentCounts, Selection, Source
from pipeline.sources.wall import WallRules

CONTINUOUS = 1.0  # s: names state whole seconds, so segments that are less apart follow each other
LONGEST_OVERLAP = 120.0  # s that recorders repeat before an event; a clock that is further behind was set back
NAMED = 3  # segments that a message names


@dataclass
class _Place:
    """Where in the camera's recording the reader is: the next frame's index, the time of the last frame and the time of one frame in
    seconds, and by how many seconds a clock was set back.
    """

    index: int = 0
    last: float | None = None
    step: float = 0.0
    shift: float = 0.0


@dataclass
class _Fault:
    """What is wrong with one segment or more."""

    text: str
    count: int = 1


class SegmentedSource:
    """``files`` as one camera, in the order given; ``open_one`` opens a file.

    Times are seconds from the first segment's start. Where the wall-clock start of segments is known, gaps between them stay gaps, and
    frames that a segment repeats are left out; where it is not, each segment begins when the one before it ends. A segment that cannot be
    read is named and counted, and the next one is read. ``notes``: warnings of the choice of files. Raises SourceError if none can be opened.
    """

    def __init__(
        self, path: Path, files: Sequence[Path], rules: WallRules, open_one: Callable[[Path], Source], notes: Sequence[str] = ()
    ) -> None:
        self.path, self._files, self._rules, self._open_one = path, tuple(files), rules, open_one
        self.progress = Progress()
        self.segments: SegmentCounts | None = SegmentCounts(len(files))
        self._counts = self.segments
        self.frames: int | None = None
        self._reported: list[str] = []
        self.progress.warnings.extend(notes)
        self._warnings: dict[str, _Fault] = {}
        self._unread: list[str] = []
        self._cut: dict[str, _Fault] = {}
        self._at, first = 0, None
        while first is None and self._at < len(self._files):
            first = self._open(self._files[self._at])
            self._at += first is None
        if first is None:
            raise SourceError(f"{path}: none of its {len(files)} segments can be opened: {'; '.join(self._unread)}")
        self._first: Source | None = first
        self.width, self.height, self.rate = first.width, first.height, first.rate
        self.began: Began | None = first.began
        self._zero = self._start(self._files[self._at], first)
        self._report()

    def _open(self, file: Path) -> Source | None:
        """The segment; None, counted, if it cannot be opened."""
        try:
            return self._open_one(file)
        except SourceError as error:
            reason = str(error)
        except Exception as error:  # a library's unexpected error costs one segment
            reason = f"{file}: cannot be read ({type(error).__name__}: {error})"
        self._counts.unreadable += 1
        if len(self._unread) < NAMED:
            self._unread.append(reason)
        self._report()
        return None

    def _start(self, file: Path, source: Source) -> float | None:
        """Seconds since 1970 at which the segment began, by its own name or container."""
        named = self._rules.named(file)
        if named is None and self._rules.recorded_at is None and source.began is not None:
            return source.began.time
        return named

    def read(self, selection: Selection) -> Iterator[Frame]:
        place = _Place(step=1 / self.rate)
        for at in range(self._at, len(self._files)):
            source, self._first = (self._first or self._open(self._files[at])), None
            if source is None:
                continue
            offset = self._offset(self._files[at], source, place)
            if selection.past(offset):
                return
            yield from self._read_one(self._files[at], source, offset, selection, place)
            if selection.past(place.last or 0.0):
                return

    def _read_one(self, file: Path, source: Source, offset: float, selection: Selection, place: _Place) -> Iterator[Frame]:
        """The frames of a segment that begins at ``offset`` seconds. Moves ``place`` behind it."""
        whole, part, repeated = self.progress, source.progress, 0
        skipped, failed, until = whole.skipped, whole.failed, -1.0 if place.last is None else place.last + place.step / 2
        if (source.width, source.height) != (self.width, self.height):
            self._warn(
                file, f"frames of {source.width}x{source.height}, not {self.width}x{self.height}; boxes are in the pixels of each frame"
            )
        for frame in source.read(selection.shifted(place.index, offset)):
            time = offset + frame.time
            repeated += time <= until
            whole.skipped, whole.failed = skipped + part.skipped + repeated, failed + part.failed
            if time > until:
                whole.given += 1
                yield replace(frame, index=place.index + frame.index, time=time, skipped=whole.skipped, failed=failed + frame.failed)
        whole.skipped, whole.failed = skipped + part.skipped + repeated, failed + part.failed
        self._counts.overlap_frames += repeated
        if part.time is not None:
            place.last = max(offset + part.time, place.last or 0.0)
        place.index, place.step = place.index + part.frames_in, 1 / source.rate
        for text in part.warnings:
            self._warn(file, text)
        if part.error:
            _note(self._cut, part.error)
            self._report()

    def _offset(self, file: Path, source: Source, place: _Place) -> float:
        """Seconds from the camera's start to the segment's."""
        if place.last is None:
            return 0.0
        end, start = place.last + place.step, self._start(file, source)
        if start is None or self._zero is None:
            return end
        late = start - self._zero + place.shift - end
        if late <= -CONTINUOUS and (again := self._rules.named(file, again=True)) is not None:  # the hour that summer time repeats
            late = min(late, late + again - start, key=abs)
        if abs(late) < CONTINUOUS:
            return end
        if late > 0:
            self._counts.gaps += 1
            self._counts.gap_seconds += late
        elif late >= -LONGEST_OVERLAP:
            self._counts.overlaps += 1
        else:
            self._counts.set_back += 1
            self._warn(file, f"its clock is {-late:.0f} s behind the end of the segment before it; its time continues from there")
            place.shift -= late
            return end
        return end + late

    def _warn(self, file: Path, text: str) -> None:
        _note(self._warnings, f"{file.name}: {text}", key=text)
        self._report()

    def _report(self) -> None:
        """Bring the messages of ``progress`` up to date: one for each kind, with the first segment's name and the number of segments."""
        others = [text for text in self.progress.warnings if text not in self._reported]
        self._reported = [_told(fault) for fault in self._warnings.values()]
        self.progress.warnings = [*others, *self._reported]
        errors = [_told(fault) for fault in self._cut.values()]
        if (lost := self._counts.unreadable) > 0:
            more = f"; and {lost - len(self._unread)} more" if lost > len(self._unread) else ""
            errors.insert(0, f"{lost} of {len(self._files)} segments could not be read: {'; '.join(self._unread)}{more}")
        self.progress.error = "; ".join(errors) or None


def _note(faults: dict[str, _Fault], text: str, key: str | None = None) -> None:
    """Count a fault; those that differ in numbers and file names alone are one."""
    kind = re.sub(r"\d+(\.\d+)?", "#", key or text.rpartition(": ")[2])
    if kind in faults:
        faults[kind].count += 1
    else:
        faults[kind] = _Fault(text)


def _told(fault: _Fault) -> str:
    return fault.text if fault.count == 1 else f"{fault.text} (and {fault.count - 1} more segments)"
