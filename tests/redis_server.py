"""A Redis server of a test's own: started, killed and started again on one port, with its data kept as Debian's keeps it (append-only file)."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from typing import Self

import pytest


class RedisServer:
    """``with RedisServer(folder) as server``; ``keeps`` False: it forgets all when it dies."""

    def __init__(self, folder: Path, keeps: bool = True) -> None:
        program = shutil.which("redis-server")
        if program is None:
            pytest.skip("redis-server is not installed (Debian: apt install redis-server)")
        pytest.importorskip("redis", reason="the extra redis is not installed")
        self._program, self._folder, self._keeps = program, folder, keeps
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> Self:
        self._folder.mkdir(parents=True, exist_ok=True)
        words = [
            self._program,
            "--port",
            str(self.port),
            "--bind",
            "127.0.0.1",
            "--dir",
            str(self._folder),
            "--save",
            "",
            "--loglevel",
            "warning",
        ]
        self._process = subprocess.Popen([*words, "--appendonly", "yes" if self._keeps else "no"], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as channel:
                channel.sendall(b"PING\r\n")
                if channel.recv(64).startswith(b"+PONG"):
                    return self
            time.sleep(0.05)
        raise RuntimeError("redis-server did not start")

    def kill(self) -> None:
        """As a crash: at once, with nothing saved that was not."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.kill()
