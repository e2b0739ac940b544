"""The thread of a live camera's reader: started once, asked to stop, waited for."""

from __future__ import annotations

import threading


class ReaderThread:
    """Runs ``_run`` of a reader in a daemon thread; ``_run`` ends when ``_stop`` is set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"reader {name}", daemon=True)

    def _run(self) -> None:
        raise NotImplementedError

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()

    def join(self, timeout: float) -> bool:
        """Whether the thread has ended within ``timeout`` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()
