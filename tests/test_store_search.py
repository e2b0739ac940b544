"""Search: the exact nearest, the chance of a match, and whether anybody matches."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from test_store import MONDAY, filled, tracklet

from pipeline.errors import UsageError
from pipeline.store import Store, Where, open_store
from pipeline.store.search import FEWEST_PROBES, Searcher

PEOPLE, CAMERAS, D = 150, ("door", "hall", "yard"), 64


def look(who: int, camera: str, seen: int, noise: float = 0.25) -> np.ndarray:
    """An embedding: the person's own direction, what the camera adds, and noise."""
    own = np.random.default_rng([1, who]).normal(size=D) / np.sqrt(D)
    light = np.random.default_rng([2, CAMERAS.index(camera)]).normal(size=D) / np.sqrt(D)
    return own + 0.7 * light + 0.8 / np.sqrt(D) + np.random.default_rng([3, who, seen]).normal(size=D) * noise / np.sqrt(D)


def crowd(path: Path, people: int = PEOPLE) -> tuple[Store, np.ndarray]:
    """A store in which everybody was seen once by each camera; and the ids (people, cameras)."""
    store = open_store(path, create=True)
    every = [
        tracklet(camera, who * 3 + at + 1, who * 60 + at * 20, who * 60 + at * 20 + 10, look(who, camera, at), crops=0)
        for who in range(people) for at, camera in enumerate(CAMERAS)
    ]  # fmt: skip
    ids = filled(store, *every)
    store.people.assign(1, [(one, at // 3, 0.9) for at, one in enumerate(ids)])
    return store, np.array(ids).reshape(people, 3)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory):
    store, ids = crowd(tmp_path_factory.mktemp("site") / "store.db")
    yield store, ids
    store.close()


def test_by_a_track_the_same_person_comes_first_and_matches(site) -> None:
    store, ids = site
    search = Searcher(store)
    for who in range(0, PEOPLE, 10):
        found = search.by_sighting(int(ids[who, 0]))
        assert {hit.sighting.id for hit in found.hits[:2]} == {int(ids[who, 1]), int(ids[who, 2])}
        assert [hit.match for hit in found.hits[:3]] == [True, True, False] and not found.nobody
        assert found.hits[0].probability > 0.9 > 0.5 > found.hits[2].probability
        assert found.compared == PEOPLE * 3 and found.threshold.probes >= FEWEST_PROBES
        assert list(found.matches) + list(found.others) == list(found.hits)


def test_nobody_matches_somebody_who_is_not_there_at_the_stated_rate(site) -> None:
    store, _ = site
    search = Searcher(store)
    strangers = [search.by_vectors(look(10_000 + at, "door", at), camera=1) for at in range(100)]
    assert sum(not found.nobody for found in strangers) <= 5  # 1 in 100 is stated: 6 or more have a chance of 1 in 2000
    assert strangers[0].threshold.false_positive_rate == 0.01


def test_a_choice_of_cameras_and_times_is_kept(site) -> None:
    store, ids = site
    search = Searcher(store)
    who = 20
    found = search.by_sighting(int(ids[who, 0]), Where(cameras=("yard",)))
    assert {hit.sighting.camera for hit in found.hits} == {"yard"} and found.compared == PEOPLE
    before = search.by_sighting(int(ids[who, 0]), Where(end=MONDAY + who * 60 - 1))
    assert before.nobody and before.compared < 3 * who + 1
    assert search.by_sighting(int(ids[who, 0]), Where(cameras=("hall",), start=MONDAY + 1e6)).hits == ()


def test_several_pictures_are_nearer_than_one(site) -> None:
    store, _ = site
    search = Searcher(store)
    pictures = np.stack([look(5, "hall", 50 + at, 0.8) for at in range(5)])
    one, several = search.by_vectors(pictures[:1]), search.by_vectors(pictures)
    assert several.hits[0].odds > one.hits[0].odds
    assert {hit.sighting.identity for hit in several.matches} == {store.sightings.get(int(several.hits[0].sighting.id)).identity}


def test_a_small_store_says_that_its_rate_is_not_measured(tmp_path: Path) -> None:
    store, ids = crowd(tmp_path / "few.db", 5)
    found = Searcher(store).by_sighting(int(ids[0, 0]))
    assert found.threshold.probes == 0 and found.threshold.probability >= 0.5
    assert found.hits[0].sighting.identity == found.hits[1].sighting.identity == store.sightings.get(int(ids[0, 0])).identity
    with pytest.raises(UsageError, match="another re-ID model"):
        Searcher(store).by_vectors(np.ones(3))
    store.remove(ids.ravel().tolist())
    with pytest.raises(UsageError, match="no embeddings"):
        Searcher(store).by_vectors(np.ones(D))
    store.close()


def test_erasing_somebody_takes_what_was_measured_with_them(tmp_path: Path) -> None:
    store, ids = crowd(tmp_path / "few.db", 5)
    search = Searcher(store)
    search.by_sighting(int(ids[0, 0]))
    store.remove(ids[0].tolist())
    assert not store.db.value("SELECT count(*) FROM measured")
    search.by_sighting(int(ids[1, 0]))
    assert store.db.value("SELECT min(sightings) FROM measured") == 12
    store.close()
