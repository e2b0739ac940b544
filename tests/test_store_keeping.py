"""How long things are kept, the watch list, and the schema from version to version."""

from __future__ import annotations

import gc
import sqlite3
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_store import MONDAY, filled, found_in, tracklet
from test_store_search import crowd, look

from pipeline.errors import UsageError
from pipeline.sinks.store_feed import FeedCamera, StoreFeed
from pipeline.store import StoreSettings, Where, open_store
from pipeline.store import schema as store_schema
from pipeline.store.retention import purge
from pipeline.store.schema import DAY, MIGRATIONS, VERSION
from pipeline.store.watch import WatchList


def test_every_kind_is_kept_as_long_as_it_may(tmp_path: Path) -> None:
    settings = StoreSettings(keep_sightings=30, keep_vectors=20, keep_crops=10, keep_paths=5, keep_events=3, keep_audit=40)
    with open_store(tmp_path / "store.db", settings, create=True) as store:
        ages = (1, 4, 8, 15, 25, 35)
        every = [tracklet("gate", at + 1, -age * DAY, -age * DAY + 10) for at, age in enumerate(ages)]
        ids = filled(store, *every)
        store.people.assign(1, [(one, 7, 0.9) for one in ids])
        for age in ages:
            store.events.add("entered", MONDAY - age * DAY, "gate", zone="till")
        done = purge(store, MONDAY)
        assert done == {"sightings": 1, "vectors": 1, "crops": 4, "paths": 3, "events": 5, "audit": 0}
        assert [one.id for one in store.sightings.query()] == sorted(ids[:5])
        assert [store.vectors.get(one) is not None for one in ids[:5]] == [True, True, True, True, False]
        assert [bool(store.sightings.crops(one)) for one in ids[:5]] == [True, True, True, False, False]
        assert [store.sightings.get(one).crops for one in ids[:5]] == [2, 2, 2, 0, 0]
        assert [len(store.sightings.path(one).times) for one in ids[:5]] == [5, 5, 0, 0, 0]
        assert len(store.events.query()) == 1 and store.audit.query()[0].action == "purged"
        assert not found_in(tmp_path, [*every[5].crops, *every[3].crops, np.asarray(every[4].embedding).astype("<f2").tobytes()])
        assert purge(store, MONDAY) == {"sightings": 0, "vectors": 0, "crops": 0, "paths": 0, "events": 0, "audit": 0}
    with open_store(tmp_path / "store.db") as store:
        assert purge(store, MONDAY) == {}


def test_the_watch_list_is_off_by_default_logged_and_expires(tmp_path: Path) -> None:
    store, ids = crowd(tmp_path / "store.db", 20)
    with pytest.raises(UsageError, match="the watch list is off"):
        WatchList(store)
    store.close()
    with open_store(tmp_path / "store.db", StoreSettings(watch=True)) as store:
        watch = WatchList(store)
        with pytest.raises(UsageError, match="up to 90 days"):
            watch.enrol("Somebody", look(3, "hall", 9), 400, "ann")
        one = watch.enrol("Somebody", np.stack([look(3, "hall", 9), look(3, "hall", 8)]), 7, "ann")
        assert (one.label, one.pictures, round(one.expires - one.created)) == ("Somebody", 2, 7 * 86400)
        seen = [who for who in range(20) for camera in range(3) if watch.check(int(ids[who, camera]))]
        assert set(seen) == {3}
        assert watch.check(int(ids[3, 0])) == []  # told once
        event = store.events.query(kinds=("watch",))[0]
        assert event.data["label"] == "Somebody" and 0.5 <= event.data["probability"] < 1 and event.sighting in ids[3]
        feed = StoreFeed(store, 1, lambda name: FeedCamera(0.0))
        feed.finish(tracklet("door", 900, MONDAY + 5000, MONDAY + 5010, look(3, "door", 77), crops=0))
        feed.flush()
        assert len(store.events.query(kinds=("watch",), start=MONDAY + 4999)) == 1
        assert [entry.action for entry in store.audit.query()] == ["enrolled on the watch list"]
        assert watch.expire(time.time() + 8 * DAY) == 1 and watch.all() == []
        assert [entry.subject for entry in store.audit.query()] == [None, None]
        other = watch.enrol("Other", look(4, "hall", 9), 7, "ann")
        watch.remove(other.id, "bob")
        with pytest.raises(UsageError, match="nobody"):
            watch.remove(other.id, "bob")
        store.scrub()
        assert not found_in(tmp_path, [b"Other"]) and watch.check(int(ids[4, 0])) == []


def test_threads_that_end_leave_no_connection(tmp_path: Path) -> None:
    with open_store(tmp_path / "store.db", create=True) as store:
        for _ in range(5):
            thread = threading.Thread(target=store.sightings.count)
            thread.start()
            thread.join()
        gc.collect()
        assert len(store.db._open) == 1


@pytest.mark.parametrize("version", range(VERSION))
def test_a_store_of_every_earlier_version_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    """Version 0 is an empty file; a store of version n is what the first n migrations make, with a sighting written by plain SQL of that version."""
    path = tmp_path / "store.db"
    with sqlite3.connect(path, isolation_level=None) as db:
        for number in range(version):
            for statement in store_schema.statements(MIGRATIONS[number]):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {version}")
        if version:
            db.execute("PRAGMA application_id = 1346454338")
    with open_store(path) as store:
        assert store.db.value("PRAGMA user_version") == VERSION
        (one,) = filled(store, tracklet("gate", 1, 0, 10))
        assert store.sightings.get(one).name == "gate:1" and store.sightings.count(Where(cameras=("gate",))) == 1


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "store.db"
    with open_store(path, create=True) as store:
        (one,) = filled(store, tracklet("gate", 1, 0, 10))
    more = (*MIGRATIONS, "ALTER TABLE sightings ADD COLUMN more TEXT;\nCREATE TABLE wrong (;\n")
    monkeypatch.setattr(store_schema, "MIGRATIONS", more)
    monkeypatch.setattr(store_schema, "VERSION", len(more))
    monkeypatch.setattr("pipeline.store.database.VERSION", len(more))
    with pytest.raises(Exception, match=r"syntax error|incomplete"):
        open_store(path)
    monkeypatch.undo()
    with open_store(path) as store:
        assert store.db.value("PRAGMA user_version") == VERSION and store.sightings.get(one).track == 1
        assert "more" not in [row[1] for row in store.db.rows("PRAGMA table_info(sightings)")]
