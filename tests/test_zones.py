"""Zones and lines: who enters, stays, leaves and crosses; people instead of tracks; report rows."""

from __future__ import annotations

import csv
import json
from itertools import pairwise

import numpy as np
import pytest
from command import passerby
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from test_golden import make

from pipeline import Config, Request, run
from pipeline.engine.cameras import specify
from pipeline.live.events import EventLog
from pipeline.live.zones import LiveZones
from pipeline.sources.frame import Frame
from pipeline.zones.files import read_visits, write_zone_files
from pipeline.zones.people import PersonVisit, gaps, occupancy, person_visits, place_rows
from pipeline.zones.watch import Visit, ZoneWatch, visits_of_tracks
from tracker import Site, Tracks
from tracker.site import CameraPlace, Line, Zone

SHOP = [(100, 0), (200, 0), (200, 200), (100, 200)]
PLACE = CameraPlace(zones={"shop": Zone(polygon=SHOP)}, lines={"gate": Line(start=(150, 200), end=(150, 0))})


def walk(feet, rate=10.0, begin=0.0):
    """Times and boxes of a person whose feet are at ``feet``, one per frame."""
    feet = np.array(feet, float).reshape(-1, 2)
    return begin + np.arange(len(feet)) / rate, np.c_[feet[:, 0] - 10, feet[:, 1] - 80, feet[:, 0] + 10, feet[:, 1]]


def along(*corners, step=5.0):
    """Points every ``step`` px along a way."""
    out = [np.array(corners[0], float)]
    for end in corners[1:]:
        start = out[-1]
        count = max(1, round(float(np.linalg.norm(np.array(end) - start)) / step))
        out += [start + (np.array(end) - start) * at / count for at in range(1, count + 1)]
    return out


def test_a_person_walks_through_golden():
    """From left to right through the zone (x 100 to 200) at 50 px/s, over the line at x 150 that points up: to its right side, so out."""
    times, boxes = walk(along((50, 100), (250, 100)))
    assert visits_of_tracks("hall", PLACE, [(7, times, boxes)]) == [
        Visit("zone", "shop", "hall", 7, 1.0, 3.0),
        Visit("line", "gate", "hall", 7, pytest.approx(2.1), pytest.approx(2.1), "out"),
    ]
    back = visits_of_tracks("hall", PLACE, [(7, times, boxes[::-1])])
    assert [visit.direction for visit in back] == [None, "in"]


def test_the_report_golden(tmp_path):
    """Two people, one in two tracks; hours from multiples of 3600 s."""
    hour = 3600.0
    visits = [
        Visit("zone", "shop", "a", 1, hour - 60, hour - 30),
        Visit("zone", "shop", "b", 9, hour - 40, hour + 60),  # the same person, seen by another camera
        Visit("zone", "shop", "a", 2, hour - 10, hour + 20),
        Visit("line", "gate", "a", 1, hour - 60, hour - 60, "in"),
        Visit("line", "gate", "b", 9, hour - 59.5, hour - 59.5, "in"),  # the same crossing
        Visit("line", "gate", "b", 9, hour + 60, hour + 60, "out"),
        Visit("line", "gate", "a", 3, 5.0, 5.0, "out"),  # nobody: left out
    ]
    write_zone_files(tmp_path, visits, {("a", 1): 1, ("b", 9): 1, ("a", 2): 2}, {"shop": 1.0})
    rows = list(csv.DictReader((tmp_path / "zone_report.csv").open()))
    shown = [{key: value for key, value in row.items() if value and key not in ("start", "end")} for row in rows]
    assert shown == [
        {"kind": "line", "place": "gate", "people": "1", "into": "1", "out": "0"},
        {"kind": "line", "place": "gate", "people": "1", "into": "0", "out": "1"},
        {"kind": "zone", "place": "shop", "people": "2", "entered": "2", "left": "0", "occupancy_mean": "0.019", "occupancy_max": "2"},
        {"kind": "zone", "place": "shop", "people": "2", "entered": "0", "left": "2", "dwell_median": "75.000", "dwell_max": "120.000",
         "occupancy_mean": "0.022", "occupancy_max": "2"},
    ]  # fmt: skip
    people = list(csv.DictReader((tmp_path / "zone_visits.csv").open()))
    assert [(row["identity"], row["dwell"], row["cameras"]) for row in people if row["kind"] == "zone"] == [
        ("1", "120.000", "a b"),
        ("2", "30.000", "a"),
    ]
    kept, spans = read_visits(tmp_path)
    assert kept == visits[:-1] and spans == {"shop": 1.0}


def test_around_the_end_of_a_line_is_no_crossing():
    place = CameraPlace(lines={"gate": Line(start=(150, 100), end=(150, 50))})
    around = along((120, 75), (120, 140), (180, 140), (180, 75))
    assert visits_of_tracks("c", place, [(1, *walk(around))]) == []
    through = along((120, 75), (180, 75))
    assert [visit.direction for visit in visits_of_tracks("c", place, [(1, *walk(through))])] == ["out"]


