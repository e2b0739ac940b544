"""Offline association: its evidence by hand, its constraints, and people drawn as vectors who walk between cameras."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tracker import AssociationSettings, Site, Tracklets, associate
from tracker.linking import evidence
from tracker.linking.association import log_odds, share
from tracker.linking.clustering import average_linkage, reassign
from tracker.linking.evidence import EvidenceWeights, SiteMeans


def tracklets(rows, paths=None) -> Tracklets:
    """``rows``: camera, start, end, look."""
    cameras, start, end, looks = zip(*rows, strict=True)
    looks = np.array(looks, np.float32)
    looks /= np.maximum(np.linalg.norm(looks, axis=1, keepdims=True), 1e-9)
    return Tracklets(np.array(cameras, object), np.arange(len(rows)), np.array(start, float), np.array(end, float), looks, paths)


A, B, C = [1.0, 0, 0, 0.1], [0, 1.0, 0, 0.1], [0, 0, 1.0, 0.1]
NOBODY = [0.0, 0, 0, 0]
WIDE = 96


# clustering


def test_average_linkage_by_hand():
    # 0-1-2 is a chain: 0 and 2 are far apart, so the mean of (0, 1) and (0, 2) decides, not the nearest
    pairs, weights = np.array([[0, 1], [1, 2], [0, 2]]), np.array([3.0, 2.0, -6.0])
    assert average_linkage(3, pairs, weights, missing=-4).tolist() == [0, 0, 1]
    assert average_linkage(3, pairs[:2], weights[:2], missing=-1).tolist() == [0, 0, 0]  # (2 - 1) / 2 > 0
    assert average_linkage(3, pairs[:2], weights[:2], missing=-4).tolist() == [0, 0, 1]
    assert average_linkage(2, np.zeros((0, 2), int), np.zeros(0), missing=-4).tolist() == [0, 1]


def test_what_may_not_be_joined_is_not():
    pairs, weights = np.array([[0, 1], [1, 2]]), np.array([3.0, 2.0])
    apart = average_linkage(3, pairs, weights, missing=1, compatible=lambda a, b: not {0, 2} <= {*a, *b})
    assert apart.tolist() == [0, 0, 1]


def test_reassignment_moves_and_splits():
    pairs = np.array([[0, 1], [2, 3], [1, 2], [1, 3]])
    weights = np.array([-5.0, 4.0, 5.0, 5.0])
    assert reassign(np.array([0, 0, 1, 1]), pairs, weights, missing=-4).tolist() == [0, 1, 1, 1]
    assert reassign(np.array([0, 0]), pairs[:1], weights[:1], missing=-4).tolist() == [0, 1]


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 25))
def test_the_order_of_pairs_changes_nothing(seed, n):
    rng = np.random.default_rng(seed)
    every = np.stack(np.triu_indices(n, 1), 1)
    pairs = every[rng.random(len(every)) < 0.6]
    weights = rng.normal(size=len(pairs))
    order = rng.permutation(len(pairs))
    one = average_linkage(n, pairs, weights, -1)
    np.testing.assert_array_equal(one, average_linkage(n, pairs[order][:, ::-1], weights[order], -1))
    np.testing.assert_array_equal(reassign(one, pairs, weights, -1), reassign(one, pairs[order], weights[order], -1))


# evidence


def test_neighbours_are_the_nearest_and_nobody_has_none():
    rows = tracklets([("a", 0, 1, A), ("a", 0, 1, NOBODY), ("b", 0, 1, [1, 0.1, 0, 0]), ("b", 0, 1, B)]).embeddings
    assert evidence.neighbours(rows, 1).tolist() == [[0, 2], [2, 3]]
    assert evidence.neighbours(rows, 40).tolist() == [[0, 2], [0, 3], [2, 3]]
    assert len(evidence.neighbours(rows[:1], 5)) == 0


def crowd(rng, people, visits, cameras="ab", collapse=0.0, light=0.0, noise=0.35):
    """Tracklets of ``people`` with ``visits`` each, and who they are; looks share a direction (``collapse``), and one per camera (``light``)."""
    looks, shared, lights = rng.normal(size=(people, WIDE)), rng.normal(size=WIDE), {name: rng.normal(size=WIDE) for name in cameras}
    rows, who = [], np.repeat(np.arange(people), visits)
    for at, person in enumerate(who.tolist()):
        name = cameras[int(rng.integers(len(cameras)))]
        own = looks[person] + collapse * shared + light * lights[name]
        rows.append((name, 100.0 * at, 100.0 * at + 10, own + rng.normal(0, noise, WIDE)))
    return tracklets(rows), who


def test_means_are_drawn_to_the_site_and_to_nothing():
    means = SiteMeans()
    means.add(0, np.tile([1.0, 0], (20, 1)))
    means.add(1, np.tile([0.0, 1], (20, 1)), 0.5)
    centres, spread = means.measure(3)
    site = np.array([20, 10]) / (30 + 15)  # votes 20 and 10, and 20 of the mean vote, 0.75, for nothing
    np.testing.assert_allclose(centres[2], site)  # a camera without tracklets
    np.testing.assert_allclose(centres[0], (np.array([20, 0]) + 15 * site) / 35)
    left = 20 * ((1 - centres[0, 0]) ** 2 + centres[0, 1] ** 2) + 10 * (centres[1, 0] ** 2 + (1 - centres[1, 1]) ** 2)
    assert spread == pytest.approx((left + 3 * 0.8) / 33)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), collapse=st.sampled_from([0.0, 1.0, 2.0]), light=st.sampled_from([0.0, 1.0]))
def test_two_people_are_about_one_apart_whatever_the_model_makes_of_the_site(seed, collapse, light):
    rows, who = crowd(np.random.default_rng(seed), people=60, visits=2, collapse=collapse, light=light)
    _, cameras = np.unique(rows.cameras, return_inverse=True)
    looks = evidence.centred(rows.embeddings, cameras, 1.5, EvidenceWeights())
    apart = 1 - looks @ looks.T
    assert np.median(apart[who[:, None] != who]) == pytest.approx(1, abs=0.1)


def test_who_is_seen_all_day_has_about_one_vote():
    rng = np.random.default_rng(3)
    looks = rng.normal(size=(31, WIDE))
    who = np.r_[np.zeros(60, int), np.arange(1, 31)]
    rows = looks[who] + rng.normal(0, 0.3, (90, WIDE))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    votes = evidence.one_vote_each(rows, np.zeros(90, int), 1.5, EvidenceWeights())
    assert votes[:60].sum() < 2
    assert np.median(votes[60:]) > 0.8


def test_votes_of_many_are_those_of_the_few_that_stand_for_them(monkeypatch):
    rows, _ = crowd(np.random.default_rng(5), people=30, visits=20)
    cameras = np.unique(rows.cameras, return_inverse=True)[1]
    every = evidence.one_vote_each(rows.embeddings, cameras, 1.5, EvidenceWeights())
    monkeypatch.setattr(evidence, "MOST_VOTERS", 300)
    some = evidence.one_vote_each(rows.embeddings, cameras, 1.5, EvidenceWeights())
    assert every.sum() == pytest.approx(30, rel=0.3)
    assert some.sum() == pytest.approx(every.sum(), rel=0.3)


def test_rivals_by_hand():
    # of camera 0: 0 and 1; of camera 1: 2, 3, 4, of whom 2 and 3 are likely one person
    pairs = np.array([[0, 2], [0, 3], [0, 4], [1, 2], [2, 3]])
    distance = np.array([0.3, 0.4, 0.6, 0.9, 0.2])
    likely = np.array([False, False, False, False, True])
    cameras = np.array([0, 0, 1, 1, 1])
    margin = evidence.rivals(pairs, distance, likely, cameras, np.arange(5))
    # 0 and 2: for 0 the rival is 4, as 3 is likely 2 himself; for 2 it is 1
    assert margin[0] == pytest.approx((0.3 - 0.6) / 2 + max(0.3 - 0.9, -0.5) / 2)
    # 0 and 4: for 0 it is 2; 4 knows no other of camera 0: a stranger
    assert margin[2] == pytest.approx((0.6 - 0.3) / 2 + (0.6 - 1.0) / 2)
    # 1 and 2: 1 knows nobody else there, 2 knows 0
    assert margin[3] == pytest.approx((0.9 - 1.0) / 2 + min(0.9 - 0.3, 0.5) / 2)
    np.testing.assert_array_equal(evidence.rivals(pairs, distance, likely, cameras, np.array([2])), margin[2:3])


def test_the_number_of_matches_is_found_on_the_site():
    for people, visits in ((40, 2), (8, 10)):
        rows, who = crowd(np.random.default_rng(1), people, visits, noise=0.5)
        pairs, odds = log_odds(rows, Site(), AssociationSettings())
        chance = evidence.probability(odds)
        assert 2 * chance.sum() / len(rows) == pytest.approx(visits - 1, rel=0.35)
        same = who[pairs[:, 0]] == who[pairs[:, 1]]
        assert chance[same].mean() > 0.7 > 0.1 > chance[~same].mean()


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_evidence_does_not_depend_on_the_order_of_rows(seed):
    rng = np.random.default_rng(seed)
    rows, _ = crowd(rng, people=12, visits=5, collapse=1.0, light=0.5)
    order = rng.permutation(len(rows))
    table = np.full((2, len(rows), len(rows)), -99.0)
    for out, where in ((table[0], np.arange(len(rows))), (table[1], order)):
        pairs, odds = log_odds(rows.take(where), Site(), AssociationSettings())
        pairs = np.sort(where[pairs], axis=1)
        out[pairs[:, 0], pairs[:, 1]] = odds
    np.testing.assert_allclose(table[0], table[1], atol=1e-3)


def test_soon_speaks_for_and_late_against():
    odds = evidence.revisit(np.array([0.0, 60, 7200]), span=36000, scale=20)
    assert odds[0] > odds[1] > 0 > odds[2]
    # the two densities, by hand
    assert np.exp(odds[1]) == pytest.approx((1 / (80 * np.log(36020 / 20))) / (1 / 36000))


def test_shared_neighbours_by_hand(monkeypatch):
    # 0, 1, 2 all near one another, 3 near 2 alone
    pairs, odds = np.array([[0, 1], [0, 2], [1, 2], [2, 3]]), np.array([30.0, 30, 30, 30])
    best = evidence.best_neighbours(pairs, odds, 4, 3).toarray()
    # rows of weights: 0 and 1: (1, 1, 1, 0) / 3; 2: (1, 1, 1, 1) / 4; 3: (0, 0, 1, 1) / 2
    monkeypatch.setattr(evidence, "EXPANSION", 0)
    common = evidence.shared_neighbours(pairs, odds, count=4, most=3)
    np.testing.assert_allclose(common, [1, 0.75 / 1.25, 0.75 / 1.25, 0.5 / 1.5], atol=1e-9)
    alone = evidence.shared_neighbours(pairs, odds, count=4, most=2)  # of 2's three neighbours the first two count
    assert alone[3] == 0
    np.testing.assert_allclose(evidence.shared_in_small(best, pairs), common)
    # averaged with the likeliest neighbour: 0 with 1, 1 with 0, 2 with 0, 3 with 2
    monkeypatch.setattr(evidence, "EXPANSION", 1)
    rows = np.array([[1 / 3, 1 / 3, 1 / 3, 0], [1 / 3, 1 / 3, 1 / 3, 0], [7 / 24, 7 / 24, 7 / 24, 3 / 24], [1 / 8, 1 / 8, 3 / 8, 3 / 8]])
    least = np.array([np.minimum(rows[a], rows[b]).sum() for a, b in pairs])
    np.testing.assert_allclose(evidence.shared_neighbours(pairs, odds, 4, 3), least / (2 - least), atol=1e-9)
    np.testing.assert_allclose(evidence.shared_in_small(best, pairs), least / (2 - least), atol=1e-9)
    assert len(evidence.shared_neighbours(pairs[:0], odds[:0], 4, 3)) == 0


def test_a_link_knows_the_way():
    site = Site.model_validate(
        {"links": [{"start": "a", "end": "b", "min_time": 10, "typical_time": 20, "max_time": 60, "both_ways": False}]}
    )
    rows = tracklets([("a", 0, 5, A), ("b", 25, 30, A), ("b", 500, 505, A), ("b", 8, 10, A)])
    pairs = np.array([[0, 1], [0, 2]])
    typical, late = evidence.time(rows, pairs, site, 20.0)
    assert typical > late
    assert evidence.forbidden(rows, np.array([0]), np.array([1, 2, 3]), site).tolist() == [[False, False, True]]  # 3 s: too soon


def test_a_link_whose_time_is_not_known_says_that_views_do_not_overlap():
    site = Site.model_validate({"links": [{"start": "a", "end": "b", "min_time": 4}]})
    rows = tracklets([("a", 0, 5, A), ("b", 25, 30, A), ("b", 8, 10, A), ("b", 3, 4, A)])
    pairs = np.array([[0, 1]])
    assert evidence.time(rows, pairs, site, 20.0) == evidence.time(rows, pairs, Site(), 20.0)
    assert evidence.forbidden(rows, np.array([0]), np.array([1, 2, 3]), site).tolist() == [[False, True, True]]


@given(
    st.floats(0, 900),
    st.floats(0, 1),
    st.sampled_from([{}, {"max_time": 60}, {"typical_time": 20}, {"min_time": 5, "typical_time": 5, "max_time": 9}]),
)
def test_what_was_not_seen_is_weighed_by_its_mean(gap, share, known):
    """Of a gap in which a camera was blind, the likelihood is the mean over what may have been."""
    from tracker.site import Link

    link, blind = Link(start="a", end="b", **known), share * gap
    moments = np.linspace(gap - blind, gap, 20_001)
    for kind in (
        lambda *told, **more: evidence.revisit(*told, **more),
        lambda g, *told, **more: evidence.transition(g, link, *told, **more),
    ):
        mean = np.exp(kind(moments, 1000.0, 20.0)).mean()
        found = np.exp(kind(np.array([gap]), 1000.0, 20.0, unseen=np.array([blind])))[0]
        assert found == pytest.approx(mean, rel=0.02, abs=0.02)


def test_a_link_may_know_only_how_long_the_way_takes_at_most_or_usually():
    rows, pairs = tracklets([("a", 0, 5, A), ("b", 25, 30, A), ("b", 500, 505, A)]), np.array([[0, 1], [0, 2]])
    nothing = evidence.time(rows, pairs, Site(), 20.0)
    for known in ({"max_time": 60}, {"typical_time": 20}):
        site = Site.model_validate({"links": [{"start": "a", "end": "b", **known}]})
        soon, late = evidence.time(rows, pairs, site, 20.0)
        assert soon > nothing[0] and late < nothing[1]


def test_ground_says_who_stands_in_the_same_place():
    plane = {"ground": [[0.01, 0, 0], [0, 0.01, 0], [0, 0, 1]]}
    site = Site.model_validate({"cameras": {"a": plane, "b": plane}})
    walk = np.c_[np.arange(5.0), np.arange(5) * 50.0, np.full(5, 100.0)]
    other = walk + np.array([0, 500, 0])
    rows = tracklets([("a", 0, 4, A), ("b", 0, 4, A), ("b", 0, 4, A)], paths=(walk, walk, other))
    same, apart = evidence.ground(rows, np.array([[0, 1], [0, 2]]), site, sigma=0.5, area=100)
    assert same == pytest.approx(np.log(100 / (2 * np.pi * 0.25)))
    assert apart == -6


def test_homography_from_points_is_the_one_given():
    plane = np.array([[0.02, 0.001, -1], [0.0, 0.03, -2], [0.0, 0.001, 1]])
    pixels = np.array([[100, 500, 1], [600, 520, 1], [550, 300, 1], [180, 310, 1], [300, 400, 1]], float)
    floor = pixels @ plane.T
    floor = floor[:, :2] / floor[:, 2:]
    site = Site.model_validate({"cameras": {"a": {"points": np.c_[pixels[:, :2], floor].tolist()}}})
    found = site.cameras["a"].homography()
    np.testing.assert_allclose(found / found[2, 2], plane, atol=1e-6)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"cameras": {"a": {}}, "overlaps": [["a", "hal"]]}, r"overlaps\.0: no camera 'hal'; there are a"),
        ({"links": [{"start": "a", "end": "b", "min_time": 9, "typical_time": 5, "max_time": 20}]}, "min_time <= typical_time <= max_time"),
        ({"cameras": {"a": {"points": [[0, 0, 0, 0]] * 3}}}, "at least four"),
        ({"cameras": {"a": {"points": [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]}}}, "one line"),
        ({"links": [{"start": "a", "end": "b", "min_time": 9, "max_time": 9}]}, "max_time be longer"),
        ({"overlap": []}, "overlap"),
    ],
)
def test_a_wrong_site_is_refused_by_name(values, words):
    with pytest.raises(ValidationError, match=words):
        Site.model_validate(values)


# association


def test_people_over_two_cameras():
    rows = [("a", 0, 10, A), ("a", 2, 12, B), ("b", 20, 30, A), ("b", 22, 32, B), ("b", 40, 50, C)]
    found = associate(tracklets(rows))
    assert found.ids.tolist() == [1, 2, 1, 2, 3]
    assert (found.confidence[:4] > 0.5).all()


def together(found, who) -> tuple[float, float]:
    """Precision and recall of pairs."""
    said, are = found.ids[:, None] == found.ids, who[:, None] == who
    upper = np.triu(np.ones_like(said), 1)
    return float((said & are & upper).sum() / (said & upper).sum()), float((said & are & upper).sum() / (are & upper).sum())


@pytest.mark.parametrize(("people", "visits"), [(4, 15), (60, 2), (20, 8)], ids=["few people", "many people", "a shop"])
@pytest.mark.parametrize("collapse", [0.0, 1.5], ids=["as trained", "a site on which all look alike"])
def test_a_site_measures_itself(people, visits, collapse):
    rows, who = crowd(np.random.default_rng(people), people, visits, collapse=collapse, light=0.5, noise=0.5)
    precision, recall = together(associate(rows), who)
    assert precision > 0.95
    assert recall > 0.9


def test_confidence_is_the_share_among_what_may_be():
    assert share(0.0, []) == 1
    assert share(2.0, [0.0, 1.0]) == pytest.approx(np.exp(2) / (np.exp(2) + 1 + np.exp(1)))
    # two who look alike: the third fits both, so neither is sure
    rows, _ = crowd(np.random.default_rng(2), 20, 3, noise=0.2)
    assert associate(rows).confidence.mean() > 0.9


def test_one_person_is_in_one_place_at_a_time():
    rows = [("a", 0, 10, A), ("a", 5, 15, A), ("b", 8, 12, A)]
    assert len(set(associate(tracklets(rows)).ids[:2].tolist())) == 2
    assert len(set(associate(tracklets(rows), Site(overlaps=())).ids.tolist())) == 3
    together = associate(tracklets(rows[1:]), Site(overlaps=(("a", "b"),)))
    assert together.ids.tolist() == [1, 1]


def test_a_tracklet_without_looks_stays_alone_and_the_doubtful_is_listed():
    between = (np.array(A) + np.array(B)).tolist()
    found = associate(
        tracklets([("a", 0, 10, A), ("b", 12, 20, NOBODY), ("b", 30, 40, between)]),
        settings=AssociationSettings(evidence=EvidenceWeights(constant=-0.85)),  # a site of two leaves it open with the usual ones, too
    )
    assert found.ids.tolist() == [1, 2, 3]
    assert found.uncertain.tolist() == [[0, 2]]
    assert found.odds[0] < 0


def test_one_who_may_not_join_his_double_is_sure_to_be_another():
    # both look the same and are seen beside one another in one camera: two people, and no doubt about it
    apart = associate(tracklets([("a", 0, 10, A), ("a", 5, 15, A)]))
    assert (apart.confidence > 0.9).all()


def test_clocks_are_set_right():
    site = Site.model_validate({"cameras": {"a": {}, "b": {"offset": 100}}, "overlaps": []})
    rows = [("a", 0, 10, A), ("b", 5, 9, A)]
    assert associate(tracklets(rows), site).ids.tolist() == [1, 1]
    assert associate(tracklets(rows), Site(overlaps=())).ids.tolist() == [1, 2]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_the_order_of_tracklets_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    looks = rng.normal(size=(5, 8))
    rows = []
    for _ in range(20):
        start = rng.uniform(0, 200)
        rows.append((str(rng.choice(["a", "b", "c"])), start, start + rng.uniform(1, 20), looks[rng.integers(5)] + rng.normal(0, 0.3, 8)))
    table = tracklets(rows)
    order = rng.permutation(len(rows))
    np.testing.assert_array_equal(associate(table).ids[order], associate(table.take(order)).ids)


def test_empty_one_and_wrong():
    assert len(associate(Tracklets(*(np.zeros(0) for _ in range(4)), np.zeros((0, 4), np.float32))).ids) == 0
    assert associate(tracklets([("a", 0, 1, A)])).ids.tolist() == [1]
    with pytest.raises(ValueError, match=r"tracklet 0: its time 3.0 to 1.0"):
        tracklets([("a", 3, 1, A)])
    with pytest.raises(ValueError, match="tracks has 2 rows"):
        Tracklets(np.array(["a"]), np.arange(2), np.zeros(1), np.ones(1), np.zeros((1, 2), np.float32))
    with pytest.raises(ValueError, match="prior_tracklets"):
        AssociationSettings(prior_tracklets=0)
