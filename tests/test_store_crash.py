"""kill -9 while the store is written: what was acknowledged is there, whole, and readers see nothing of it."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
from test_store import MONDAY, tracklet

from pipeline.store import Where, open_store

CAMERAS = ("gate", "yard")


def write_for_ever(path: Path, first: int, acknowledge: int) -> None:
    """Write sightings from track ``first`` on, some in a transaction; each is acknowledged with its track when it is on disk."""
    store = open_store(path)
    feeds = [store.sightings.feed(1, camera, MONDAY) for camera in CAMERAS]
    track = first
    while True:
        some = range(track, track + 1 + track % 4)
        with store.writing():
            for one in some:
                sighting = store.sightings.add(1, feeds[one % 2], tracklet(CAMERAS[one % 2], one, one * 10, one * 10 + 5))
                store.people.claim(1, sighting, one % 50, 0.9)
        track = some.stop
        os.write(acknowledge, b"%d\n" % (track - 1))


def killed_once(path: Path, first: int, seconds: float) -> int:
    """Write in a process that is killed after ``seconds``; returns the last track that was acknowledged."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            write_for_ever(path, first, writing)
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        last = int(pipe.readline() or first - 1)  # begun
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        lines = [line for line in pipe.read().split(b"\n") if line]
    return max([last, *(int(line) for line in lines)])


def check(path: Path, last: int) -> float:
    """Everything up to track ``last`` is there and whole; returns the seconds that opening took."""
    began = time.perf_counter()
    store = open_store(path)
    count = store.sightings.count()
    opened = time.perf_counter() - began
    with store:
        tracks = {one.track: one for one in store.sightings.query()}
        assert set(range(1, last + 1)) <= set(tracks) and len(tracks) == count == store.vectors.count()
        assert store.db.value("PRAGMA integrity_check") == "ok"
        assert sum(person.sightings for person in store.people.query()) == count
        for track in random.Random(last).sample(sorted(tracks), min(20, count)):
            expected, one = tracklet(CAMERAS[track % 2], track, track * 10, track * 10 + 5), tracks[track]
            assert (
                np.array_equal(store.sightings.path(one.id).boxes, expected.boxes)
                and store.sightings.best_crop(one.id) == expected.crops[-1]
            )
            assert np.allclose(store.vectors.get(one.id), expected.embedding, atol=1e-3) and one.identity is not None
    return opened


@pytest.mark.parametrize("times", [5, pytest.param(100, marks=pytest.mark.slow)])
def test_killed_while_writing(tmp_path: Path, times: int) -> None:
    path = tmp_path / "store.db"
    with open_store(path, create=True) as store:
        store.sightings.add_source("live", "/live", "live", MONDAY)
        for camera in CAMERAS:
            store.sightings.feed(1, camera, MONDAY)
    seen, problems, over = [0], list[BaseException](), threading.Event()

    def read() -> None:
        try:
            with open_store(path) as reader:
                while not over.is_set():
                    seen.append(reader.sightings.count(Where(cameras=("gate",))))
                    time.sleep(0.005)
        except BaseException as error:
            problems.append(error)

    thread = threading.Thread(target=read)
    thread.start()
    chance, last, slowest = random.Random(times), 0, 0.0
    try:
        for _ in range(times):
            last = killed_once(path, last + 1, chance.uniform(0.0, 0.15))
            with open_store(path) as store:
                count = store.sightings.count()
            slowest = max(slowest, check(path, last))
            last = count  # what was written and not acknowledged stays, too
    finally:
        over.set()
        thread.join()
    assert not problems and seen == sorted(seen) and seen[-1] > 0
    print(f"{times} times killed, {last} sightings, opened within {slowest:.3f} s")
