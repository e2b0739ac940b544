"""Live mode on files: the same tracks as a run over them, everything accounted for, segments that a run's commands read, restarts."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from clips import figure, write_clip
from command import passerby
from redis_server import RedisServer

import detectors
from pipeline import Config, Request, run
from pipeline.centre.site_linking import SiteLinking
from pipeline.formats.crop_table import read_crops
from pipeline.formats.mot import read_tracks
from pipeline.live.service import LiveRun
from pipeline.live.state import restored
from pipeline.messaging.broker import FIELD, connect, updates_key
from pipeline.messaging.messages import ClockMessage, ModelFacts, encode
from pipeline.messaging.publisher import Publisher
from pipeline.sources.frame import Selection
from pipeline.sources.mailbox import Arrivals, FrameCounts
from pipeline.sources.open import open_source
from pipeline.sources.stream import StreamFrame, StreamStatus
from pipeline.sources.stream_clock import Stamp
from pipeline.sources.stream_state import Connection
from pipeline.store import Where, open_store
from reid import Embedder
from tracker import Site, apply_events

FRAMES = 50
CONFIG = Config.model_validate(
    {"detector": {"model": "person-n"}, "output": {"video": False}, "live": {"segment": 1000.0}, "linker": {"lateness": 0.5, "step": 0.5}}
)


class EveryFrame:
    """A reader that drops nothing: it gives the next frame of a file whenever the engine takes one. ``clock`` follows its times."""

    def __init__(self, path: Path, clock: list[float], sessions: dict[int, int] | None = None) -> None:
        self._frames, self._clock, self._sessions = list(open_source(path).read(Selection())), clock, sessions or {}
        self._began = clock[0]
        self._size = self._frames[0].image.shape[1::-1]
        self._taken = self._done = 0
        self._session = 1
        self.mailbox = self

    substream = None

    def set_level(self, level: str) -> None: ...
    def clip(self, path: Path, seconds: float) -> bool:
        return False

    def start(self) -> None: ...
    def stop(self) -> None: ...
    def abandon(self) -> None: ...

    def join(self, timeout: float) -> bool:
        return True

    @property
    def waiting(self) -> bool:
        return self._taken < len(self._frames)

    @property
    def counts(self) -> FrameCounts:
        return FrameCounts(received=self._taken, processed=self._done)

    @property
    def status(self) -> StreamStatus:
        connection = Connection().frame(0.0) if self.waiting else Connection().closed(0.0)
        return StreamStatus(connection, self.counts, self._size, None, 0.0, 0.0, None)

    def take(self) -> StreamFrame | None:
        if not self.waiting:
            return None
        frame = self._frames[self._taken]
        self._taken += 1
        time = self._began + frame.time
        self._clock[0] = max(self._clock[0], time)
        self._session = self._sessions.get(frame.index, self._session)
        return StreamFrame(frame.index, frame.image, Stamp(time, 0.0, self._session, False), time)

    def done(self) -> None:
        self._done += 1


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> dict[str, Path]:
    """Two cameras of drawn people whom the detector finds."""
    folder = tmp_path_factory.mktemp("live")
    out = {}
    for number, name in enumerate(("gate", "yard")):
        rng = np.random.default_rng(number)
        background = rng.integers(90, 130, (288, 384, 3)).astype(np.uint8)
        pictures = []
        for frame in range(FRAMES):
            picture = background.copy()
            figure(picture, 60 + 4 * frame, 240, 150, (40, 40, 200), (90, 60, 30), frame / 3)
            figure(picture, 330 - 4 * frame, 275, 160, (200, 90, 30), (40, 40, 40), frame / 3 + 1)
            pictures.append(picture)
        out[name] = write_clip(folder / f"{name}.mp4", pictures, rate=10)
    return out


@pytest.fixture(scope="module")
def models():
    return detectors.load_detector(settings=CONFIG.detector), Embedder(settings=CONFIG.reid)


def live(
    clips, models, out: Path, config: Config = CONFIG, sessions: dict[int, int] | None = None, began: float = 0.0, publisher=None
) -> LiveRun:
    clock = [began]

    def readers(arrivals: Arrivals) -> dict[str, EveryFrame]:
        return {name: EveryFrame(path, clock, sessions) for name, path in clips.items()}

    one = LiveRun(readers, config, out, Site(), *models, publisher=publisher, wall=lambda: clock[0])
    one.run()
    return one


def events(out: Path) -> list[dict]:
    return [json.loads(line) for path in sorted(out.glob("events-*.jsonl")) for line in path.read_text().splitlines()]


def test_live_tracks_are_those_of_a_run(clips, models, tmp_path):
    run(Request.of(clips.values(), tmp_path / "run", CONFIG))
    status = live(clips, models, tmp_path / "live").status()
    (segment,) = (tmp_path / "live/segments").iterdir()
    for name in clips:
        expected = (tmp_path / "run" / name / "tracks.txt").read_bytes()
        assert len(expected.splitlines()) > FRAMES  # the detector does find these people
        assert (segment / name / "tracks.txt").read_bytes() == expected
        camera = status.cameras[name]
        assert (camera.received, camera.processed, camera.in_hand) == (FRAMES, FRAMES, 0)
    kinds = {event["kind"] for event in events(tmp_path / "live")}
    assert {"session", "camera_state", "assigned"} <= kinds
    assert all(event["v"] == 1 for event in events(tmp_path / "live"))


@pytest.mark.parametrize("longest", [1.2, 1000.0])
def test_live_events_are_those_of_the_recorded_run(clips, models, tmp_path, longest):
    """One code path: what the linker gets to know of a track, and when, is the same from files and live, long tracks cut or not."""
    run(Request.of(clips.values(), tmp_path / "run", CONFIG))
    settings = ["--set", "linker.lateness=0.5", "--set", "linker.step=0.5"]
    done = passerby("associate", tmp_path / "run", "-o", tmp_path / "people", "--online", *settings)
    assert done.returncode == 0, done.stderr
    expected = (tmp_path / "people/events.jsonl").read_bytes()
    live(clips, models, tmp_path / "live", CONFIG.changed(live=CONFIG.live.changed(longest_track=longest)))
    lines = b"".join(path.read_bytes() for path in sorted((tmp_path / "live").glob("events-*.jsonl"))).splitlines(keepends=True)
    assert b"".join(line for line in lines if json.loads(line)["kind"] in ("assigned", "merged", "split")) == expected
    assert len(expected.splitlines()) >= 4


def test_segments_are_runs_and_long_tracks_go_on_over_them(clips, models, tmp_path):
    whole_config = CONFIG.changed(output=CONFIG.output.changed(max_fill_gap=0.0))  # a gap over two segments cannot be filled
    config = whole_config.changed(live=CONFIG.live.changed(segment=1.5))
    live(clips, models, tmp_path / "live", config)
    segments = sorted((tmp_path / "live/segments").iterdir())
    assert len(segments) >= 3 and not [one for one in segments if one.suffix]
    ids = [set(read_tracks(one / "gate/tracks.txt").ids.tolist()) for one in segments]
    assert ids[0] & ids[1] & ids[2]  # a track goes on under its id
    rows = sum(len(read_tracks(one / "gate/tracks.txt")) for one in segments)
    live(clips, models, tmp_path / "whole", whole_config)
    (whole,) = (tmp_path / "whole/segments").iterdir()
    assert rows == len(read_tracks(whole / "gate/tracks.txt"))
    assert all(list(read_crops(one / "crops.parquet")) for one in segments)
    done = passerby("associate", *segments, "-o", tmp_path / "people", "--json")
    assert done.returncode == 0, done.stderr


def test_a_new_session_is_no_jump_of_a_person(clips, models, tmp_path):
    """After a reconnect tracks begin anew, under ids that were not used before."""
    live(clips, models, tmp_path / "live", sessions={25: 2})
    (segment,) = (tmp_path / "live/segments").iterdir()
    rows = read_tracks(segment / "gate/tracks.txt")
    before, after = set(rows.ids[rows.frames <= 25].tolist()), set(rows.ids[rows.frames > 25].tolist())
    assert before and after and not before & after
    assert [e["session"] for e in events(tmp_path / "live") if e["kind"] == "session" and e["camera"] == "gate"] == [1, 2]


def test_a_restart_uses_no_id_twice_and_keeps_identities(clips, models, tmp_path):
    first = live(clips, models, tmp_path / "live")
    known = set(first.linking.linker.identities)
    second = live(clips, models, tmp_path / "live", began=60.0)
    again = set(second.linking.linker.identities)
    assert known and known < again
    tracks = [set(read_tracks(one / "gate/tracks.txt").ids.tolist()) for one in sorted((tmp_path / "live/segments").iterdir())]
    assert len(tracks) == 2 and not tracks[0] & tracks[1]


def test_an_interrupted_segment_is_kept_and_said(clips, models, tmp_path, caplog):
    left = tmp_path / "live/segments/20260101T000000.open/gate"
    left.mkdir(parents=True)
    (left / "tracks.txt").write_text("1,1,2,3,4,5,1\n")
    live({"gate": clips["gate"]}, models, tmp_path / "live")
    assert (tmp_path / "live/segments/20260101T000000.interrupted/gate/tracks.txt").is_file()
    assert "interrupted run" in caplog.text


def test_what_is_published_is_linked_as_here(clips, models, tmp_path):
    """A centre decides from an edge's messages what the edge itself decides."""
    with RedisServer(tmp_path / "redis") as server:
        model = ModelFacts(sha256=models[1].session.sha256)
        publisher = Publisher(server.url, "site", "edge", tmp_path / "spool", model)
        run = live(clips, models, tmp_path / "live", publisher=publisher)
        status = run.status().publisher
        assert (status.connected, status.waiting, status.spooled, status.dropped) == (True, 0, 0, 0)
        client = connect(server.url)
        entries = client.xrange(updates_key("site"))
        client.close()
    assert len(entries) == status.sent
    centre = SiteLinking(Site(), CONFIG.linker, CONFIG.association)
    for number, fields in entries:
        centre.take(int(number.split(b"-")[0]) / 1000, fields[FIELD])
    assert {(one.camera, one.state) for one in centre.states} >= {("gate", "running"), ("yard", "running")}
    centre.take(2e9, encode(ClockMessage(edge="edge", session=publisher.session, number=len(entries), time=1e6, model=model)))
    events = centre.advance()
    run.linking.linker.finish()
    assert apply_events({}, events) == run.linking.linker.identities
    assert (centre.refused, centre.edges.known["edge"].missing, centre.edges.known["edge"].doubles) == (0, 0, 0)
    assert len(events) >= 4


