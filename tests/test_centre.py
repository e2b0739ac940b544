"""Edges and a centre: the same events whatever comes late, twice or dies; a real Redis server where there is one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from edges import EDGES, MODEL, disturbed, published, time_of, walks
from hypothesis import given, settings
from hypothesis import strategies as st
from redis_server import RedisServer
from scipy.optimize import linear_sum_assignment

from pipeline.centre.journal import EventJournal
from pipeline.centre.site_linking import SiteLinking
from pipeline.centre.visits import Visits
from pipeline.config import Publish
from pipeline.errors import SourceError, UsageError
from pipeline.messaging.broker import FIELD, check, connect, events_key, updates_key
from pipeline.messaging.messages import encode
from pipeline.messaging.publisher import Publisher
from tracker import AssociationSettings, Linker, LinkerSettings, Site, apply_events

ROOT = Path(__file__).parent.parent
SETTINGS = LinkerSettings(lateness=5, settle_time=30)


def linking() -> SiteLinking:
    return SiteLinking(Site(), SETTINGS, AssociationSettings(), EDGES)


def in_turn(streams: list[list]) -> list:
    """The messages of all edges in the order of their times."""
    return sorted((one for stream in streams for one in stream), key=lambda one: (time_of(one), one.edge, one.number))


def sent(seed: int, **sizes: int) -> list[list]:
    updates = walks(seed, **sizes)
    until = max(one.end for stream in updates.values() for one in stream)
    return [published(updates[edge], edge, until) for edge in EDGES]


def decided(order: list, centre: SiteLinking, every: int = 7) -> list:
    events = []
    for at, message in enumerate(order):
        centre.take(at / 50, encode(message))
        if at % every == 0:
            events += centre.advance()
    return events + centre.advance()


# without a broker


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6), every=st.integers(1, 40))
def test_order_and_doubles_change_no_event(seed, every):
    streams = sent(seed, visits=30)
    expected = decided(in_turn(streams), linking())
    assert len(expected) > 20
    rng = np.random.default_rng(seed)
    mixed = [(time_of(one), rng.random(), one) for at, stream in enumerate(streams) for one in disturbed(stream, 0.0, at)]
    late = [disturbed(stream, SETTINGS.lateness, at) for at, stream in enumerate(streams)]
    order = []  # each edge in its own disturbed order, edges mixed at random
    while any(late):
        stream = late[int(rng.choice([at for at, one in enumerate(late) if one]))]
        order.append(stream.pop(0))
    for some in (order, [one for *_, one in sorted(mixed, key=lambda item: item[:2])]):
        centre = linking()
        assert decided(some, centre, every) == expected
        assert centre.late == centre.linker.late == centre.refused == 0
        assert all(edge.missing == 0 for edge in centre.edges.known.values())
        assert sum(edge.doubles for edge in centre.edges.known.values()) > 0


@settings(max_examples=3, deadline=None)
@given(seed=st.integers(0, 10**6), cut=st.floats(0, 1))
def test_a_centre_that_is_restored_decides_the_same(tmp_path_factory, seed, cut):
    path = tmp_path_factory.mktemp("centre") / "centre.state"
    order = in_turn(sent(seed, visits=20))
    expected, at = decided(order, linking(), 1), int(cut * len(order))
    first, second = linking(), linking()
    events = decided(order[:at], first, 1)
    first.save(path, {"more": 1})
    assert second.restore(path)["more"] == 1
    assert events + decided(order[max(0, at - 30) :], second, 1) == expected  # and what was in it comes again


def test_what_is_wrong_is_counted_and_stops_nobody(caplog):
    centre = linking()
    streams = sent(3, visits=12)
    other = published([], "thief", 5)
    foreign = [
        one.model_copy(update={"model": "other", "edge": "north", "number": 10_000 + at})
        for at, one in enumerate(streams[0])
        if one.kind == "tracklet"
    ]
    good = in_turn(streams)
    wanted = decided(good, linking())
    found = decided(good[:8], centre)
    for content in (b"", b"\xff", b"{}", b"[1]"):
        centre.take(0.0, content)
    centre.take(0.0, encode(other[0].model_copy(update={"camera": "north-0"})))
    found += decided(good[8:40], centre)
    for message in foreign:
        centre.take(0.0, encode(message))
    found += decided(good[40:], centre)
    assert found == wanted
    assert centre.refused == 4 + 1 + len(foreign) and foreign
    for said in ("a message is refused", "belongs to edge north", "another re-ID model"):
        assert said in caplog.text
    assert len(caplog.records) == 3


def test_a_camera_that_was_away_is_blind_to_the_linker():
    centre = linking()
    order = in_turn(sent(3, visits=12))
    decided(order, centre)
    blind = centre.linker._graph._blind["north-1"]
    assert blind and all(start % 50 == 20 and end in (start + 15, np.inf) for start, end in blind.items())


def test_an_update_older_than_the_memory_is_late_and_makes_no_person():
    centre = SiteLinking(Site(), SETTINGS.changed(retention=100), AssociationSettings())
    streams = sent(1, visits=10)
    decided(in_turn(streams), centre)
    people = centre.people
    old = next(one for one in streams[0] if one.kind == "tracklet")
    centre.take(1e4, encode(old.model_copy(update={"number": 10_000})))
    assert (centre.late, centre.advance(), centre.people) == (1, [], people)


def test_the_journal_writes_each_event_once(tmp_path, caplog):
    first = EventJournal(tmp_path, {})
    for number in range(5):
        first.write("assigned", 100.0 + 86_400 * (number // 3), f"k{number}", identity=number)
    sizes = first.sizes()
    first.write("assigned", 86_600.0, "k5", identity=5)
    first.close()
    last = sorted(tmp_path.iterdir())[-1]
    last.write_bytes(last.read_bytes() + b'{"v": 1, "ti')  # a crash
    again = EventJournal(tmp_path, sizes)
    assert "cut off" in caplog.text and not again.is_new("k5") and again.is_new("k6")
    for number in (5, 6):
        again.write("assigned", 86_600.0, f"k{number}", identity=number)
    again.close()
    rows = [json.loads(line) for path in sorted(tmp_path.iterdir()) for line in path.read_text().splitlines()]
    assert [row["key"] for row in rows] == [f"k{number}" for number in range(7)]


# a site above


def idf1(identities: dict, truth) -> float:
    """Of tracklets, one to one between people and identities."""
    people, numbers = sorted({truth(key) for key in identities}), sorted(set(identities.values()))
    common = np.zeros((len(people), len(numbers)))
    for key, number in identities.items():
        common[people.index(truth(key)), numbers.index(number)] += 1
    return float(common[linear_sum_assignment(-common)].sum()) / len(identities)


def test_a_parent_joins_sites_nearly_as_one_linker_over_all_does():
    def who(key):
        return key[1] % 1000

    for seed in (2,):
        updates = walks(seed, people=12, visits=150, width=64)
        every = sorted((one for stream in updates.values() for one in stream), key=lambda one: (one.end, one.key))
        whole = Linker(Site(), SETTINGS)
        sites = {edge: Linker(Site(), SETTINGS) for edge in EDGES}
        visits = {edge: Visits(edge, 60.0) for edge in EDGES}
        above = Linker(Site(), SETTINGS.changed(settle_time=120))
        for second in range(int(every[-1].end) + 60):
            while every and every[0].end <= second:
                one = every.pop(0)
                whole.add([one])
                sites[one.camera.split("-")[0]].add([one])
            whole.advance(second)
            for edge in EDGES:
                sites[edge].advance(second)
                told = visits[edge].updates(sites[edge])
                assert all(one.camera == edge and one.end >= one.start for one in told)
                above.add(told)
            above.advance(second - 2)
        above.finish()
        assert above.late == 0
        found = above.identities
        of = {
            (edge, number): found[edge, track]
            for edge in EDGES
            for track, number in visits[edge].identity_of.items()
            if (edge, track) in found
        }
        joined = {key: of[edge, number] for edge in EDGES for key, number in sites[edge].identities.items() if (edge, number) in of}
        assert set(joined) == set(whole.identities)
        alone = {key: (edge, number) for edge in EDGES for key, number in sites[edge].identities.items()}
        assert idf1(joined, who) >= idf1(whole.identities, who) - 0.05  # on a few people, whom it knows later and less well
        assert idf1(joined, who) > idf1(alone, who) + 0.2  # without a parent each site has its own numbers


# with a broker


def test_addresses_that_are_none_and_brokers_that_are_not_there():
    pytest.importorskip("redis")
    with pytest.raises(UsageError, match=r"expected the address of a Redis server"):
        connect("http://host/")
    with pytest.raises(UsageError, match="not an address of Redis"):
        connect("redis://host:port/")
    with pytest.raises(SourceError, match="does not answer") as found:
        check(connect("redis://:hunter2@127.0.0.1:9/0", 0.5), "redis://:hunter2@127.0.0.1:9/0")
    assert "hunter2" not in str(found.value)


def entries(server: RedisServer, site: str = "site") -> list[bytes]:
    client = connect(server.url)
    found = [fields[FIELD] for _, fields in client.xrange(updates_key(site))]
    client.close()
    return found


def wait_for(condition, seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def test_a_publisher_spools_while_the_broker_is_away_and_loses_nothing(tmp_path):
    updates = [one for stream in walks(0, visits=20).values() for one in stream]
    with RedisServer(tmp_path / "redis") as server:
        publisher = Publisher(server.url, "site", "north", tmp_path / "spool", MODEL, Publish(backoff=0.3, repeat=10))
        for one in updates[:50]:
            publisher.update(one)
        wait_for(lambda: publisher.status.sent == 50)
        server.kill()
        for one in updates[50:]:
            publisher.update(one)
            publisher.clock(one.end)
        wait_for(lambda: not publisher.status.connected and publisher.status.waiting == 0)
        assert publisher.status.spooled > 0
        publisher.close(1.0)  # the edge stops, too
        again = Publisher(server.url, "site", "north", tmp_path / "spool", MODEL, Publish(backoff=0.3))
        server.start()
        again.clock(1e6)
        again.close(10.0)
        assert (again.status.spooled, again.status.dropped, publisher.status.dropped) == (0, 0, 0)
        assert not list((tmp_path / "spool").iterdir())
        found = [json.loads(one) for one in entries(server)]
        sessions = {one["session"] for one in found}
        assert len(sessions) == 2
        expected = {(publisher.session, number) for number in range(50 + 2 * (len(updates) - 50))} | {(again.session, 0)}
        assert {(one["session"], one["number"]) for one in found} == expected
        assert len(found) == len(expected) + 10  # repeated after the reconnect
        first = list(dict.fromkeys((one["session"], one["number"]) for one in found))
        assert first == sorted(first)  # in order


class CentreProcess:
    """``passerby link`` as a process."""

    def __init__(self, server: RedisServer, folder: Path) -> None:
        self.out, self._server, self._site = folder / "out", server, folder / "site.yaml"
        self._site.write_text("name: site\n")
        self._log = (folder / "log").open("ab")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = [
            sys.executable,
            "-m",
            "pipeline.cli.app",
            "link",
            "--site",
            self._site,
            "--from",
            self._server.url,
            "-o",
            self.out,
            "--json",
        ]
        words += [word for edge in EDGES for word in ("--edge", edge)]
        words += [
            "--set",
            f"linker.lateness={SETTINGS.lateness}",
            "--set",
            f"linker.settle_time={SETTINGS.settle_time}",
            "--set",
            "centre.snapshot=0.3",
        ]
        words += ["--set", "centre.keep=0"]
        self._process = subprocess.Popen([str(word) for word in words], cwd=ROOT, stdout=subprocess.PIPE, stderr=self._log)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def stop(self) -> dict:
        self._process.send_signal(signal.SIGTERM)
        text, _ = self._process.communicate(timeout=30)
        assert self._process.returncode == 0
        return json.loads(text)

    def events(self) -> list[dict]:
        return [
            json.loads(line)
            for path in sorted(self.out.glob("events-*.jsonl"))
            for line in path.read_text().splitlines()
            if line.endswith("}")
        ]

    def status(self) -> dict:
        path = self.out / "status.json"
        return json.loads(path.read_text()) if path.is_file() else {"edges": {}, "watermark": None}


def crash(tmp_path: Path, centre_kills: int, broker_kills: int, visits: int, seconds: float) -> None:
    """Four producers, a tenth doubled and all shuffled within lateness, while the centre and the broker are killed."""
    streams = sent(11, visits=visits)
    wanted = decided(in_turn(streams), linking())
    done = threading.Event()
    with RedisServer(tmp_path / "redis") as server:
        centre = CentreProcess(server, tmp_path)
        centre.start()
        publishers = [Publisher(server.url, "site", edge, tmp_path / edge, MODEL, Publish(backoff=0.5)) for edge in EDGES]

        def produce(at: int) -> None:
            order = disturbed(streams[at], SETTINGS.lateness, at)
            pause = seconds / len(order)
            for message in order:
                publishers[at]._put(lambda _, message=message: message)
                done.wait(pause)

        producers = [threading.Thread(target=produce, args=(at,)) for at in range(4)]
        for one in producers:
            one.start()
        rng = np.random.default_rng(0)
        deaths = rng.permutation(["centre"] * centre_kills + ["broker"] * broker_kills).tolist()
        for victim in deaths:
            time.sleep(seconds / len(deaths) * rng.uniform(0.5, 0.9))
            if victim == "centre":
                centre.kill()
                centre.start()
            else:
                server.kill()
                time.sleep(0.3)
                server.start()
        for one in producers:
            one.join()
        for one in publishers:
            one.close(20.0)
            assert (one.status.dropped, one.status.spooled) == (0, 0)
        last = max(time_of(stream[-1]) for stream in streams)
        wait_for(lambda: centre.status()["watermark"] == last, 90)
        status = centre.stop()
        found = [one for one in centre.events() if one["kind"] != "camera_state"]
        assert [one["key"] for one in found] == [event.key for event in wanted]  # each once, and in order
        assert (status["late"], status["refused"], status["lost"]) == (0, 0, 0)
        assert all(one["missing"] == 0 and one["doubled"] > 0 for one in status["edges"].values())
        states = [one["key"] for one in centre.events() if one["kind"] == "camera_state"]
        assert sorted(states) == sorted(f"{one.edge}/s/{one.number}" for stream in streams for one in stream if one.kind == "camera_state")
        client = connect(server.url)
        told = [json.loads(fields[b"event"])["key"] for _, fields in client.xrange(events_key("site"))]
        assert set(told) == {event.key for event in wanted} | set(states)
        assert client.xinfo_groups(updates_key("site"))[0]["pending"] == 0
        client.close()
    assert apply_events({}, wanted)


def test_nothing_is_lost_when_the_centre_and_the_broker_die(tmp_path):
    crash(tmp_path, centre_kills=1, broker_kills=1, visits=40, seconds=6.0)


@pytest.mark.slow
def test_nothing_is_lost_when_both_die_ten_times(tmp_path):
    crash(tmp_path, centre_kills=10, broker_kills=10, visits=200, seconds=120.0)