def test_standing_on_a_line_counts_nothing():
    rng = np.random.default_rng(1)
    place = CameraPlace(lines={"gate": Line(start=(0, 100), end=(300, 100), min_frames=4)})
    jitter = [(150, 100 + (3 if at % 2 else -3) + rng.uniform(-1, 1)) for at in range(200)]
    assert visits_of_tracks("c", place, [(1, *walk(jitter))]) == []


def test_a_gap_and_a_minimum_stay():
    times, boxes = walk([(150, 100)] * 30)
    keep = np.r_[0:5, 12:30]  # 0.8 s unseen
    one = CameraPlace(zones={"shop": Zone(polygon=SHOP, max_gap=1.0)})
    two = CameraPlace(zones={"shop": Zone(polygon=SHOP, max_gap=0.5)})
    long = CameraPlace(zones={"shop": Zone(polygon=SHOP, max_gap=0.5, min_stay=1.0)})
    spans = [
        [(round(v.start, 1), round(v.end, 1)) for v in visits_of_tracks("c", place, [(1, times[keep], boxes[keep])])]
        for place in (one, two, long)
    ]
    assert spans == [[(0.0, 2.9)], [(0.0, 0.4), (1.2, 2.9)], [(1.2, 2.9)]]


def test_feet_below_the_image_and_the_clock_offset():
    place = CameraPlace(offset=100, zones={"foot": Zone(polygon=[(0, 180), (300, 180), (300, 199), (0, 199)])})
    low = walk([(150, 230)] * 3)
    assert visits_of_tracks("c", place, [(1, *low)]) == []
    (visit,) = visits_of_tracks("c", place, [(1, *low)], size=(300, 200))
    assert (visit.start, visit.end) == (100.0, pytest.approx(100.2))


def test_events_tell_as_it_happens():
    watch, told = ZoneWatch("c", PLACE), []
    times, boxes = walk(along((90, 100), (160, 100)))
    for time, box in zip(times, boxes, strict=True):
        told += watch.step(float(time), np.array([3]), box[None])
    told += watch.end([3])
    assert [event.kind for event in told] == ["entered", "crossed", "left"]
    assert told[1].as_dict() == {"place": "gate", "camera": "c", "track": 3, "direction": "out"}
    assert told[2].as_dict()["dwell"] == pytest.approx(1.2)
    assert watch.end() == []


@st.composite
def ways(draw):
    """Some tracks that wander over the image, with frames missing."""
    seeds = draw(st.lists(st.integers(0, 10_000), min_size=1, max_size=4))
    out = []
    for track, seed in enumerate(seeds, 1):
        rng = np.random.default_rng(seed)
        count = int(rng.integers(2, 60))
        feet = np.cumsum(rng.normal(0, 25, (count, 2)), 0) + rng.uniform(20, 280, 2)
        times, boxes = walk(feet.clip(-50, 350))
        keep = np.sort(rng.choice(count, max(1, int(count * rng.uniform(0.4, 1))), replace=False))
        out.append((track, times[keep] + int(rng.integers(0, 30)) / 10, boxes[keep]))
    return out


def inside(feet):
    return (feet[:, 0] >= 100) & (feet[:, 0] <= 200) & (feet[:, 1] >= 0) & (feet[:, 1] <= 200)


@settings(max_examples=12, deadline=None)
@given(ways())
def test_visits_do_not_depend_on_other_tracks(tracks):
    """Together or alone, in any order: the same visits; and each is what its own path says."""
    together = visits_of_tracks("c", PLACE, tracks)
    alone = [visit for one in tracks for visit in visits_of_tracks("c", PLACE, [one])]
    assert sorted(map(repr, together)) == sorted(map(repr, alone)) == sorted(map(repr, visits_of_tracks("c", PLACE, tracks[::-1])))
    for track, times, boxes in tracks:
        feet = np.rint(np.c_[(boxes[:, 0] + boxes[:, 2]) / 2, boxes[:, 3]].clip(0))
        within = times[inside(feet)]
        parts = np.split(within, np.flatnonzero(np.diff(within) > 1.0) + 1) if len(within) else []
        mine = [(visit.start, visit.end) for visit in together if visit.track == track and visit.kind == "zone"]
        assert mine == [(part[0], part[-1]) for part in parts]


@settings(max_examples=12, deadline=None)
@given(ways())
def test_a_tracks_crossings_alternate_while_it_stays_beside_the_line(tracks):
    place = CameraPlace(lines={"gate": Line(start=(150, 1000), end=(150, -1000), min_frames=1)})  # longer than any way
    for one in tracks:
        directions = [visit.direction for visit in visits_of_tracks("c", place, [one])]
        assert all(a != b for a, b in pairwise(directions))
        feet = (one[2][:, 0] + one[2][:, 2]) / 2
        sides = (feet < 150)[feet != 150]
        assert len(directions) == int((np.diff(sides.astype(int)) != 0).sum()) or (feet == 150).any()


