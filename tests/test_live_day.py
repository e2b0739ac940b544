"""A simulated day of two cameras: what live mode keeps does not grow."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.engine.tracklet_builder import TrackletBuilder
from pipeline.live.clocks import ClockWatch
from pipeline.live.events import EventLog
from pipeline.live.linking import LiveLinking
from pipeline.live.state import save
from pipeline.live.track_events import TrackEvents
from pipeline.sources.frame import Frame
from tracker import Linker, LinkerSettings, Site, Tracks

START = 1_772_300_000.0


def tracks_of(ids: list[int]) -> Tracks:
    boxes = np.float32([[20 + 5 * (number % 3), 10, 40 + 5 * (number % 3), 60] for number in ids]).reshape(-1, 4)
    return Tracks(np.array(ids, np.int64), boxes, np.ones(len(ids), np.float32), np.arange(len(ids)), np.ones(len(ids), np.float32))


@pytest.mark.slow
def test_a_day_keeps_memory_flat(tmp_path):
    rng = np.random.default_rng(0)
    people, log = rng.normal(size=(40, 64)), EventLog(tmp_path)
    cameras = {name: SimpleNamespace(builder=TrackletBuilder(name, 4)) for name in ("gate", "yard")}
    linker, watch = Linker(Site(), LinkerSettings(retention=7200, settle_time=60)), ClockWatch(Site(), 1.0)
    linking, told = LiveLinking(linker, log, cameras, Site()), TrackEvents(log, cameras)
    image, alive, number, sizes = np.full((96, 128, 3), 90, np.uint8), {name: {} for name in cameras}, 0, []
    for second in range(0, 86_400, 12):
        now = START + second
        for name, camera in cameras.items():
            here = alive[name]
            if rng.random() < 0.12:
                number += 1
                here[number] = (now + rng.uniform(10, 90), int(rng.integers(len(people))))
            if name == "gate":
                here[0] = (np.inf, 0)  # somebody who never leaves: their track is cut
            looks = {}
            for row, track in enumerate(here):
                look = people[here[track][1]] + rng.normal(0, 0.3, 64)
                looks[row] = (look / np.linalg.norm(look)).astype(np.float32)
            camera.builder.add(Frame(second // 12, now, image), tracks_of(list(here)), looks)
            ended = [track for track, (until, _) in here.items() if until <= now]
            for track in ended:
                del here[track]
            done = list(camera.builder.finish(np.array(list(here), np.int64))) + list(camera.builder.cut(300.0))
            for tracklet in done:
                for sink in (linking, told, watch):
                    sink.finish(tracklet)
        told.tell()
        linking.step(now)
        watch.review(now, linker.identities)
        if second % 7200 == 0:
            save(tmp_path / "state", linker, "m")
            sizes.append((tmp_path / "state").stat().st_size)
            kept = len(linking._ended) + len(linking._sent) + len(watch._old) + len(watch._new) + len(told._known)
            assert kept < 400
    assert number > 1500
    assert max(sizes[3:]) < 1.5 * np.median(sizes[2:])
    assert linker.late == 0
    started = ended = 0
    for path in tmp_path.glob("events-*.jsonl"):
        for line in path.read_text().splitlines():
            kind = json.loads(line)["kind"]
            started, ended = started + (kind == "track_started"), ended + (kind == "track_ended")
    assert 0 <= started - ended < 10