def test_the_store_has_what_the_linker_decided_and_every_event(clips, models, tmp_path):
    config = CONFIG.changed(live=CONFIG.live.changed(segment=1.5))
    for began in (0.0, 60.0):  # a restart goes on in the same store
        one = live(clips, models, tmp_path / "live", config, began=began)
        linked = one.linking.linker.identities
        with open_store(tmp_path / "live") as store:
            stored = {(sighting.camera, sighting.track): sighting for sighting in store.sightings.query()}
            assert set(linked) <= set(stored) and all(sighting.clock == "wall" for sighting in stored.values())
            numbers = {key: store.people.numbered(1, number) for key, number in linked.items()}
            assert numbers == {key: stored[key].identity for key in linked}
            written = [(event["kind"], event["time"]) for event in events(tmp_path / "live")]
            assert sorted((event.kind, round(event.time, 3)) for event in store.events.query()) == sorted(written)
            assigned = store.events.query(kinds=("assigned",))
            assert assigned and all(event.sighting is not None and event.identity is not None for event in assigned)
            boxes = sum(len(read_tracks(path)) for path in (tmp_path / "live/segments").glob("*/gate/tracks.txt"))
            path_boxes = sum(len(store.sightings.path(sighting.id).times) for (name, _), sighting in stored.items() if name == "gate")
            assert path_boxes == sum(sighting.boxes for (name, _), sighting in stored.items() if name == "gate") <= boxes  # text fills gaps