spans_of_people = st.lists(
    st.builds(
        lambda who, start, length: PersonVisit("zone", "shop", who, start, start + length, ("c",)),
        st.integers(1, 5), st.integers(0, 9000).map(float), st.integers(0, 4000).map(float),
    ), min_size=1, max_size=12,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(spans_of_people)
def test_the_report_adds_up(visits):
    rows = place_rows(visits)
    assert sum(row.entered for row in rows) == sum(row.left for row in rows) == len(visits)
    held = sum(row.occupancy_mean * (row.end - row.start) for row in rows)
    assert held == pytest.approx(sum(visit.dwell for visit in visits))
    _, counts = occupancy(visits)
    assert counts[-1] == 0 and counts.min() >= 0
    assert max(row.occupancy_max for row in rows) == counts.max()


@settings(max_examples=60, deadline=None)
@given(spans_of_people)
def test_joined_visits_of_a_person_never_touch(visits):
    tracks = [Visit("zone", "shop", "c", at, one.start, one.end) for at, one in enumerate(visits)]
    joined = person_visits(tracks, {("c", at): one.identity for at, one in enumerate(visits)}, {"shop": 2.0})
    for who in {one.identity for one in visits}:
        mine = [visit for visit in joined if visit.identity == who]
        assert all(b.start - a.end > 2.0 for a, b in pairwise(mine))
        for one in visits:
            assert one.identity != who or any(visit.start <= one.start and one.end <= visit.end for visit in mine)


def test_a_wrong_zone_is_refused_with_its_reason():
    with pytest.raises(ValidationError, match="same point"):
        Line(start=(1, 1), end=(1, 1))
    with pytest.raises(ValidationError, match="outside the image"):
        Zone(polygon=[(-5, -5), (-1, -5), (-1, -1)])
    with pytest.raises(ValidationError, match="32768"):
        Zone(polygon=[(0, 0), (1e9, 0), (0, 1e9)])
    with pytest.raises(ValidationError, match="zones"):
        CameraPlace(zones={"../x": Zone(polygon=SHOP)})
    assert gaps(Site(cameras={"a": CameraPlace(zones={"shop": Zone(polygon=SHOP, max_gap=3)})})) == {"shop": 3.0}


def test_a_run_writes_visits_and_a_correction_joins_them(tmp_path):
    clip, boxes, _ = make(tmp_path)
    zone, line = {"polygon": [[150, 120], [300, 120], [300, 239], [150, 239]]}, {"start": [230, 239], "end": [230, 100]}
    site = Site.model_validate({"cameras": {"crossing": {"zones": {"middle": zone}, "lines": {"mark": line}}}})
    config, out = Config.model_validate({"output": {"video": False}}), tmp_path / "out"
    run(Request(specify([str(clip)], detections=[str(boxes)]), config, out, site=site))

    def rows(name):
        return list(csv.DictReader((out / name).open()))

    people = rows("zone_visits.csv")
    assert {row["identity"] for row in people if row["kind"] == "zone"} == {row["identity"] for row in rows("identities.csv")}
    assert {row["direction"] for row in people if row["kind"] == "line"} == {"in", "out"}
    first, second = sorted({row["identity"] for row in people})[:2]
    assert passerby("identities", "merge", out, first, second).returncode == 0
    assert {row["identity"] for row in rows("zone_visits.csv")} == {row["identity"] for row in people} - {second}
    run(Request(specify([str(clip)], detections=[str(boxes)]), config, out))
    assert not list(out.glob("zone_*"))


def test_live_zones_write_events_with_the_identity_of_then(tmp_path):
    log = EventLog(tmp_path)
    sink = LiveZones("hall", PLACE, log, lambda camera, track: 40 + track if camera == "hall" else None)
    image, one = np.zeros((210, 300, 3), np.uint8), np.ones(1, np.float32)
    times, boxes = walk(along((90, 100), (160, 100)), begin=1_700_000_000)
    for at, (time, box) in enumerate(zip(times, boxes, strict=True)):
        sink.take(Frame(at, float(time), image), Tracks(np.array([2]), box[None].astype(np.float32), one, np.zeros(1, np.int64), one))
    sink.close()
    log.close()
    (path,) = tmp_path.glob("events-*.jsonl")
    events = [json.loads(text) for text in path.read_text().splitlines()]
    assert [(event["kind"], event["identity"]) for event in events] == [("entered", 42), ("crossed", 42), ("left", 42)]
    assert events[2]["dwell"] == pytest.approx(1.2) and events[0]["time"] == pytest.approx(1_700_000_000.2)
