"""MQTT: what live cameras do, for Home Assistant and whoever else listens. Never waits for the broker."""

from __future__ import annotations

import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from pipeline.address import Address
from pipeline.errors import UsageError
from pipeline.live.guard import Guard
from pipeline.live.status import LiveStatus

log = logging.getLogger(__name__)
MOST_WAITING = 10_000  # messages kept while the broker is away
LONGEST_WAIT = 30  # seconds between attempts to reach it
HOME_ASSISTANT = "homeassistant"  # its discovery prefix


@dataclass(frozen=True)
class Broker:
    """Where the broker is. ``prefix``: of all topics."""

    host: str
    port: int
    tls: bool
    user: str | None
    password: str | None
    prefix: str

    @classmethod
    def of(cls, url: str, password: str | None = None) -> Broker:
        """From ``mqtt://USER@HOST:PORT/PREFIX`` or ``mqtts://``. Raises UsageError for what is none."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise UsageError(f"--mqtt {Address(url)}: {error}") from None
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
            raise UsageError(f"--mqtt {Address(url)}: expected mqtt://HOST[:PORT][/PREFIX], or mqtts:// for TLS")
        prefix = parts.path.strip("/") or "passerby"
        if parts.fragment or parts.query or "#" in url or "+" in prefix:
            raise UsageError(f"--mqtt {Address(url)}: a prefix may not contain +, # or ?")
        tls = parts.scheme == "mqtts"
        user = None if parts.username is None else unquote(parts.username)
        given = None if parts.password is None else unquote(parts.password)
        return cls(parts.hostname, port or (8883 if tls else 1883), tls, user, password or given, prefix)


class Mqtt:
    """Publishes below ``broker.prefix``. Messages wait while the broker is away; what finds no room is counted in ``guard``.

    | topic | retained | content |
    |---|---|---|
    | ``available`` | yes | ``online``, or ``offline`` when the process ends or dies |
    | ``CAMERA/state`` | yes | ``running`` and so on |
    | ``CAMERA/people`` | yes | how many people are tracked there now |
    | ``people`` | yes | how many people are remembered |
    | ``events`` | no | every event, as in ``events.jsonl`` |

    Raises UsageError without the package ``paho-mqtt``.
    """

    def __init__(self, broker: Broker) -> None:
        try:
            import paho.mqtt.client as paho
            from paho.mqtt.enums import CallbackAPIVersion
        except ImportError:
            raise UsageError("--mqtt needs the package paho-mqtt: pip install 'passerby[mqtt]'") from None
        self.broker, self.guard = broker, Guard(f"MQTT broker {broker.host}:{broker.port}")
        self._told: dict[str, str] = {}
        self._announced: set[str] = set()
        self._again = True
        self._full = paho.MQTT_ERR_QUEUE_SIZE
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id="")
        if broker.user is not None:
            self._client.username_pw_set(broker.user, broker.password)
        if broker.tls:
            self._client.tls_set_context(ssl.create_default_context())
        self._client.max_queued_messages_set(MOST_WAITING)
        self._client.reconnect_delay_set(1, LONGEST_WAIT)
        self._client.will_set(self._topic("available"), "offline", qos=1, retain=True)
        self._client.on_connect, self._client.on_disconnect = self._connected, self._disconnected
        self._client.on_connect_fail = lambda *_: self.guard.fail(OSError("the broker does not answer"))
        self._client.on_message = self._message
        self._client.connect_async(broker.host, broker.port, keepalive=30)
        self._client.loop_start()

    def event(self, line: str) -> None:
        """An event, as it is written to ``events.jsonl``."""
        self._publish(self._topic("events"), line, retain=False)

    def tell(self, status: LiveStatus) -> None:
        """Publish what has changed; all of it after a new connection."""
        if self._again:
            self._again = False
            self._told.clear()
            self._announced.clear()
            self._publish(self._topic("available"), "online")
        now = {"people": str(status.people)}
        for name, camera in status.cameras.items():
            if name not in self._announced:
                self._announce(name)
            now |= {f"{name}/state": camera.state, f"{name}/people": str(camera.tracks)}
        for name in self._announced - set(status.cameras):  # gone: Home Assistant forgets an empty one
            self._announced.discard(name)
            for topic in discovery(self.broker.prefix, name):
                self._publish(topic, "")
        for topic, value in now.items():
            if self._told.get(topic) != value:
                self._told[topic] = value
                self._publish(self._topic(topic), value)

    def close(self) -> None:
        """Say good-bye; what still waits is lost."""
        if self._client.is_connected():
            self._publish(self._topic("available"), "offline").wait_for_publish(1.0)
        self._client.disconnect()
        self._client.loop_stop()

    def _announce(self, camera: str) -> None:
        self._announced.add(camera)
        for topic, config in discovery(self.broker.prefix, camera).items():
            self._publish(topic, json.dumps(config))

    def _topic(self, name: str) -> str:
        return f"{self.broker.prefix}/{name}"

    def _publish(self, topic: str, content: str, retain: bool = True) -> Any:
        done = self._client.publish(topic, content, qos=1, retain=retain)
        if done.rc == self._full:
            self.guard.lost += 1
        return done

    def _connected(self, client: Any, _: Any, __: Any, reason: Any, ___: Any) -> None:
        if reason.is_failure:
            self.guard.fail(OSError(str(reason)))
            return
        self.guard.fine()
        client.subscribe(f"{HOME_ASSISTANT}/status")
        self._again = True

    def _disconnected(self, _: Any, __: Any, ___: Any, reason: Any, ____: Any) -> None:
        if reason.is_failure:
            self.guard.fail(OSError(f"disconnected ({reason})"))

    def _message(self, _: Any, __: Any, message: Any) -> None:
        if message.payload == b"online":  # Home Assistant has started
            self._again = True


def discovery(prefix: str, camera: str) -> Mapping[str, dict[str, Any]]:
    """Home Assistant's discovery messages of a camera, by topic."""
    node = f"{prefix}_{camera}".replace("/", "_").replace(".", "_")
    shared = {
        "availability_topic": f"{prefix}/available",
        "device": {"identifiers": [node], "name": camera, "manufacturer": "passerby", "model": "camera"},
    }
    state = {
        "name": "Connection", "unique_id": f"{node}_state", "device_class": "connectivity", "state_topic": f"{prefix}/{camera}/state",
        "value_template": "{{ 'ON' if value == 'running' else 'OFF' }}",
    }  # fmt: skip
    people = {
        "name": "People", "unique_id": f"{node}_people", "state_class": "measurement", "unit_of_measurement": "people",
        "state_topic": f"{prefix}/{camera}/people",
    }  # fmt: skip
    return {
        f"{HOME_ASSISTANT}/binary_sensor/{node}/state/config": state | shared,
        f"{HOME_ASSISTANT}/sensor/{node}/people/config": people | shared,
    }
