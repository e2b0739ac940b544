"""What live cameras are doing: one snapshot, shown as JSON, as health and as Prometheus metrics."""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from pipeline.messaging.publisher import PublisherStatus
from pipeline.sources.stream import StreamStatus

FATES = ("processed", "dropped", "corrupt", "failed", "in_hand")


class CameraStatus(BaseModel):
    """A live camera: its connection, what became of its frames, and how old the newest one is (seconds)."""

    model_config = ConfigDict(frozen=True)

    state: str
    reason: str | None
    message: str | None
    connects: int
    size: tuple[int, int] | None
    codec: str | None
    received: int
    processed: int
    dropped: int
    corrupt: int
    failed: int
    in_hand: int
    lag: float | None
    uncertainty: float | None
    skew: float | None = None
    behind: float | None = None
    level: str = "all"
    tracks: int


class OutputStatus(BaseModel):
    """An output: how often writing it ``failed``, how many of its parts (lines, rows, tracklets) are ``lost``, and the ``problem`` now, if any."""

    model_config = ConfigDict(frozen=True)

    failed: int
    lost: int
    problem: str | None


class ClockStatus(BaseModel):
    """The clock of camera ``b`` is ``seconds`` ahead of that of ``a``, known to ``uncertainty``, by as many people (``samples``) and in which way."""

    model_config = ConfigDict(frozen=True)

    a: str
    b: str
    seconds: float
    uncertainty: float
    samples: int
    by: str


class LiveStatus(BaseModel):
    """All cameras, and the process: ``age`` is the time since the engine's last step, seconds; ``memory`` in bytes."""

    model_config = ConfigDict(frozen=True)

    began: float
    uptime: float
    age: float
    steps: int
    people: int
    events: int
    late_updates: int
    memory: int
    publisher: PublisherStatus | None = None
    cameras: dict[str, CameraStatus]
    outputs: dict[str, OutputStatus] = {}
    clocks: list[ClockStatus] = []

    @property
    def healthy(self) -> bool:
        """Whether the engine steps, or waits for cameras that are all away."""
        return self.age < 10 or all(camera.state != "running" for camera in self.cameras.values())


def camera_status(status: StreamStatus, tracks: int) -> CameraStatus:
    connection, counts = status.connection, status.counts
    return CameraStatus(
        state=connection.state,
        reason=connection.reason,
        message=status.message,
        connects=connection.connects,
        size=status.size,
        codec=status.codec,
        received=counts.received,
        processed=counts.processed,
        dropped=counts.dropped,
        corrupt=counts.corrupt,
        failed=counts.failed,
        in_hand=counts.in_hand,
        lag=status.lag,
        uncertainty=status.uncertainty,
        skew=status.skew,
        behind=status.behind,
        level=status.level,
        tracks=tracks,
    )


def memory() -> int:
    """Resident memory of this process, bytes; at its largest, where the system does not say how much it is now."""
    pages = Path("/proc/self/statm")
    if pages.is_file():
        return int(pages.read_text().split()[1]) * resource.getpagesize()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def prometheus_text(status: LiveStatus) -> str:
    """Metrics in Prometheus' text format, base units; no identity is a label."""
    lines: list[str] = []

    def metric(name: str, kind: str, text: str, rows: list[tuple[str, float]]) -> None:
        lines.append(f"# HELP passerby_{name} {text}\n# TYPE passerby_{name} {kind}")
        lines.extend(f"passerby_{name}{labels} {value:g}" for labels, value in rows)

    def label(**values: str) -> str:
        quoted = (f'{key}="{value.translate(_ESCAPES)}"' for key, value in values.items())
        return "{" + ",".join(quoted) + "}"

    cameras = status.cameras.items()
    fates = [
        (label(camera=name, fate=fate), float(getattr(camera, fate))) for name, camera in cameras for fate in FATES if fate != "in_hand"
    ]
    metric("frames_total", "counter", "Frames by camera and by what became of them.", fates)
    metric("frames_in_hand", "gauge", "Frames that wait or are being processed.", [(label(camera=n), c.in_hand) for n, c in cameras])
    lags = [(label(camera=name), camera.lag) for name, camera in cameras if camera.lag is not None]
    metric("lag_seconds", "gauge", "Age of the newest frame.", lags)
    levels = [(label(camera=name, level=camera.level), 1.0) for name, camera in cameras]
    metric("camera_level", "gauge", "1 for how much of the stream is decoded.", levels)
    metric("connects_total", "counter", "Connections made.", [(label(camera=name), camera.connects) for name, camera in cameras])
    states = [(label(camera=name, state=camera.state), 1.0) for name, camera in cameras]
    metric("camera_state", "gauge", "1 for the state that the camera is in.", states)
    metric("steps_total", "counter", "Steps of the engine.", [("", status.steps)])
    metric("people", "gauge", "People that the linker remembers.", [("", status.people)])
    metric("events_total", "counter", "Events written.", [("", status.events)])
    metric("late_updates_total", "counter", "Updates that came too late for the linker.", [("", status.late_updates)])
    outputs = status.outputs.items()
    metric("write_errors_total", "counter", "Failed attempts to write.", [(label(output=name), one.failed) for name, one in outputs])
    metric(
        "write_lost_total", "counter", "Lines, rows and tracklets not written.", [(label(output=name), one.lost) for name, one in outputs]
    )
    metric(
        "write_failing",
        "gauge",
        "1 while an output cannot be written.",
        [(label(output=n), float(o.problem is not None)) for n, o in outputs],
    )
    offsets = [(label(a=one.a, b=one.b), one.seconds) for one in status.clocks]
    metric("clock_offset_seconds", "gauge", "How far the clock of camera b is ahead of that of a.", offsets)
    if (edge := status.publisher) is not None:
        metric("broker_connected", "gauge", "1 while the broker answers.", [("", edge.connected)])
        metric("broker_sent_total", "counter", "Messages sent to the broker.", [("", edge.sent)])
        metric("broker_spool_bytes", "gauge", "Messages on disk that wait for the broker.", [("", edge.spooled)])
        metric("broker_dropped_total", "counter", "Messages dropped because the spool was full.", [("", edge.dropped)])
    metric("memory_bytes", "gauge", "Resident memory.", [("", status.memory)])
    return "\n".join(lines) + "\n"


_ESCAPES = {ord("\\"): "\\\\", ord('"'): '\\"', ord("\n"): "\\n"}


class StatusServer:
    """Serves ``/status`` (JSON), ``/healthz`` and ``/metrics`` on loopback unless told otherwise; port 0: any free one.

    Raises OSError where the port cannot be bound.
    """

    def __init__(self, snapshot: Callable[[], LiveStatus], port: int, host: str = "127.0.0.1") -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                status = snapshot()
                if self.path == "/status":
                    self._send(200, "application/json", status.model_dump_json())
                elif self.path == "/healthz":
                    self._send(
                        200 if status.healthy else 503, "application/json", json.dumps({"healthy": status.healthy, "age": status.age})
                    )
                elif self.path == "/metrics":
                    self._send(200, "text/plain; version=0.0.4; charset=utf-8", prometheus_text(status))
                else:
                    self._send(404, "text/plain", "known: /status, /healthz, /metrics\n")

            def _send(self, code: int, kind: str, text: str) -> None:
                body = text.encode()
                self.send_response(code)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                """Requests are not logged."""

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(2)
