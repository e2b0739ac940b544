"""Messages of edges, their schema, the spool, and the arithmetic of doubles, gaps and clocks."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.centre.edges import Edges
from pipeline.centre.sequence import WINDOW, Sequence
from pipeline.messaging import spool as spool_module
from pipeline.messaging.messages import BlindMessage, CameraStateMessage, ClockMessage, ModelFacts, decode, encode, tracklet
from pipeline.messaging.spool import Spool
from tracker import TrackletUpdate
from tracker.linking.evidence import EvidenceWeights

SCHEMA = Path(__file__).parent.parent / "docs/schemas/edge-message.schema.json"


def unit(seed: int, width: int = 32) -> np.ndarray:
    row = np.random.default_rng(seed).normal(size=width)
    return (row / np.linalg.norm(row)).astype(np.float32)


def messages() -> list:
    path = np.array([[1.0, 20.25, 30.5], [2.0, 21.0, 31.0]])
    head = {"edge": "north", "session": "s1"}
    return [
        tracklet("north", "s1", 0, TrackletUpdate("gate", 7, 1.0, 2.5, unit(0), 3.5, path), "model"),
        tracklet("north", "s1", 1, TrackletUpdate("gate", 8, 1.0, 1.0), "model"),
        CameraStateMessage(number=2, camera="gate", time=3.0, state="stalled", **head),
        ClockMessage(number=3, time=4.0, model=ModelFacts(sha256="model", evidence=EvidenceWeights(prior=0.25)), **head),
        ClockMessage(number=4, time=5.0, **head),
        BlindMessage(number=5, camera="gate", time=6.0, start=2.0, **head),
        BlindMessage(number=6, camera="gate", time=6.0, start=2.0, end=5.5, **head),
    ]


def test_a_message_is_what_was_sent():
    for message in messages():
        assert decode(encode(message)) == message
    update = decode(encode(messages()[0])).update
    assert (update.camera, update.track, update.start, update.end, update.weight) == ("gate", 7, 1.0, 2.5, 3.5)
    assert update.embedding.dtype == np.float32
    assert np.linalg.norm(update.embedding) == pytest.approx(1, abs=1e-6)
    assert update.embedding @ unit(0) > 1 - 1e-6  # half the bytes, the same vector
    assert update.path.tolist() == [[1.0, 20.2, 30.5], [2.0, 21.0, 31.0]]
    assert decode(encode(messages()[1])).update.embedding is None


def test_messages_follow_the_published_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    for message in messages():
        jsonschema.validate(json.loads(encode(message)), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"kind": "clock", "time": 1.0}, schema)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"version": 2}, "version"),
        ({"kind": "weather"}, "kind"),
        ({"end": 0.5}, "precedes start"),
        ({"embedding": "AAAA"}, "3 bytes are no vector"),
        ({"embedding": "AAAAAAAA"}, "not a finite vector"),
        ({"embedding": "//8="}, "not a finite vector"),
        ({"embedding": "?"}, "embedding"),
        ({"model": None}, "needs its model"),
        ({"track": -1}, "track"),
        ({"start": float("nan")}, ""),
        ({"number": 1.5}, "number"),
        ({"path": [[1, 2]]}, "path"),
    ],
)
def test_what_is_no_message_is_refused_in_a_line(change, said):
    values = json.loads(encode(messages()[0])) | change
    with pytest.raises(ValueError, match=said) as found:
        decode(json.dumps(values).encode())
    assert "\n" not in str(found.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_refused(content):
    with pytest.raises(ValueError):
        decode(content)


def test_later_versions_of_an_edge_may_say_more():
    values = json.loads(encode(messages()[4])) | {"weather": "rain"}
    assert decode(json.dumps(values).encode()) == messages()[4]


# doubles and gaps


@given(st.permutations(range(60)), st.lists(st.integers(0, 59), max_size=60))
def test_each_number_is_taken_once(order, again):
    sequence, taken = Sequence(), []
    for number in [*order, *again]:
        if sequence.take(number):
            taken.append(number)
    assert sorted(taken) == list(range(60))
    assert (sequence.missing, sequence.doubled, sequence.through) == (0, len(again), 59)


def test_gaps_are_counted_and_given_up_in_the_end():
    sequence = Sequence()
    for number in (0, 1, 5, 6):
        assert sequence.take(number)
    assert sequence.missing == 3
    assert sequence.take(3) and sequence.missing == 2
    for number in range(7, WINDOW + 50):
        assert sequence.take(number)
    assert sequence.missing == 2 and len(sequence.ahead) < 2
    assert not sequence.take(4)  # given up: what was decided without it stays


def test_the_site_waits_for_its_edges_but_not_for_idle_ones():
    edges = Edges(["north", "south"], idle=30)
    edges.take(0.0, "north", "s", 0)
    edges.known["north"].clock = 100.0
    assert edges.watermark == -np.inf  # south was not heard of yet
    edges.take(1.0, "south", "s", 0)
    edges.known["south"].clock = 90.0
    assert edges.watermark == 90
    for second in range(2, 40):
        edges.take(second, "north", "s", second)
    edges.known["north"].clock = 140.0
    assert edges.is_idle("south") and edges.watermark == 140
    edges.take(1000.0, "south", "s", 1)
    assert edges.watermark == 90 and not edges.is_idle("north")  # nobody published in between: the broker was away, and no edge idle


def test_a_camera_belongs_to_one_edge():
    edges = Edges([], idle=10)
    edges.take(0.0, "north", "s", 0)
    assert edges.owns("north", "gate") and not edges.owns("south", "gate")
    for second in range(1, 20):
        edges.take(second, "south", "s", second)
    assert edges.owns("south", "gate") and not edges.owns("north", "gate")  # north is gone, the camera moved


# the spool


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.sampled_from(["append", "take", "restart"]), st.integers(1, 9)), max_size=40))
def test_the_spool_gives_what_it_was_given_in_order(tmp_path_factory, steps):
    folder = tmp_path_factory.mktemp("spool")
    one, given_, taken = Spool(folder, 10_000_000), [], []
    for what, count in steps:
        if what == "append":
            some = [f"message {len(given_) + at}".encode() for at in range(count)]
            one.append(some)
            given_ += some
        elif what == "take":
            some = one.peek(count)
            one.remove(len(some))
            taken += some
        else:  # what was taken from an unfinished file comes again
            one.close()
            one = Spool(folder, 10_000_000)
    while one:
        some = one.peek(7)
        one.remove(len(some))
        taken += some
    assert list(dict.fromkeys(taken)) == given_ and one.dropped == 0
    assert not list(folder.iterdir())


def test_the_spool_is_bounded_and_says_what_it_drops(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(spool_module, "SEGMENT", 1000)
    one = Spool(tmp_path, 8000)
    for number in range(400):
        one.append([f"{number:099d}".encode()])
        assert one.size <= 8100
    left = []
    while one:
        some = one.peek(50)
        one.remove(len(some))
        left += [int(message) for message in some]
    assert left == list(range(one.dropped, 400)) and 300 < one.dropped < 400
    assert "are dropped" in caplog.text


def test_a_message_that_a_crash_cut_off_is_dropped_and_said(tmp_path, caplog):
    one = Spool(tmp_path, 1_000_000)
    one.append([b"whole", b"cut"])
    one.close()
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-2])
    again = Spool(tmp_path, 1_000_000)
    assert again.peek(9) == [b"whole"] and again.dropped == 1
    assert "cut off" in caplog.text
