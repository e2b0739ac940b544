"""A queue of messages on disk, bounded: what an edge keeps while the broker is away."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)
SEGMENT = 4_000_000  # bytes, at least; the oldest segment goes first where there are too many


class Spool:
    """First in, first out, in files of lines below ``folder``. A message is bytes without a newline.

    ``limit``: bytes; over it the oldest messages are dropped, which ``dropped`` counts. What an earlier process left is taken over; a
    message may then come twice, and a line that a crash cut off is dropped and counted. Raises OSError where the folder cannot be written.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit, self.dropped = folder, limit, 0
        folder.mkdir(parents=True, exist_ok=True)
        self._sizes: deque[tuple[Path, int]] = deque()  # oldest first
        self._number = 0
        self._read: deque[bytes] = deque()  # of the oldest segment, not taken yet; its file stays until all are
        self._reading: Path | None = None
        self._writing: Any = None
        for path in sorted(folder.glob("*.spool")):
            self._sizes.append((path, path.stat().st_size))
            self._number = max(self._number, int(path.stem))

    def __bool__(self) -> bool:
        return bool(self._read) or bool(self._sizes)

    @property
    def size(self) -> int:
        """On disk."""
        return sum(size for _, size in self._sizes)

    def append(self, messages: Sequence[bytes]) -> None:
        """Put ``messages`` behind all others, whole lines at once."""
        if not messages:
            return
        if self._writing is None:
            self._number += 1
            path = self.folder / f"{self._number:012d}.spool"
            self._writing = path.open("ab")
            self._sizes.append((path, 0))
        content = b"".join(message + b"\n" for message in messages)
        self._writing.write(content)
        self._writing.flush()
        path, size = self._sizes[-1]
        self._sizes[-1] = (path, size + len(content))
        if size + len(content) >= min(SEGMENT, max(self.limit // 8, 1)):
            self._close()
        while self.size > self.limit and len(self._sizes) > 1:
            self._drop()

    def peek(self, most: int) -> list[bytes]:
        """The oldest messages, at most so many."""
        if not self._read and self._sizes:
            path = self._sizes[0][0]
            if len(self._sizes) == 1:
                self._close()  # it is the one being written: what comes next goes into another
            *whole, rest = path.read_bytes().split(b"\n")
            if rest:
                self.dropped += 1
                log.warning("%s: its last message is cut off; dropped", path)
            self._read, self._reading = deque(whole), path
            if not whole:
                self._remove()
                return self.peek(most)
        return [self._read[at] for at in range(min(most, len(self._read)))]

    def remove(self, count: int) -> None:
        """Take the oldest ``count`` messages, as ``peek`` gave them, off the queue."""
        for _ in range(count):
            self._read.popleft()
        if not self._read and self._reading is not None:
            self._remove()

    def _remove(self) -> None:
        path, _ = self._sizes.popleft()
        path.unlink(missing_ok=True)
        self._reading = None

    def _drop(self) -> None:
        path = self._sizes[0][0]
        lost = len(self._read) if path == self._reading else path.read_bytes().count(b"\n")
        self.dropped += lost
        log.warning("%s: over its limit of %d bytes; the oldest %d messages are dropped", self.folder, self.limit, lost)
        self._read.clear()
        self._remove()

    def _close(self) -> None:
        if self._writing is not None:
            self._writing.close()
            self._writing = None

    def close(self) -> None:
        """Close the file; what is in it stays for the next process."""
        self._close()
