"""A server for tests: asyncio in a thread of its own, on a loopback port that it keeps, with the faults of any server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Self

PATIENCE = 10.0  # seconds that starting, stopping and each command may take
HOST = "127.0.0.1"


class Service:
    """Listens from ``with`` to its end. Methods may be called from any thread.

    ``tls`` is a certificate and its key; then connections are TLS.
    """

    def __init__(self, tls: tuple[Path, Path] | None = None) -> None:
        self._tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH) if tls else None
        if self._tls and tls:
            self._tls.load_cert_chain(*tls)
        self._held = _bound(0)  # keeps the port while nothing listens: connections are refused, and nobody else gets it
        self.port: int = self._held.getsockname()[1]
        self.accepted = 0  # connections so far
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._server: asyncio.Server | None = None
        self._silent: socket.socket | None = None
        self._flapping: asyncio.Task[None] | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until it ends."""
        raise NotImplementedError

    def jobs(self) -> list[Coroutine[Any, Any, None]]:
        """What runs beside the connections."""
        return []

    @property
    def connected(self) -> int:
        """Connections that are open now."""
        return len(self._writers)

    def start(self) -> Self:
        """Listen; ``with`` does it."""
        if self._thread:
            raise RuntimeError("the test server runs already")
        self._ready, self._error = threading.Event(), None
        self._thread = threading.Thread(target=self._run, name=f"{type(self).__name__}:{self.port}", daemon=True)
        self._thread.start()
        if not self._ready.wait(PATIENCE) or self._error:
            raise RuntimeError("the test server did not start") from self._error
        return self

    def stop(self) -> None:
        """Close connections (FIN), stop listening, end the thread; raises what went wrong inside."""
        self._end(reset=False)

    def kill(self) -> None:
        """As ``stop``, but connections are reset (RST), as those of a process that was killed."""
        self._end(reset=True)

    def restart(self) -> Self:
        """Stop where needed and start again on the same port."""
        self.stop()
        return self.start()

    def close(self) -> None:
        """Stop and give the port back."""
        try:
            self.stop()
        finally:
            self._held.close()

    def refuse(self) -> None:
        """Refuse new connections; open ones go on."""
        self._do(self._unlisten)

    def mute(self) -> None:
        """Half-open: new connections are made, and nobody answers, not even TLS; ``accept`` serves them late."""
        self._do(self._listen_mute)

    def accept(self) -> None:
        """Listen and serve again, after ``refuse``, ``mute`` or ``flap``."""
        self._do(self._listen)

    def drop(self, reset: bool = False) -> None:
        """End all connections with FIN or RST; new ones are served."""
        self._do(self._drop, reset)

    def flap(self, period: float = 1.0) -> None:
        """Away for half a period, there for the other half, until ``accept``, ``refuse`` or ``mute``."""

        async def start() -> None:
            await self._unlisten()
            self._flapping = asyncio.create_task(self._flap(period))

        self._do(start)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    def _do(self, command: Callable[..., Coroutine[Any, Any, None]], *arguments: object) -> None:
        """Run ``command`` in the server's thread and wait for it."""
        if not self._thread or not self._thread.is_alive():
            raise RuntimeError("the test server does not run") from self._error
        asyncio.run_coroutine_threadsafe(command(*arguments), self._loop).result(PATIENCE)

    def _end(self, reset: bool) -> None:
        thread, self._thread = self._thread, None
        if not thread:
            return
        if thread.is_alive():
            with contextlib.suppress(RuntimeError):  # the loop is closed: it ended by an error
                self._loop.call_soon_threadsafe(self._ending.set_result, reset)
        thread.join(PATIENCE)
        if thread.is_alive() or self._error:
            raise RuntimeError("the test server failed") from self._error

    def _run(self) -> None:
        try:
            asyncio.run(self._main())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(self._failed)
        self._ending: asyncio.Future[bool] = self._loop.create_future()
        await self._listen()
        reset = True
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(job) for job in self.jobs()]
                self._ready.set()
                reset = await self._ending
                for task in tasks:
                    task.cancel()
        finally:
            await self._unlisten()
            await self._drop(reset)
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=PATIENCE / 2)

    def _failed(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        self._error = self._error or context.get("exception") or RuntimeError(context["message"])

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted += 1
        self._writers.add(writer)
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            with contextlib.suppress(OSError, EOFError, ValueError, asyncio.LimitOverrunError):  # gone, or no request
                await self.serve(reader, writer)
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _unlisten(self) -> None:
        if self._flapping:
            self._flapping.cancel()
        if self._server:
            self._server.close()
        if self._silent:
            self._silent.close()
        self._server = self._silent = self._flapping = None

    async def _listen_mute(self) -> None:
        await self._unlisten()
        self._silent = _bound(self.port)
        self._silent.listen(100)

    async def _listen(self) -> None:
        waiting, self._silent = self._silent, None
        await self._unlisten()
        await self._serve(waiting or _bound(self.port))

    async def _serve(self, listener: socket.socket) -> None:
        self._server = await asyncio.start_server(self._connected, sock=listener, ssl=self._tls, backlog=200, start_serving=False)
        await self._server.start_serving()

    async def _drop(self, reset: bool) -> None:
        for writer in list(self._writers):
            abort(writer, reset)

    async def _flap(self, period: float) -> None:
        while True:
            await self._drop(False)
            await asyncio.sleep(period / 2)
            await self._serve(_bound(self.port))
            await asyncio.sleep(period / 2)
            if self._server:
                self._server.close()


def abort(writer: asyncio.StreamWriter, reset: bool) -> None:
    """End a connection at once with FIN or RST."""
    if reset:
        with contextlib.suppress(OSError):  # it is closed already
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def _bound(port: int) -> socket.socket:
    """A TCP socket with a port of the loopback address; 0: any free one."""
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind((HOST, port))
    made.setblocking(False)
    return made
