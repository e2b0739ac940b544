"""The console's views and API over a small store; what they say, save and refuse."""

from __future__ import annotations

import csv
import io
import json
import re
import threading
import time
import zipfile
from pathlib import Path

import cv2
import httpx
import numpy as np
import pyarrow.parquet as pq
import pytest
import schemathesis
import yaml
from clips import figure
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stores import BEGAN, SHIRTS, build

from pipeline.config import Config
from pipeline.formats.colours import PALETTE
from pipeline.formats.site_file import load_site
from pipeline.live.screen import HEAD, LiveScreen
from pipeline.sources.frame import Frame
from pipeline.store import Sighting, Store, Where, open_store
from pipeline.store.figures import Seen, count_zones, flows, hourly, place_visits, seen
from pipeline.web import shown
from pipeline.web.access import RateLimit, Role, Tokens
from pipeline.web.app import STATIC, Console, create_app
from pipeline.web.guard import Guard
from pipeline.web.journey import journey, steps
from reid import Embedder
from tracker import Site, Tracks

ZONE = {"polygon": [[100, 100], [220, 100], [220, 239], [100, 239]]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    build(folder).close()
    return folder


@pytest.fixture
def store(made, tmp_path):
    """A copy, which a test may change; its videos stay where they are."""
    (tmp_path / "store.db").write_bytes((made / "store.db").read_bytes())
    with open_store(tmp_path) as opened:
        yield opened


def client_of(store: Store, tmp_path, site=None, live=None) -> TestClient:
    guard = Guard(Tokens(tmp_path / "tokens.json"))
    guard.searches = RateLimit(10_000, 60)
    app = TestClient(create_app(Console(store, Config(), site, live), guard), base_url="http://localhost")
    app.headers["X-CSRF-Token"] = re.search(r'"X-CSRF-Token": "([^"]+)"', app.get("/people").text)[1]
    return app


@pytest.fixture
def console(store, tmp_path):
    return client_of(store, tmp_path, tmp_path / "site.yaml")


def test_people_are_listed_filtered_and_sorted(console, store):
    everybody = console.get("/people")
    assert everybody.status_code == 200 and "5 people" in everybody.text
    assert all(f"Person {who}" in everybody.text for who in range(1, 6))
    assert "100 %" not in everybody.text and "may be somebody else too" in everybody.text
    assert "1 person" in console.get("/people?tag=staff").text
    assert "4 people" in console.get("/people?without=staff").text
    assert "Person 5" not in console.get("/people?camera=gate").text
    store.people.rename(2, "Milk Lady", "test")
    assert "1 person" in console.get("/people?q=milk").text
    assert "Milk Lady" in console.get("/people?q=2").text
    assert "Nobody matches" in console.get("/people?q=nobody").text
    assert "Nobody matches" in console.get("/people?from=2030-01-01T00:00").text
    part = console.get("/people?order=id", headers={"HX-Request": "true", "HX-Target": "results"}).text
    assert "<html" not in part and part.index("Person 1") < part.index("Person 5")
    for wrong, code in (("camera=nowhere", 404), ("order=x", 422), ("from=yesterday", 422), ("page=0", 422), ("from=1e300", 422)):
        assert console.get(f"/people?{wrong}").status_code == code, wrong


def test_a_person_with_sightings_to_play_and_doubts(console, store):
    page = console.get("/people/4").text
    (one,) = store.sightings.query(Where(identities=(4,)))
    number = next(camera.id for camera in store.sightings.cameras() if camera.name == "gate")
    assert f'data-play="/media/video/1/{number}"' in page and 'data-from="4.0"' in page
    assert "May be the same as" in page and "55 %" in page
    assert store.audit.query(action="viewed")[0].subject == "identity:4"
    assert console.get("/people/77").status_code == 404
    assert f"/search?sighting={one.id}" in page


def test_names_tags_splits_and_merges_by_hand(console, store):
    console.post("/people/1/name", data={"name": "<b>Ann</b>"})
    console.post("/people/1/tag", data={"tag": "guest"})
    page = console.get("/people/1").text
    assert "&lt;b&gt;Ann" in page and "<b>Ann" not in page and "guest" in page
    console.post("/people/1/tag", data={"tag": "guest", "on": "false"})
    assert store.people.get(1).tags == ()
    moved = store.sightings.query(Where(identities=(1,)))[0].id
    assert console.post("/people/1/split", data={"sighting": [moved]}).status_code == 200
    new = store.sightings.get(moved).identity
    assert new != 1 and store.people.get(1).sightings == 1
    answer = console.post(f"/people/{new}/merge", data={"other": 1})
    assert answer.url.path == "/people/1" and store.people.get(1).sightings == 2
    assert console.get(f"/people/{new}").url.path == "/people/1"
    assert console.post("/people/1/merge", data={"other": 99}).status_code == 404
    assert console.post("/people/1/split", data={}).status_code == 422


def test_the_review_queue_is_answered_and_taken_back(console, store):
    page = console.get("/review").text
    a, b = (int(re.search(rf'name="{side}" value="(\d+)"', page)[1]) for side in "ab")
    assert {store.sightings.get(one).identity for one in (a, b)} == {4, 5} and "55 %" in page
    after = console.post("/review", data={"a": a, "b": b, "answer": "same"}, headers={"HX-Request": "true"}).text
    assert "<html" not in after and "20 %" in after
    assert store.sightings.get(a).identity == store.sightings.get(b).identity == 4
    correction = re.search(r'name="correction" value="(\d+)"', after)[1]
    files = zipfile.ZipFile(io.BytesIO(console.get("/review/training.zip").content)).namelist()
    assert len(files) == 6 and all(re.fullmatch(r"00004/(gate|yard)_\d+_\d\d\.jpg", name) for name in files)
    console.post("/review/undo", data={"correction": correction}, headers={"HX-Request": "true"})
    assert store.sightings.get(b).identity == 5 and store.corrections.open_pairs() == 2
    for answer in ("different", "unsure"):
        page = console.get("/review").text
        a, b = (int(re.search(rf'name="{side}" value="(\d+)"', page)[1]) for side in "ab")
        console.post("/review", data={"a": a, "b": b, "answer": answer})
    assert "Nothing to review" in console.get("/review").text
    assert console.post("/review", data={"a": 1, "b": 2, "answer": "same"}).status_code == 404


def test_search_by_sighting_and_nobody_matches(console, store):
    one = store.sightings.query(Where(("gate",), identities=(2,)))[0]
    page = console.get(f"/search?sighting={one.id}").text
    matches = page.partition("Less likely")[0]
    assert re.search(r"1 match<", matches) and "Person 2" in matches and "Person 3" not in matches.partition("Results")[2]
    found = console.get(f"/api/search?sighting={one.id}").json()
    assert found["hits"][0]["sighting"]["identity"] == 2 and found["hits"][0]["match"] and 0 < found["compared"] <= 8
    other = console.get(f"/search?sighting={one.id}&camera=gate").text
    assert "Nobody here matches" in other
    assert "Nothing to compare with" in console.get(f"/search?sighting={one.id}&from=2030-01-01").text
    assert console.get("/search?sighting=5").status_code == 404
    assert console.get("/api/people/2/similar").json()[0]["identity"] != 2
    assert store.audit.query(action="searched")


def test_search_by_a_picture_that_holds_several_people(tmp_path):
    """The models as shipped: the picture's people are found, one is chosen, and nobody else's model may answer."""
    embedder = Embedder()
    picture = np.full((240, 420, 3), 120, np.uint8)
    crops = []
    for who in (0, 1):
        figure(picture, 120 + 180 * who, 225, 200, SHIRTS[who], (60, 50, 40))
        crops.append(picture[25:235, 70 + 180 * who : 170 + 180 * who].copy())
    with build(tmp_path, videos=False) as store:
        store.db.connection.execute("DELETE FROM vectors")
        store.use_model({"reid": embedder.session.sha256})
        for row, sighting in zip(embedder.embed(crops), store.sightings.query(limit=2), strict=True):
            store.db.connection.execute("INSERT INTO vectors VALUES (?, ?)", (sighting.id, row.astype("<f2").tobytes()))
        console = client_of(store, tmp_path)
        jpeg = cv2.imencode(".png", picture)[1].tobytes()
        page = console.post("/search", files={"picture": ("x.png", jpeg, "image/png")})
        assert page.status_code == 200 and page.url.path == "/search" and "upload=" in str(page.url)
        count = page.text.count('type="radio"')
        upload = re.search(r'name="upload" value="([^"]+)"', page.text)[1]
        hits = console.get(f"/search?upload={upload}&person0=0").text
        assert count == 0 or "who is meant" in page.text or count == 1
        assert "match" in hits and "2 sightings" in hits and "too few people" in hits
        assert console.get(f"/search?upload={upload}&person0=40").status_code == 422
        assert "not kept any more" in console.get("/search?upload=none&person0=0").text
        assert console.post("/api/search", files={"picture": ("x.png", jpeg, "image/png")}).json()["compared"] == 2


def test_media_come_in_ranges_and_stills_decode(console, store):
    number = next(camera.id for camera in store.sightings.cameras() if camera.name == "yard")
    whole = console.get(f"/media/video/1/{number}")
    part = console.get(f"/media/video/1/{number}", headers={"Range": "bytes=100-199"})
    assert (whole.status_code, part.status_code) == (200, 206) and part.content == whole.content[100:200]
    assert whole.headers["content-type"] == "video/mp4"
    still = console.get(f"/media/still/{number}?at=10")
    image = cv2.imdecode(np.frombuffer(still.content, np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (240, 320, 3)
    sighting = store.sightings.query(limit=1)[0].id
    assert console.get(f"/media/crop/{sighting}").content == store.sightings.best_crop(sighting)
    assert console.get(f"/media/crop/{sighting}?number=2").content == store.sightings.crops(sighting)[2].jpeg
    assert console.get(f"/media/crop/{sighting}?number=9").status_code == 404
    boxes = console.get(f"/api/boxes/1/{number}?start=0&seconds=60").json()
    assert {track["identity"] for track in boxes["tracks"]} == {1, 2, 3, 5} and boxes["size"] == [320, 240]
    first = boxes["tracks"][0]["points"][0]
    assert first[0] == pytest.approx(1.0) and len(first) == 5


def test_cameras_in_step(console):
    page = console.get("/cameras?camera=gate&camera=yard").text
    feeds = [json.loads(text) for text in re.findall(r"data-feeds='([^']*)'", page)]
    assert [len(one) for one in feeds] == [1, 1] and feeds[0][0]["epoch"] == BEGAN
    assert "no clock" in page and "Person 5" in page


def test_zones_are_drawn_saved_counted_and_reported(console, store, tmp_path):
    path = tmp_path / "site.yaml"
    version = re.search(r'data-version="(\w+)"', console.get("/settings?camera=gate").text)[1]
    body = {
        "version": version,
        "zones": {"counter": ZONE},
        "lines": {"door": {"start": [160, 239], "end": [160, 50]}},
        "areas": {"ignore": [[[0, 0], [9, 0], [9, 9]]]},
    }
    saved = console.put("/api/site/cameras/gate", json=body)
    assert saved.status_code == 200, saved.text
    site = load_site(path)
    assert site.cameras["gate"].zones["counter"].polygon[0] == (100, 100) and len(site.cameras["gate"].ignore) == 1
    assert console.put("/api/site/cameras/gate", json=body).status_code == 409
    links = {"version": saved.json()["version"], "links": [{"start": "gate", "end": "gate"}]}
    assert console.put("/api/site/links", json=links).status_code == 200
    assert load_site(path).links[0].start == "gate" and load_site(path).cameras["gate"].zones
    assert (tmp_path / "site.yaml.before").is_file()
    assert console.put("/api/site/cameras/nowhere", json=body).status_code == 404
    latest = load_version(console)
    bad = {"version": latest, "zones": {"../x": ZONE}}
    assert console.put("/api/site/cameras/gate", json=bad).status_code == 422
    assert console.put("/api/site/links", json={"version": latest, "links": [{"start": "gate", "end": "moon"}]}).status_code == 422
    assert console.put("/api/site/cameras/gate", json={"version": latest, "zones": {"a": {"polygon": [[0, 0]]}}}).status_code == 422
    console.post("/settings/count")
    for _ in range(200):
        said = console.get("/settings/count").text
        if "visits and" in said:
            break
        time.sleep(0.05)
    assert re.search(r"4 visits and 4 crossings counted", said), said
    page = console.get("/reports").text
    assert "counter" in page and "door" in page
    rows = list(csv.DictReader(io.StringIO(console.get("/reports/places.csv?each=hour").text)))
    zone = next(row for row in rows if row["kind"] == "zone")
    line = next(row for row in rows if row["kind"] == "line")
    assert (zone["people"], zone["entered"], zone["left"]) == ("4", "4", "4") and (line["into"], line["out"]) == ("0", "4")
    assert "people" in pq.read_table(io.BytesIO(console.get("/reports/places.parquet").content)).column_names
    without = list(csv.DictReader(io.StringIO(console.get("/reports/places.csv?without=staff&each=hour").text)))
    assert {row["people"] for row in without} == {"3"}
    assert "counter" in console.get("/people/1").text and "4 people" in console.get("/people?zone=counter").text


def load_version(console) -> str:
    return re.search(r'data-version="(\w+)"', console.get("/settings?camera=gate").text)[1]


def test_a_site_file_keeps_what_was_not_drawn(store, tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(
        "cameras:\n  gate: {url: 'rtsp://camera/1', user: admin, password_env: PW, zones: {old: {polygon: [[0, 0], [9, 0], [9, 9]]}}}\n  yard: {offset: 2}\n"
    )
    console = client_of(store, tmp_path, path)
    assert console.put("/api/site/cameras/gate", json={"version": load_version(console)}).status_code == 200
    assert yaml.safe_load(path.read_text()) == {
        "cameras": {"gate": {"url": "rtsp://camera/1", "user": "admin", "password_env": "PW"}, "yard": {"offset": 2}}
    }


def test_a_person_is_erased_from_the_page(tmp_path):
    """Every byte of pictures and embedding, while the console has the store open."""
    with build(tmp_path) as store:
        console = client_of(store, tmp_path)
        gone = [one.id for one in store.sightings.query(Where(identities=(3,)))]
        parts = [crop.jpeg for one in gone for crop in store.sightings.crops(one)]
        parts += [store.vectors.get(one).astype("<f2").tobytes() for one in gone]
        assert console.post("/people/3/forget").status_code == 422 and store.sightings.count() == 8
        page = console.post("/people/3/forget", data={"sure": "true"})
        assert page.url.path == "/erasures"
        for _ in range(600):
            if "erasing" not in (said := console.get("/erasures", headers={"HX-Request": "true"}).text):
                break
            time.sleep(0.05)
        assert "2 sightings erased" in said, said
        assert console.get("/people/3").status_code == 404 and store.sightings.count() == 6
        for path in tmp_path.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(part in content for part in parts), path
        assert store.audit.query(action="erased")[0].actor == "local"


def test_reports_count_people_once(console, store):
    assert [(row.people, row.new) for row in hourly(seen(store, Where()))] == [(5, 5)]
    assert [(row.people, row.new) for row in hourly(seen(store, Where(without_tag="staff")))] == [(4, 4)]
    assert sum(row.new for row in hourly(seen(store, Where()), bucket=1.0)) == 5
    found = {(row.start, row.end): row.count for row in flows(store, seen(store, Where()))}
    assert found == {("gate", "yard"): 3} or sum(found.values()) == 3
    text = console.get("/reports/visitors.csv?each=hour").text
    assert text.splitlines()[0] == "start,end,people,new" and text.splitlines()[1].endswith(",5,5")
    table = pq.read_table(io.BytesIO(console.get("/reports/flows.parquet").content))
    assert table.schema.field("count").type == "int64" and table.num_rows == len(found)
    assert pq.read_table(io.BytesIO(console.get("/reports/places.parquet").content)).num_rows == 0
    assert console.get("/reports/people.csv").status_code == 422


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.integers(0, 9000), st.integers(0, 4000)), min_size=1, max_size=12), st.integers(1, 5))
def test_hours_are_those_of_a_plain_loop(spans, most):
    spans = sorted(spans)
    who, start, end = (np.array(column) for column in zip(*((a, b, b + c) for a, b, c in spans), strict=True))
    rows = hourly(Seen(who, np.ones(len(who), int), start.astype(float), end.astype(float)), 1000.0, most)
    every = [set(who[(start // 1000 <= hour) & (end // 1000 >= hour)].tolist()) for hour in range(int(end.max() // 1000) + 1)]
    begin = int(rows[0].start // 1000)
    assert begin == max(int(start.min() // 1000), len(every) - most)
    for hour, row in enumerate(rows, begin):
        before = set().union(*every[:hour])
        assert (row.people, row.new) == (len(every[hour]), len(every[hour] - before))


def test_counting_zones_twice_changes_nothing(store):
    site = Site.model_validate({"cameras": {"gate": {"zones": {"counter": ZONE}}, "moon": {"zones": {"x": ZONE}}}})
    first = count_zones(store, site)
    visits = place_visits(store, Where(), {})
    assert count_zones(store, site) == first and place_visits(store, Where(), {}) == visits
    assert count_zones(store, Site()) == (0, 0) and place_visits(store, Where(), {}) == []
    assert count_zones(store, site, lambda done, of: False) == (0, 0)


def test_an_empty_store_says_what_to_do(tmp_path):
    with open_store(tmp_path / "store.db", create=True) as store:
        console = client_of(store, tmp_path)
        assert "passerby store import" in console.get("/people").text
        for path, said in (("/review", "Nothing to review"), ("/cameras", "No camera yet"), ("/reports", "Nobody was seen"), ("/now", "No camera yet"),
                           ("/settings", "No camera yet"), ("/search", "Choose a picture")):  # fmt: skip
            answer = console.get(path)
            assert answer.status_code == 200 and said in answer.text, path


def test_the_example_of_the_docs_runs(store, tmp_path, monkeypatch, capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (Path(__file__).parent.parent / "docs/console.md").read_text(), re.S)
    (tmp_path / "person.jpg").write_bytes(store.sightings.best_crop(store.sightings.query(limit=1)[0].id))
    monkeypatch.chdir(tmp_path)
    tokens = Tokens(tmp_path / "tokens.json")
    token, app = tokens.add("ann", Role.VIEWER), create_app(Console(store), Guard(tokens))
    monkeypatch.setattr(httpx, "Client", lambda base_url, headers: TestClient(app, base_url=base_url, headers=headers))
    store.db.connection.execute("DELETE FROM vectors")  # they are of no real model
    store.db.connection.execute("DELETE FROM meta")
    exec(compile(block, "console.md", "exec"), {"token": token})
    assert capsys.readouterr().out.strip() == "nobody here matches"


def test_what_goes_wrong_inside_is_not_shown(store, tmp_path, monkeypatch, caplog):
    app = TestClient(
        create_app(Console(store), Guard(Tokens(tmp_path / "t.json"))), base_url="http://localhost", raise_server_exceptions=False
    )
    monkeypatch.setattr(store.people, "count", lambda *_: 1 / 0)
    answer = app.get("/people")
    assert answer.status_code == 500 and "ZeroDivision" not in answer.text and "internal error" in answer.text
    assert answer.headers["content-security-policy"]
    assert "ZeroDivisionError" in caplog.text
    missing = app.get("/people/12345").text
    assert str(store.path) not in missing and "no identity 12345" in missing


def test_a_wall_sends_pictures_and_states(store, tmp_path):
    live = LiveScreen()
    console = client_of(store, tmp_path, live=live)
    one = np.ones(1, np.float32)
    image = np.full((360, 640, 3), 90, np.uint8)
    live.identities = {("gate", 3): 7}
    live.take(
        "gate",
        Frame(0, 1_700_000_000.0, image),
        Tracks(np.array([3]), np.array([[10, 20, 60, 160]], np.float32), one, np.zeros(1, int), one),
    )
    with console.websocket_connect("ws://localhost/ws/now") as socket:
        told = socket.receive_json()
        assert told["cameras"]["gate"]["state"] == "running"
        data = socket.receive_bytes()
        (length,) = HEAD.unpack_from(data)
        about = json.loads(data[HEAD.size : HEAD.size + length])
        assert about["tracks"] == [[10.0, 20.0, 60.0, 160.0, 3, 7]] and about["size"] == [640, 360]
        picture = cv2.imdecode(np.frombuffer(data[HEAD.size + length :], np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (288, 512, 3)
        live.take(
            "gate",
            Frame(1, 1_700_000_001.0, image),
            Tracks(np.zeros(0, int), np.zeros((0, 4), np.float32), one[:0], np.zeros(0, int), one[:0]),
        )
        while True:
            message = socket.receive()
            if message.get("bytes"):
                assert b'"number":2' in message["bytes"][:200]
                break
    number = next(camera.id for camera in store.sightings.cameras() if camera.name == "gate")
    assert cv2.imdecode(np.frombuffer(console.get(f"/media/still/{number}").content, np.uint8), 1).shape == (360, 640, 3)
    assert "<canvas" in console.get("/now").text


def test_colours_are_those_of_the_video():
    text = (STATIC / "console.css").read_text()
    for number, colour in enumerate(PALETTE):
        assert f".c{number} {{ background-color: {colour}; fill: {colour}; }}" in text


def test_white_text_on_every_colour_is_readable():
    for colour in PALETTE:
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        assert 1.05 / (0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2] + 0.05) >= 4.5, colour


@settings(max_examples=200, deadline=None)
@given(st.floats(0, 1), st.floats(-1e9, 1e12, allow_nan=False), st.floats(0, 1e8))
def test_nothing_is_shown_as_certain(probability, time_, seconds):
    assert "100" not in shown.percent(probability) and not shown.percent(probability).startswith("0 ")
    assert shown.words(probability) and shown.level(probability) in ("sure", "fair", "doubt")
    axis = shown.Axis.over([time_, time_ + seconds])
    assert all(0 <= at <= 100 for at, _ in axis.ticks()) and len(axis.ticks()) <= 8
    assert 0 <= axis.at(time_ + seconds / 2) <= 100 and axis.width(time_, time_) > 0
    assert shown.span(time_, time_ + seconds) and shown.lasting(seconds)


def test_a_journey_skips_nobody():
    def seen(camera, start):
        return Sighting(int(start), 1, camera, 1, 0, start, start + 5, 1, 0.9, False, 5, 0.9, 0.9, 1, 1, 0.0, "wall", None)

    way = [seen("a", 0), seen("b", 10), seen("b", 20), seen("a", 30), seen("b", 40)]
    assert steps(way) == {("a", "b"): 2, ("b", "a"): 1}
    drawn = journey(Site(), way)
    assert [(node.name, node.visits) for node in drawn.nodes] == [("a", 2), ("b", 3)] and not drawn.placed
    points = [[0, 0, 0, 0], [9, 0, 5, 0], [9, 9, 5, 5], [0, 9, 0, 5]]
    far = [[x, y, X + 20, Y] for x, y, X, Y in points]
    placed = journey(Site.model_validate({"cameras": {"a": {"points": points}, "b": {"points": far}}}), way)
    assert placed.placed and placed.nodes[0].x < placed.nodes[1].x


def test_the_store_may_be_written_while_it_is_read(console, store):
    """Requests run in threads: none may see a half-written store, nor block another."""
    codes = []

    def look():
        codes.extend(console.get("/people").status_code for _ in range(5))

    threads = [threading.Thread(target=look) for _ in range(3)]
    for one in threads:
        one.start()
    for at in range(20):
        store.people.rename(1, f"Name {at}", "test")
    for one in threads:
        one.join()
    assert set(codes) == {200}


def test_no_request_that_the_schema_allows_fails_inside(made, tmp_path):
    (tmp_path / "store.db").write_bytes((made / "store.db").read_bytes())
    with open_store(tmp_path) as store:
        guard = Guard(Tokens(tmp_path / "tokens.json"))
        guard.searches = RateLimit(10**9, 60)
        headers = {"Authorization": f"Bearer {guard.tokens.add('walk', Role.ADMIN)}"}
        app = create_app(Console(store, Config(), tmp_path / "site.yaml"), guard)
        schema = schemathesis.openapi.from_asgi("/api/openapi.json", app, headers=headers)
        walked = set()
        for found in schema.get_all_operations():
            operation = found.ok()
            walked.add(operation.path)

            @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
            @given(operation.as_strategy())
            def walk(case):
                answer = case.call(headers=headers)
                assert answer.status_code < 500, (case.method, case.path, answer.status_code, answer.text[:300])

            walk()
        assert len(walked) > 12
