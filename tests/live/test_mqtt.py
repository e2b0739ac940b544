"""MQTT against a real broker (mosquitto, where it is installed): availability, states, counts, events, and a broker that goes away."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.live.mqtt import Broker, Mqtt, discovery
from pipeline.live.status import CameraStatus, LiveStatus

paho = pytest.importorskip("paho.mqtt.client", reason="paho-mqtt is not installed")


class Mosquitto:
    """A broker on a port of its own, with a user; it may die and come back."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        passwords = folder / "passwords"
        subprocess.run(["mosquitto_passwd", "-b", "-c", str(passwords), "me", "s3cret"], check=True)
        self.config = folder / "mosquitto.conf"
        self.config.write_text(f"listener {self.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\nuser root\n")
        self.process: subprocess.Popen | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(["mosquitto", "-c", str(self.config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


@pytest.fixture
def broker(tmp_path) -> Iterator[Mosquitto]:
    if not (shutil.which("mosquitto") and shutil.which("mosquitto_passwd")):
        pytest.skip("mosquitto is not on this machine")
    one = Mosquitto(tmp_path)
    one.start()
    yield one
    one.kill()


class Listener:
    """Hears everything; ``topics`` holds the last message of each, ``events`` all events."""

    def __init__(self, port: int) -> None:
        self.topics: dict[str, str] = {}
        self.events: list[dict] = []
        self.client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        self.client.username_pw_set("me", "s3cret")
        self.client.reconnect_delay_set(1, 1)
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_message = self._heard
        self.client.connect_async("127.0.0.1", port)
        self.client.loop_start()

    def _heard(self, _: object, __: object, message: paho.MQTTMessage) -> None:
        self.topics[message.topic] = message.payload.decode()
        if message.topic.endswith("/events"):
            self.events.append(json.loads(message.payload))


def wait(condition, seconds: float = 40.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come to that"
        time.sleep(0.05)


def status(tracks: dict[str, int], state: str = "running") -> LiveStatus:
    cameras = {
        name: CameraStatus(
            state=state, reason=None, message=None, connects=1, size=None, codec=None, received=0, processed=0, dropped=0, corrupt=0, failed=0,
            in_hand=0, lag=None, uncertainty=None, tracks=count,
        )
        for name, count in tracks.items()
    }  # fmt: skip
    return LiveStatus(began=0, uptime=0, age=0, steps=0, people=sum(tracks.values()), events=0, late_updates=0, memory=0, cameras=cameras)


def test_states_counts_and_events_are_published(broker):
    listener, mqtt = Listener(broker.port), Mqtt(Broker.of(f"mqtt://me@127.0.0.1:{broker.port}/site", "s3cret"))
    wait(lambda: mqtt._client.is_connected() and listener.client.is_connected())
    mqtt.tell(status({"gate": 2, "yard": 0}))
    mqtt.event('{"kind": "assigned", "identity": 1}')
    mqtt.event('{"kind": "merged", "identity": 1, "other": 2}')
    wait(lambda: len(listener.events) == 2 and "site/people" in listener.topics)
    assert [one["kind"] for one in listener.events] == ["assigned", "merged"]
    assert listener.topics["site/available"] == "online"
    assert (listener.topics["site/gate/state"], listener.topics["site/gate/people"], listener.topics["site/people"]) == (
        "running",
        "2",
        "2",
    )
    for topic, config in discovery("site", "gate").items():
        assert json.loads(listener.topics[topic]) == config
    mqtt.tell(status({"gate": 1}, "stalled"))  # a camera is gone: so are its sensors
    wait(lambda: all(listener.topics[topic] == "" for topic in discovery("site", "yard")))
    assert listener.topics["site/gate/state"] == "stalled"
    mqtt.close()
    wait(lambda: listener.topics["site/available"] == "offline")
    listener.client.loop_stop()


def test_a_broker_that_dies_gets_what_it_missed(broker):
    mqtt = Mqtt(Broker.of(f"mqtt://me@127.0.0.1:{broker.port}", "s3cret"))
    wait(mqtt._client.is_connected)
    broker.kill()
    wait(lambda: mqtt.guard.problem is not None)
    began = time.monotonic()
    for number in range(20):
        mqtt.event(json.dumps({"kind": "assigned", "identity": number}))
        mqtt.tell(status({"gate": number}))
    assert time.monotonic() - began < 2.0  # nobody waits
    listener = Listener(broker.port)
    broker.start()
    wait(lambda: mqtt.guard.problem is None)
    mqtt.tell(status({"gate": 19}))
    wait(lambda: "passerby/gate/people" in listener.topics and listener.topics["passerby/available"] == "online")
    assert listener.topics["passerby/gate/people"] == "19" and mqtt.guard.lost == 0
    mqtt.close()
    listener.client.loop_stop()


def test_a_wrong_password_is_said(broker):
    mqtt = Mqtt(Broker.of(f"mqtt://me@127.0.0.1:{broker.port}", "wrong"))
    wait(lambda: mqtt.guard.problem is not None)
    assert "wrong" not in mqtt.guard.problem
    mqtt.close()


def test_addresses_of_brokers():
    assert Broker.of("mqtt://h") == Broker("h", 1883, False, None, None, "passerby")
    assert Broker.of("mqtts://me:p%40ss@h/a/b") == Broker("h", 8883, True, "me", "p@ss", "a/b")
    for url in ("http://h", "mqtt://", "mqtt://h:port", "mqtt://h/a/#"):
        with pytest.raises(UsageError, match="--mqtt"):
            Broker.of(url)
