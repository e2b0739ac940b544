"""The store of sightings: what is written is found again, by camera, time, zone and person; corrections and their history."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.formats.tracklet import Tracklet
from pipeline.live.corrections import CorrectionsByHand
from pipeline.live.events import EventLog
from pipeline.store import Store, StoreSettings, Where, open_store
from pipeline.store.schema import VERSION
from pipeline.store.sightings import pack_path
from tracker import Event, Linker, TrackletUpdate

MONDAY = 1_700_006_400.0  # 2023-11-15, a Wednesday, 00:00 UTC
DIMENSION = 8


def tracklet(
    camera: str, track: int, start: float, end: float, vector: np.ndarray | None = None, crops: int = 2, boxes: int = 5
) -> Tracklet:
    times = np.linspace(start, end, boxes)
    rng = np.random.default_rng(track)
    if vector is None:
        vector = rng.normal(size=DIMENSION)
    unit = (vector / np.linalg.norm(vector)).astype(np.float32)
    left = rng.uniform(0, 100, boxes).astype(np.float32)
    return Tracklet(
        camera, track, np.arange(boxes) + 1, times, np.stack([left, left, left + 20, left + 50], 1), np.full(boxes, 0.8, np.float32), unit, boxes,
        0.7, tuple(b"\xff\xd8%s-%d-%d\xff\xd9" % (camera.encode(), track, at) for at in range(crops)), tuple(np.linspace(start, end, crops).tolist()),
        crops - 1, times[:1], unit[None],
    )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with open_store(tmp_path / "store.db", create=True) as opened:
        yield opened


def filled(store: Store, *tracklets: Tracklet, epoch: float = MONDAY, folder: str = "/run") -> list[int]:
    source = store.sightings.add_source("run", folder, "run", epoch).id
    feeds = {name: store.sightings.feed(source, name, epoch) for name in dict.fromkeys(one.camera for one in tracklets)}
    with store.writing():
        return [store.sightings.add(source, feeds[one.camera], one) for one in tracklets]


def test_a_sighting_comes_back_as_it_was_written(store: Store) -> None:
    one = tracklet("gate", 7, 10, 20)
    (number,) = filled(store, one)
    found = store.sightings.get(number)
    assert (found.name, found.start, found.end, found.boxes, found.epoch) == ("gate:7", MONDAY + 10, MONDAY + 20, 5, MONDAY)
    path = store.sightings.path(number)
    assert np.array_equal(path.frames, one.frames) and np.array_equal(path.boxes, one.boxes) and np.allclose(path.times, one.times + MONDAY)
    assert [(crop.jpeg, crop.best) for crop in store.sightings.crops(number)] == [(one.crops[0], False), (one.crops[1], True)]
    assert store.sightings.best_crop(number) == one.crops[1]
    assert np.allclose(store.vectors.get(number), one.embedding, atol=1e-3)
    assert 0 < number < 2**53


def test_parts_of_a_track_are_one_sighting_and_writing_one_twice_changes_nothing(store: Store) -> None:
    first, later = tracklet("gate", 7, 10, 20), tracklet("gate", 7, 21, 30)
    ids = filled(store, first, later, first, later)
    assert len(set(ids)) == 1 and store.sightings.count() == 1
    found = store.sightings.get(ids[0])
    assert (found.start, found.end, found.boxes, found.crops) == (MONDAY + 10, MONDAY + 30, 10, 4)
    assert found.score == pytest.approx(0.8)
    assert len(store.sightings.path(ids[0]).times) == 10
    assert sum(crop.best for crop in store.sightings.crops(ids[0])) == 1


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    spans=st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.floats(0, 4 * 86400), st.floats(0, 90_000)), min_size=1, max_size=30),
    window=st.tuples(st.floats(0, 4 * 86400), st.floats(0, 2 * 86400)),
    camera=st.sampled_from([None, "a", "b"]),
    order=st.randoms(),
)
def test_queries_are_those_of_a_plain_loop(tmp_path_factory: pytest.TempPathFactory, spans, window, camera, order) -> None:
    every = [tracklet(name, at + 1, start, start + long) for at, (name, start, long) in enumerate(spans)]
    start, end = MONDAY + window[0], MONDAY + window[0] + window[1]
    shuffled = list(every)
    order.shuffle(shuffled)
    with open_store(tmp_path_factory.mktemp("store") / "store.db", create=True) as store:
        filled(store, tracklet("a", 999, -1, -1), tracklet("b", 999, -1, -1), *shuffled)
        where = Where(None if camera is None else (camera,), start, end)
        chosen = [
            one
            for one in every
            if (camera is None or one.camera == camera) and one.times[0] + MONDAY <= end and one.times[-1] + MONDAY >= start
        ]
        assert sorted(one.name for one in store.sightings.query(where)) == sorted(f"{one.camera}:{one.track}" for one in chosen)
        assert store.sightings.count(where) == len(chosen)
        ids = np.concatenate([block.ids for block in store.vectors.blocks(where)] or [np.zeros(0, np.int64)])
        assert sorted(store.sightings.get(one).name for one in ids.tolist()) == sorted(f"{one.camera}:{one.track}" for one in chosen)
        if chosen:
            query = np.random.default_rng(1).normal(size=DIMENSION).astype(np.float32)
            found, scores = store.vectors.nearest(query, where, 3)
            rows = np.stack([one.embedding.astype(np.float16).astype(np.float32) for one in chosen])
            assert np.allclose(scores, np.sort(rows @ query)[::-1][:3], atol=1e-5)
            assert len(found) == min(3, len(chosen))


def test_assigned_identities_and_their_summary(store: Store) -> None:
    a, b, c = filled(store, tracklet("gate", 1, 0, 10), tracklet("yard", 1, 20, 30), tracklet("gate", 2, 5, 15))
    store.people.assign(1, [(a, 1, 0.9), (b, 1, 0.6), (c, 2, 0.8)])
    one, other = store.people.query(order="id")
    assert (one.sightings, one.cameras, one.confidence, one.first, one.last) == (2, ("gate", "yard"), 0.6, MONDAY, MONDAY + 30)
    assert one.cover in (a, b) and other.cover == c
    assert [person.id for person in store.people.query(Where(cameras=("yard",)))] == [one.id]
    store.people.tag(other.id, "staff", "ann")
    assert [person.id for person in store.people.query(Where(without_tag="staff"))] == [one.id]
    assert store.sightings.count(Where(without_tag="staff")) == 2
    store.people.rename(one.id, "Visitor", "ann")
    assert [person.id for person in store.people.query(name="visi")] == [one.id]
    assert [entry.kind for entry in store.people.history(one.id)] == ["assigned", "assigned", "named"]


def test_corrections_move_pin_and_can_be_taken_back(store: Store) -> None:
    a, b, c = filled(store, tracklet("gate", 1, 0, 10), tracklet("yard", 1, 20, 30), tracklet("gate", 2, 5, 15))
    store.people.assign(1, [(a, 1, 0.9), (b, 2, 0.6), (c, 3, 0.8)])
    store.corrections.suspect([(a, b, 0.45), (a, c, 0.1)])
    assert [(pair.a, pair.b) for pair in store.corrections.queue()] == [(min(a, b), max(a, b)), (min(a, c), max(a, c))]
    same = store.corrections.answer(a, b, "same", "ann")
    assert store.sightings.get(a).identity == store.sightings.get(b).identity
    assert store.corrections.open_pairs() == 1
    store.people.assign(1, [(a, 1, 0.9), (b, 2, 0.6), (c, 3, 0.8)])  # association says again what it said
    assert store.sightings.get(a).identity == store.sightings.get(b).identity
    store.corrections.undo(same.id, "ann")
    assert store.sightings.get(a).identity != store.sightings.get(b).identity
    assert store.corrections.open_pairs() == 2
    merged = store.corrections.merge([one.id for one in store.people.query()], "ann")
    assert store.people.count() == 1 and len(merged.sightings) + len(merged.others) == 3
    store.corrections.split(store.people.query()[0].id, [c], "bob")
    assert store.people.count() == 2
    assert store.corrections.answer(a, b, "different", "bob").kind == "different"
    assert store.people.count() == 3 and store.corrections.different() == {(min(a, b), max(a, b))}
    assert {entry.actor for entry in store.people.history(store.sightings.get(a).identity or 0)} >= {None, "ann"}


def test_an_identity_that_was_merged_is_found_under_its_old_number(store: Store) -> None:
    a, b = filled(store, tracklet("gate", 1, 0, 10), tracklet("yard", 1, 20, 30))
    store.people.assign(1, [(a, 1, 0.9), (b, 2, 0.6)])
    one, other = (person.id for person in store.people.query(order="id"))
    store.people.rename(other, "Ida", "ann")
    store.corrections.merge([one, other], "ann")
    assert store.people.now(other) == one and store.people.get(one).name == "Ida"
    with pytest.raises(UsageError, match=f"part of {one} now"):
        store.people.get(other)


def test_live_events_move_everybody_with_the_number_but_those_corrected(store: Store) -> None:
    a, b, c = filled(store, tracklet("gate", 1, 0, 10), tracklet("yard", 1, 20, 30), tracklet("gate", 2, 5, 15))
    store.people.apply(1, [Event("assigned", 1, 1, "gate", 1, None, 2.0, {}), Event("assigned", 1, 2, "yard", 1, None, 2.0, {})])
    store.people.apply(1, [Event("assigned", 1, 2, "gate", 2, None, 2.0, {})])
    one, other = store.sightings.get(a).identity, store.sightings.get(b).identity
    assert other is not None and one != other == store.sightings.get(c).identity
    store.corrections.split(other, [c], "ann")
    alone = store.sightings.get(c).identity
    store.people.apply(1, [Event("merged", 2, 1, None, None, 2, 3.0, {})])
    assert store.sightings.get(c).identity == alone
    assert store.sightings.get(b).identity in (one, other)  # b was left where the split confirmed it


def test_visits_events_and_audit(store: Store) -> None:
    a, b = filled(store, tracklet("gate", 1, 0, 10), tracklet("yard", 1, 20, 30))
    store.sightings.visit(a, "till", MONDAY + 1)
    store.sightings.visit(a, "till", MONDAY + 1, MONDAY + 5)
    assert [one.id for one in store.sightings.query(Where(zone="till"))] == [a]
    assert [(visit.entered, visit.left) for visit in store.sightings.visits(a)] == [(MONDAY + 1, MONDAY + 5)]
    assert store.sightings.zone_visits("till", MONDAY + 6) == [] and len(store.sightings.zone_visits(None, MONDAY, MONDAY + 2)) == 1
    first = store.events.add("entered", MONDAY, "gate", a, zone="till")
    assert store.events.add("entered", MONDAY, "gate", a, key="k") and store.events.add("entered", MONDAY, "gate", a, key="k") is None
    assert [event.data for event in store.events.query(kinds=("entered",), cameras=("gate",))] == [{"zone": "till"}, {}]
    assert [event.id for event in store.events.query(after=first)] == [(first or 0) + 1]
    store.audit.log("ann", "viewed", f"sighting:{b}", page="person")
    assert [(entry.actor, entry.subject, entry.data) for entry in store.audit.query()] == [("ann", f"sighting:{b}", {"page": "person"})]


def test_a_reader_sees_what_is_committed_while_a_writer_writes(store: Store) -> None:
    filled(store, tracklet("gate", 1, 0, 10))
    seen: list[int] = []

    def read() -> None:
        with open_store(store.path) as other:
            seen.append(other.sightings.count())

    with store.writing():
        filled(store, tracklet("gate", 2, 0, 10))
        thread = threading.Thread(target=read)
        thread.start()
        thread.join()
    read()
    assert seen == [1, 2]


def test_embeddings_of_two_models_are_not_mixed(store: Store) -> None:
    store.use_model({"reid": "a" * 64, "slope": "20"})
    filled(store, tracklet("gate", 1, 0, 10))
    store.use_model({"reid": "a" * 64})
    assert store.facts == {"reid": "a" * 64, "slope": "20"}
    with pytest.raises(UsageError, match="another re-ID model"):
        store.use_model({"reid": "b" * 64}, "run b")


def test_what_is_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such store"):
        open_store(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("hello " * 1000)
    with pytest.raises(UsageError, match="not a store"):
        open_store(tmp_path / "text.db")
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE mine (a)")
    with pytest.raises(UsageError, match="not a store of passerby"):
        open_store(tmp_path / "other.db")
    open_store(tmp_path / "newer.db", create=True).close()
    with sqlite3.connect(tmp_path / "newer.db") as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    with pytest.raises(UsageError, match="update it"):
        open_store(tmp_path / "newer.db")
    assert StoreSettings().crops == 4


def strings_of(one: Tracklet) -> list[bytes]:
    """What of a tracklet must not be found in any file after it was removed."""
    assert one.embedding is not None
    half = one.embedding.astype("<f2").tobytes()
    return [half, half[: len(half) // 2], half[len(half) // 2 :], pack_path(one, MONDAY), *one.crops]


def found_in(folder: Path, needles: list[bytes]) -> list[tuple[str, bytes]]:
    contents = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return [(path.name, needle) for path, content in contents.items() for needle in needles if needle in content]


@pytest.mark.parametrize("seed", range(4))
def test_what_is_removed_is_in_no_byte_of_any_file(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    every = [
        tracklet(
            str(rng.choice(["gate", "yard"])),
            at + 1,
            float(rng.uniform(0, 2e5)),
            2.1e5,
            rng.normal(size=512),
            crops=int(rng.integers(0, 4)),
        )
        for at in range(400)
    ]
    with open_store(tmp_path / "store.db", create=True) as store:
        ids = filled(store, *every)
        store.people.assign(1, [(one, int(rng.integers(0, 60)), 0.9) for one in ids])
        store.people.rename(3, "Somebody Special", "ann")
        gone = set(rng.choice(400, 150, replace=False).tolist())
        rest = [at for at in range(400) if at not in gone]
        todo = list(gone)
        rng.shuffle(todo)
        for part in np.array_split(todo, 5):  # with writes between, so that pages are split, merged and reused
            store.remove([ids[at] for at in part.tolist()])
            again = rng.choice(rest, 20)
            filled(store, *[every[at] for at in again.tolist()])
        special = [one.id for one in store.sightings.query(Where(identities=(3,)))]
        store.remove(special)
        assert store.scrub()
        erased = {ids[at] for at in gone} | set(special)
        assert not found_in(tmp_path, [b"Somebody Special"])
        for at, one in enumerate(every):
            assert bool(found_in(tmp_path, strings_of(one)[:1])) is (ids[at] not in erased), at
            if ids[at] in erased:
                assert not found_in(tmp_path, strings_of(one)), at
        assert store.sightings.count() == 400 - len(erased) == store.vectors.count()
        assert sorted(one.id for one in store.sightings.query()) == sorted(set(ids) - erased)


def test_corrections_of_live_cameras_reach_the_process_that_runs(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db", create=True) as store:
        source = store.sightings.add_source("live", str(tmp_path), "live", MONDAY).id
        camera = store.sightings.feed(source, "gate", 0.0)
        ids = [store.sightings.add(source, camera, tracklet("gate", at + 1, MONDAY + 100 * at, MONDAY + 100 * at + 10)) for at in range(4)]
        elsewhere = filled(store, tracklet("yard", 9, 0, 10))[0]
        for at, one in enumerate(ids):
            store.people.claim(source, one, at + 1, 0.9)
        linker = Linker()
        linker.add(
            [TrackletUpdate("gate", at + 1, 100 * at, 100 * at + 10, row, 5.0) for at, row in enumerate(np.eye(4, 8, dtype=np.float32))]
        )
        linker.advance(1000)
        log = EventLog(tmp_path)
        by_hand = CorrectionsByHand(tmp_path, linker, log)

        def agree() -> None:
            by_hand.take(MONDAY)
            groups = [{}, {}]
            for at, one in enumerate(ids):
                groups[0].setdefault(store.sightings.get(one).identity, set()).add(at)
                groups[1].setdefault(linker.identities["gate", at + 1], set()).add(at)
            assert sorted(map(sorted, groups[0].values())) == sorted(map(sorted, groups[1].values()))

        said = store.corrections.answer(ids[0], ids[1], "same", "ann")
        agree()
        store.corrections.answer(ids[0], elsewhere, "same", "ann")  # of no live camera: nothing to say
        store.corrections.merge([store.sightings.get(one).identity for one in (ids[2], ids[3])], "ann")
        agree()
        store.corrections.split(store.sightings.get(ids[2]).identity, [ids[3]], "ann")
        agree()
        store.corrections.undo(said.id, "ann")
        agree()
        log.close()