def test_forgetting_while_the_cameras_run(clips, models, tmp_path):
    """The process lets go of what grows, what is linked and what is in open files; the person stays forgotten while in view."""
    out, clock = tmp_path / "live", [1_700_000_000.0]
    config = CONFIG.changed(live=CONFIG.live.changed(longest_track=0.5, save=0.5))
    one = LiveRun(
        lambda _: {name: EveryFrame(path, clock) for name, path in clips.items()}, config, out, Site(), *models, wall=lambda: clock[0]
    )
    for _ in range(FRAMES // 2):
        one.step(0.0)
    one.feed.flush()
    with open_store(out) as store:
        key = next(iter(store.sightings.query(Where(cameras=("gate",)))))
        row = store.vectors.get(key.id).astype("<f2").tobytes()
        assert store.is_fed(1) and any(row in path.read_bytes() for path in out.glob("store.db*"))
    assert (key.camera, key.track) in one.linking.linker.identities
    done: list[object] = []
    thread = threading.Thread(target=lambda: done.append(passerby("forget", out, "--track", key.name)))
    thread.start()
    while not one.feed.store.wanted_erased(1):
        time.sleep(0.01)
    one.feed.obey()
    thread.join()
    assert done[0].returncode == 0, done[0].stderr
    for _ in range(FRAMES):
        one.step(0.0)
    one._opened.close()
    assert (key.camera, key.track) not in one.linking.linker.identities
    assert all((event.get("camera"), event.get("track")) != (key.camera, key.track) for event in events(out))
    for segment in (out / "segments").iterdir():
        assert key.track not in read_tracks(segment / "gate/tracks.txt").ids if (segment / "gate/tracks.txt").stat().st_size else True
        assert (key.camera, key.track) not in {crop[0] for crop in read_crops(segment / "crops.parquet")}
        rows = pq.read_table(segment / "tracklets.parquet", columns=["camera", "track"]).to_pylist()
        assert {"camera": key.camera, "track": key.track} not in rows
        assert not (segment / f"people/gate-{key.track:05d}.jpg").exists()
    with open_store(out) as store:
        assert not store.is_fed(1) and not store.sightings.find(key.camera, key.track) and store.sightings.count() >= 3
        assert not any(row in path.read_bytes() for path in out.rglob("*") if path.is_file())
    stopped = next(sighting for sighting in open_store(out).sightings.query(Where(cameras=("yard",))))
    done.append(passerby("forget", out, "--track", stopped.name))
    assert done[1].returncode == 0, done[1].stderr
    linker = restored(out / "linker.state", one.linking.linker.__class__(Site()), models[1].session.sha256)
    assert linker.identities and (stopped.camera, stopped.track) not in linker.identities


def test_search_by_a_picture_that_shows_two_people(clips, models, tmp_path):
    out = tmp_path / "run"
    run(Request.of(clips.values(), out, CONFIG))
    frame = list(open_source(clips["gate"]).read(Selection()))[5].image
    cv2.imwrite(str(tmp_path / "picture.png"), frame)
    asked = ["search", out, "--picture", tmp_path / "picture.png", "--detector", "person-n", "--json"]
    done = passerby(*asked)
    assert done.returncode == 2 and "2 people, choose one with --person N" in done.stderr
    hits = []
    for person in (1, 2):
        done = passerby(*asked, "--person", person)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert found["probes"] == 0 and found["compared"] >= 4
        hits.append(found["hits"][0])
    with open_store(out) as store:
        lefts = [store.sightings.path(hit["sighting"]).boxes[0, 0] for hit in hits]
        assert lefts[0] < lefts[1]  # each is found as who stands there
        assert [entry.action for entry in store.audit.query()] == ["searched", "searched"]
    track = passerby("search", out, "--track", f"{hits[0]['camera']}:{hits[0]['track']}")
    assert track.returncode == 0 and "too few people to measure" in track.stdout
    for words, says in (
        (["--person", "3", "--picture", tmp_path / "picture.png"], "no person 3"), ([], "give either"), (["--track", "gate"], "expected CAMERA:TRACK"),
        (["--track", "gate:999"], "no track 999"), (["--picture", tmp_path / "none.png"], "cannot be read"), (["--track", "roof:1"], "no camera 'roof'"),
        (["--picture", tmp_path / "picture.png", "--reid", "mpn-m", "--person", "1"], "another re-ID model"),
    ):  # fmt: skip
        done = passerby("search", out, *words, "--detector", "person-n")
        assert done.returncode == 2 and says in done.stderr, done.stderr
