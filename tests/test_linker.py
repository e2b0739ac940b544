"""On-line linking: by hand, its constraints, decisions taken back, what it forgets, and that order and repetition change nothing."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tracker import AssociationSettings, Linker, LinkerSettings, Site, Tracklets, TrackletUpdate, apply_events, associate
from tracker.linking.clustering import agreement, revise
from tracker.linking.evidence import EvidenceWeights

A, B, C = [1.0, 0, 0, 0.1], [0, 1.0, 0, 0.1], [0, 0, 1.0, 0.1]


def update(camera, track, start, end, look, weight=5.0, path=None) -> TrackletUpdate:
    if look is not None:
        look = np.array(look, np.float32)
        look /= np.linalg.norm(look)
    return TrackletUpdate(camera, track, start, end, look, weight, path)


def linked(updates, site=None, **changes):
    linker = Linker(site or Site(), LinkerSettings(**changes))
    linker.add(updates)
    events = linker.finish()
    return apply_events({}, events), events, linker


def growing(rng, people=5, visits=25, cameras="abc"):
    """Updates of visits second by second, and whose each tracklet is."""
    looks = rng.normal(size=(people, 16))
    updates, truth = [], {}
    for track in range(visits):
        who, camera = int(rng.integers(people)), str(rng.choice(list(cameras)))
        start = float(rng.uniform(0, 300))
        truth[camera, track] = who
        seen = looks[who] + rng.normal(0, 0.4, 16)
        for age in range(1, int(rng.integers(2, 8))):
            updates.append(update(camera, track, start, start + age, seen + rng.normal(0, 0.8 / age, 16), float(age)))
    return updates, truth


# decisions


def test_people_over_two_cameras():
    rows = [("a", 1, 0, 10, A), ("a", 2, 2, 12, B), ("b", 1, 20, 30, A), ("b", 2, 22, 32, B), ("b", 3, 40, 50, C)]
    identities, events, linker = linked([update(*row) for row in rows])
    assert identities == {("a", 1): 1, ("a", 2): 2, ("b", 1): 1, ("b", 2): 2, ("b", 3): 3}
    assert [event.kind for event in events] == ["assigned"] * 5
    assert identities == linker.identities == {key: linker.identity(key) for key in identities}
    assert linker.identity(("a", 99)) is None
    assert len(linker) == 3
    back = next(event for event in events if event.camera == "b" and event.track == 1)
    assert back.odds > 0
    assert (back.reasons["camera"], back.reasons["track"]) == ("a", 1)
    json.dumps(back.reasons)


def test_two_who_look_alike_take_what_fits_both_best():
    # both fit person 1 better than person 2, but only one of them can be in the room
    rows = [
        ("a", 1, 0, 10, A),
        ("a", 2, 0, 10, [0.95, 0.3, 0, 0]),
        ("b", 1, 20, 30, [1, 0.05, 0, 0.1]),
        ("b", 2, 20, 30, [0.97, 0.2, 0, 0.05]),
    ]
    identities, _, _ = linked([update(*row) for row in rows])
    assert identities["b", 1] == identities["a", 1]
    assert identities["b", 2] == identities["a", 2]


def test_a_decision_waits_until_enough_is_known():
    first = update("a", 1, 0, 1, A, weight=0.5)
    linker = Linker(settings=LinkerSettings(lateness=0, min_weight=2, max_wait=10))
    linker.add([first])
    assert linker.advance(9) == []
    linker.add([update("a", 1, 0, 9.5, A, weight=3)])
    assert [event.time for event in linker.advance(11)] == [10]  # enough; without it the same at 10, when max_wait ends
    alone = Linker(settings=LinkerSettings(lateness=0, min_weight=2, max_wait=4))
    alone.add([first])
    assert [event.time for event in alone.advance(11)] == [4]


def test_one_person_is_in_one_place_at_a_time_and_no_faster_than_the_way():
    rows = [("a", 1, 0, 10, A), ("a", 2, 5, 15, A), ("b", 1, 8, 12, A)]
    assert len(set(linked([update(*row) for row in rows])[0].values())) == 2  # where views overlap is not known
    assert len(set(linked([update(*row) for row in rows], Site(overlaps=()))[0].values())) == 3
    way = Site.model_validate({"links": [{"start": "a", "end": "b", "min_time": 30, "typical_time": 40, "max_time": 60}]})
    soon = [update("a", 1, 0, 10, A), update("b", 1, 20, 30, A), update("b", 2, 50, 60, A)]
    identities = linked(soon, way)[0]
    assert identities["b", 2] == identities["a", 1] != identities["b", 1]


def test_a_wrong_first_look_is_taken_back():
    # the newcomer looks like A at first, then shows to be C
    early = [update("a", 1, 0, 10, A), update("a", 2, 0, 10, C), update("b", 1, 20, 22, A, weight=2)]
    linker = Linker(settings=LinkerSettings(lateness=0))
    linker.add(early)
    events = linker.advance(25)
    assert apply_events({}, events)["b", 1] == 1
    linker.add([update("b", 1, 20, 30, C, weight=9)])
    later = linker.finish()
    assert [(event.kind, event.identity, event.other) for event in later] == [("split", 2, 1)]
    assert apply_events({}, events + later)["b", 1] == 2


def test_who_turns_up_again_in_the_same_picture_was_somebody_else():
    # track 1 is not seen for a while, track 2 is taken for the same person; then track 1 goes on beside it
    linker = Linker(settings=LinkerSettings(lateness=0))
    linker.add([update("a", 1, 0, 3, A), update("a", 2, 5, 8, A)])
    events = linker.advance(9)
    assert set(apply_events({}, events).values()) == {1}
    linker.add([update("a", 1, 0, 12, A, weight=6), update("a", 2, 5, 12, A, weight=6)])
    later = linker.advance(13)
    assert [(event.kind, event.track, event.identity, event.other) for event in later] == [("split", 2, 2, 1)]


def test_two_identities_become_one_when_their_looks_meet():
    between = [0.75, 0.65, 0, 0.1]
    linker = Linker(settings=LinkerSettings(lateness=0))
    linker.add([update("a", 1, 0, 3, A, weight=2), update("b", 1, 10, 13, B, weight=2)])
    events = linker.advance(20)
    assert len(set(apply_events({}, events).values())) == 2
    linker.add([update("a", 1, 0, 21, between, weight=8), update("b", 1, 10, 24, between, weight=8)])
    later = linker.finish()
    assert [(event.kind, event.identity, event.other, event.camera) for event in later] == [("merged", 1, 2, None)]
    assert set(apply_events({}, events + later).values()) == {1}


def test_the_floor_tells_who_stands_in_the_same_place():
    plane = {"ground": [[0.01, 0, 0], [0, 0.01, 0], [0, 0, 1]]}
    site = Site.model_validate({"cameras": {"a": plane, "b": plane}})
    walk = np.c_[np.arange(5.0), np.arange(5) * 50.0, np.full(5, 100.0)]
    away = walk + np.array([0, 900, 0])
    doubtful = [0.6, 0.55, 0, 0.1]  # looks alone leave it open
    for path, same in ((walk, True), (away, False)):
        linker = Linker(site, LinkerSettings(), AssociationSettings(evidence=EvidenceWeights(constant=4.5)))
        linker.add([update("a", 1, 0, 4, A, path=walk), update("b", 1, 0, 4, doubtful, path=path)])
        assert (len(set(apply_events({}, linker.finish()).values())) == 1) is same


def test_clocks_are_set_right():
    site = Site.model_validate({"cameras": {"a": {}, "b": {"offset": 100}}, "overlaps": []})
    rows = [update("a", 1, 0, 10, A), update("b", 1, 5, 9, A)]
    assert set(linked(rows, site)[0].values()) == {1}
    assert set(linked(rows, Site(overlaps=()))[0].values()) == {1, 2}


def later_on(linker: Linker, rows) -> dict:
    """The identities after more of the same people, and all that is still to be decided."""
    linker.add([update(*row) for row in rows])
    linker.finish()
    return linker.identities


def test_what_is_merged_by_hand_stays_merged():
    identities, _, linker = linked([update("a", 1, 0, 10, A), update("b", 1, 20, 30, B), update("a", 2, 50, 60, A)])
    assert identities["a", 1] == identities["a", 2] != identities["b", 1]
    (event,) = linker.merge([("a", 1), ("b", 1)], 70.0)
    assert (event.kind, event.identity, event.other, event.reasons) == ("merged", 1, 2, {"by": "hand"})
    assert set(linker.identities.values()) == {1}
    now = later_on(linker, [("b", 2, 300, 310, B), ("a", 3, 320, 330, A), ("c", 1, 500, 510, C)])
    assert {now[key] for key in (("a", 1), ("b", 1), ("a", 2), ("a", 3))} == {1} and now["c", 1] != 1
    assert linker.merge([("a", 99)], 600.0) == []


def test_what_is_split_by_hand_stays_split():
    identities, _, linker = linked([update("a", n, 40 * n, 40 * n + 10, A) for n in range(1, 7)], exemplars=2)
    assert set(identities.values()) == {1}  # and several of them share a look
    before = len(linker)
    events = linker.split([("a", 2), ("a", 5)], [("a", n) for n in (1, 3, 4, 6)], 400.0)
    assert {(event.kind, event.track, event.other) for event in events} == {("split", 2, 1), ("split", 5, 1)}
    assert len(linker) == before + 1
    now = later_on(linker, [("b", 1, 500, 510, A), ("b", 2, 700, 705, C)])
    assert now["a", 2] == now["a", 5] != now["a", 1] == now["a", 3] == now["a", 4] == now["a", 6]
    assert linker.split([("a", 2)], [("a", 1)], 800.0) == []  # they are apart already


def test_who_is_forgotten_by_hand_is_gone_and_stays_so():
    _, _, linker = linked([update("a", n, 40 * n, 40 * n + 10, look) for n, look in enumerate([A, B, A, B, A], 1)], exemplars=1)
    linker.add([update("a", 9, 300, 305, A)])
    linker.advance(320)
    linker.forget([("a", 1), ("a", 3), ("a", 5), ("a", 9)], 320.0)
    assert set(linker.identities) == {("a", 2), ("a", 4)} and len(linker) == 1
    now = later_on(linker, [("a", 9, 300, 330, A), ("b", 1, 400, 410, B)])
    assert ("a", 9) not in now and now["b", 1] == now["a", 2]


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10_000),
    st.lists(st.tuples(st.sampled_from(["merge", "split", "forget"]), st.integers(0, 99), st.integers(0, 99)), max_size=4),
)
def test_corrections_by_hand_at_any_time_keep_all_in_order(seed, corrections):
    """Whatever is corrected, every tracklet has one identity, events tell all, and the linker goes on."""
    rng = np.random.default_rng(seed)
    updates, _ = growing(rng, people=3, visits=12)
    updates.sort(key=lambda one: one.end)
    linker, told, gone, split_apart = Linker(Site(), LinkerSettings(settle_time=20, exemplars=1)), [], set(), []
    for at, one in enumerate(updates):
        linker.add([one])
        told += linker.advance(one.end)
        for kind, first, second in corrections if at % 9 == 8 else ():
            known = sorted(linker.identities)
            if not known:
                continue
            a, b = known[first % len(known)], known[second % len(known)]
            if kind == "merge":
                told += linker.merge([a, b], one.end)
                split_apart = []
            elif kind == "split" and a != b:
                told += linker.split([a], [b], one.end)
                split_apart.append((a, b))
            elif kind == "forget":
                linker.forget([a], one.end)
                gone.add(a)
            now = linker.identities
            assert all(now[x] != now[y] for x, y in split_apart if x in now and y in now)
    told += linker.finish()
    now = linker.identities
    assert not gone & set(now)
    assert {key: number for key, number in apply_events({}, told).items() if key not in gone} == now
    assert len(linker) == len(set(now.values()))


def test_not_to_have_been_seen_by_a_blind_camera_says_nothing():
    """The way takes 20 s; the camera at its end was away for minutes, and there the person is when it comes back."""
    site = Site.model_validate({"links": [{"start": "a", "end": "b", "typical_time": 20, "max_time": 60}]})
    rows = [update("a", 1, 0, 10, A), update("a", 2, 3, 12, B), update("b", 1, 200, 210, A)]
    odds = {}
    for blind in (False, True):
        linker = Linker(site)
        linker.add(rows)
        if blind:
            linker.blind("b", 15.0)
            linker.blind("b", 15.0, 199.0)
        events = linker.finish()
        odds[blind] = next(event.reasons["time"] for event in events if event.camera == "b" and event.reasons)
    assert odds[False] < 0 < odds[True]


def test_blind_times_are_forgotten():
    linker = Linker(Site(), LinkerSettings(retention=100))
    linker.blind("a", 0.0, 10.0)
    linker.blind("b", 5.0)
    linker.add([update("a", 1, 500, 510, A)])
    linker.finish()
    assert linker._graph._blind == {"a": {}, "b": {5.0: np.inf}}


def test_without_looks_everybody_is_alone():
    identities, _, _ = linked([update("a", 1, 0, 10, None), update("b", 1, 20, 30, None)])
    assert identities == {("a", 1): 1, ("b", 1): 2}
    mixed, _, _ = linked([update("a", 1, 0, 10, None), update("b", 1, 20, 30, A), update("c", 1, 40, 50, A)])
    assert mixed == {("a", 1): 1, ("b", 1): 2, ("c", 1): 2}


# order, repetition, memory


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_neither_order_of_arrival_nor_repetition_changes_anything(seed):
    rng = np.random.default_rng(seed)
    updates, _ = growing(rng)
    allowed = LinkerSettings(lateness=6, settle_time=30)
    straight = Linker(settings=allowed)
    straight.add(updates)
    wanted = straight.finish()
    arrival = [one.end + rng.uniform(0, 6) for one in updates]
    deliveries = [(when, at) for at, when in enumerate(arrival)]
    deliveries += [(arrival[at] + rng.uniform(0, 60), at) for at in rng.integers(0, len(updates), len(updates) // 2).tolist()]
    mixed, events = Linker(settings=allowed), []
    for when, at in sorted(deliveries):
        events += mixed.advance(when)
        mixed.add([updates[at]])
    events += mixed.finish()
    assert [event.key for event in events] == [event.key for event in wanted]
    assert events == wanted
    assert mixed.late == 0


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_events_tell_all_and_taking_them_twice_does_no_harm(seed):
    updates, truth = growing(np.random.default_rng(seed))
    identities, events, linker = linked(updates, retention=10**6)
    assert identities == linker.identities
    assert set(identities) == set(truth)
    assert len({event.key for event in events}) == len(events)
    assert apply_events(identities, events[-1:]) == identities
    for (camera, track), number in identities.items():  # nobody in two places of a camera at once
        for other, same in identities.items():
            if same == number and other[0] == camera and other[1] != track:
                spans = [[(u.start, u.end) for u in updates if u.key == key][-1] for key in ((camera, track), other)]
                assert spans[0][1] <= spans[1][0] or spans[1][1] <= spans[0][0]


def test_it_finds_what_offline_association_finds():
    updates, truth = growing(np.random.default_rng(7), people=6, visits=40)
    identities, _, _ = linked(updates)
    last = {one.key: one for one in updates}
    keys = sorted(last)
    rows = [last[key] for key in keys]
    offline = associate(
        Tracklets(
            np.array([key[0] for key in keys], object), np.array([key[1] for key in keys]), np.array([row.start for row in rows]),
            np.array([row.end for row in rows]), np.stack([row.embedding for row in rows]),
        )
    ).ids  # fmt: skip

    def right(ids):
        same = [(ids[i] == ids[j]) == (truth[keys[i]] == truth[keys[j]]) for i in range(len(keys)) for j in range(i)]
        return np.mean(same)

    assert right([identities[key] for key in keys]) >= right(offline) - 0.02 > 0.85


def test_a_late_update_is_counted_and_changes_nothing():
    linker = Linker(settings=LinkerSettings(lateness=0, settle_time=10))
    linker.add([update("a", 1, 0, 5, A)])
    linker.advance(100)
    before = linker.identities
    linker.add([update("a", 1, 0, 9, B)])
    assert (linker.finish(), linker.late) == ([], 1)
    assert linker.identities == before
    linker.add([update("a", 1, 0, 5, A)])  # the one that was taken comes again: nothing to count
    assert linker.late == 1


def test_memory_is_bounded():
    rng = np.random.default_rng(0)
    linker = Linker(settings=LinkerSettings(lateness=0, settle_time=10, retention=600, exemplars=2))
    looks = np.eye(16)
    for track in range(600):  # sixteen people come and go for two hours
        start = track * 12.0
        linker.add([update(f"cam{track % 3}", track, start, start + 5, looks[track % 16] + rng.normal(0, 0.05, 16))])
        linker.advance(start + 12)
        assert len(linker.identities) <= 600 / 12 + 4
        assert len(linker) <= 16
        assert len(linker._graph.looks) <= 16 * 3 * 2 + 2  # people, cameras, exemplars
    crowd = Linker(settings=LinkerSettings(lateness=0, settle_time=5, max_people=20))
    for track in range(100):
        crowd.add([update("a", track, track * 10.0, track * 10.0 + 5, rng.normal(size=64))])
        crowd.advance(track * 10.0 + 10)
    assert len(crowd) <= 21


# what is wrong


def test_wrong_input_is_refused():
    with pytest.raises(ValueError, match=r"track 3 of a: its time 5 to 1 s is not one"):
        update("a", 3, 5, 1, A)
    with pytest.raises(ValueError, match="not a finite vector"):
        TrackletUpdate("a", 3, 0, 1, np.array([np.nan, 1]))
    linker = Linker()
    linker.add([update("a", 1, 0, 1, A)])
    with pytest.raises(ValueError, match="has 2 dimensions, those before 4"):
        linker.add([update("a", 2, 0, 1, [1, 0])])
    with pytest.raises(ValueError, match="settle_time"):
        LinkerSettings(settle_time=0)


# clustering brought up to date


def test_what_is_together_is_taken_apart_only_for_a_gain():
    pairs, weights = np.array([[0, 1], [1, 2]]), np.array([1.0, 3.0])
    free = lambda a, b: True  # noqa: E731
    assert agreement(np.array([0, 0, 1]), pairs, weights, -4) == 1
    assert agreement(np.array([0, 0, 0]), pairs, weights, -4) == 0
    together = np.array([0, 0, 1])
    assert revise(together, pairs, weights, -4, free, 0.0, margin=1.0).tolist() == [0, 1, 1]  # gains 2
    assert revise(together, pairs, weights, -4, free, 0.0, margin=3.0).tolist() == [0, 0, 1]


# a small site measures itself anew as it grows


def small_site(seed: int) -> tuple[list[TrackletUpdate], dict]:
    rng = np.random.default_rng(seed)
    looks, shared = rng.normal(size=(8, 96)), rng.normal(size=96)
    updates, truth = [], {}
    for track in range(40):
        camera, who = "ab"[track % 2], int(rng.integers(8))
        truth[camera, track] = who
        updates.append(update(camera, track, 60.0 * track, 60.0 * track + 10, looks[who] + 1.5 * shared + rng.normal(0, 0.4, 96)))
    return updates, truth


def test_a_site_on_which_all_look_alike_is_linked_nearly_as_offline():
    for seed in range(3):
        updates, truth = small_site(seed)
        identities, _, _ = linked(updates)
        offline = associate(
            Tracklets(
                np.array([one.camera for one in updates], object), np.array([one.track for one in updates]),
                np.array([one.start for one in updates]), np.array([one.end for one in updates]), np.stack([one.embedding for one in updates]),
            )
        ).ids  # fmt: skip
        live = np.array([identities[one.key] for one in updates])
        who = np.array([truth[one.key] for one in updates])
        for ids, least in ((live, 0.85), (offline, 0.95)):  # on-line, what was joined before the site was known stays longer together
            assert ((ids[:, None] == ids) == (who[:, None] == who)).mean() > least


def test_distances_are_those_of_offline_association():
    updates, _ = small_site(0)
    linker = Linker()
    linker.add(updates[:30])
    linker.finish()
    graph = linker._graph
    rows = np.flatnonzero(graph.looks["known"])
    centre = graph._centres[graph.looks["camera"][rows]]
    left = graph.looks["unit"][rows] - centre
    left /= np.sqrt((left * left).sum(1) + graph._means.FLOOR * graph._spread)[:, None]
    found = graph._distances(rows)[:, rows]
    apart = np.isfinite(found)
    np.testing.assert_allclose(found[apart], (1 - left @ left.T)[apart], atol=1e-4)
