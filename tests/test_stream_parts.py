"""The pure parts of live cameras: connection states, stamps, mailbox, ids, metrics."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import SourceError, UsageError
from pipeline.live.ids import BLOCK, TrackIds
from pipeline.live.status import LiveStatus, camera_status, prometheus_text
from pipeline.sources.mailbox import Arrivals, FrameCounts, Mailbox
from pipeline.sources.stream import StreamOptions, StreamStatus, open_options, with_credentials
from pipeline.sources.stream_clock import StreamClock
from pipeline.sources.stream_state import Backoff, Connection

EVENTS = st.lists(
    st.tuples(st.sampled_from(["connect", "frame", "quiet", "timeout", "authentication", "ended"]), st.floats(0, 30)), max_size=60
)


@given(EVENTS, st.floats(0, 1))
def test_a_connection_never_gives_up_and_waits_within_bounds(events, random):
    backoff = Backoff()
    now, connection = 0.0, Connection(backoff=backoff)
    for kind, wait in events:
        now += wait
        if kind == "connect":
            connection = connection.connecting(now)
        elif kind == "frame":
            connection = connection.frame(now)
            assert connection.state == "running" and connection.last_frame == now
        elif kind == "quiet":
            connection = connection.quiet(now, 2.0)
        else:
            connection = connection.failed(now, kind, lambda: random)
            delay = connection.retry_at - now
            assert 0 < delay <= max(backoff.longest, backoff.slow) * (1 + backoff.jitter)
            assert connection.state == ("refused" if kind == "authentication" else "waiting")
            assert connection.failures >= 1


def test_the_first_retry_is_quick_and_later_ones_are_slower():
    connection, now, delays = Connection(), 0.0, []
    for _ in range(12):
        connection = connection.connecting(now).failed(now, "refused", lambda: 0.5)
        delays.append(connection.retry_at - now)
        now = connection.retry_at
    assert delays[0] == 0.25 and delays == sorted(delays) and delays[-1] == 30
    ran = connection.connecting(now).frame(now).frame(now + 11)
    assert ran.failed(now + 12, "ended", lambda: 0.5).retry_at == pytest.approx(now + 12.25)


def test_a_wrong_password_is_tried_slowly_so_that_no_account_is_locked():
    assert Connection().failed(0.0, "authentication", lambda: 0.5).retry_at >= 30


def test_a_stall_is_seen_and_ends_with_the_next_frame():
    running = Connection().connecting(0.0).frame(1.0)
    assert running.quiet(2.9, 2.0).state == "running"
    stalled = running.quiet(3.0, 2.0)
    assert (stalled.state, stalled.reason) == ("stalled", "stalled")
    again = stalled.frame(3.5)
    assert again.state == "running" and again.connects == running.connects


def test_wall_time_is_the_cameras_where_it_reports_one():
    clock = StreamClock()
    first = clock.stamp(0.0, 100.0, 1_700_000_000.0, reported=1_700_000_000.0 - 3)
    later = clock.stamp(1.0, 101.02, 1_700_000_001.02, reported=1_700_000_000.0 - 3)
    assert first.wall == 1_700_000_000.0 - 3 and first.began and first.uncertainty < 0.1
    assert later.wall == pytest.approx(first.wall + 1.0) and not later.began


@pytest.mark.parametrize("off", [-3600.0, 90.0])
def test_a_camera_whose_clock_cannot_be_right_is_timed_by_arrival(off):
    clock = StreamClock()
    stamp = clock.stamp(0.0, 100.0, 1_700_000_000.0, reported=1_700_000_000.0 + off)
    assert stamp.wall == 1_700_000_000.0 and stamp.uncertainty >= 0.5
    assert clock.skew == off


def test_without_reports_arrival_counts_and_the_uncertainty_is_larger():
    stamp = StreamClock().stamp(5.0, 100.0, 1_700_000_000.0)
    assert stamp.wall == 1_700_000_000.0 and stamp.uncertainty >= 0.5


@pytest.mark.parametrize("jump", [30.0, 300.0, -30.0, -300.0])
def test_a_jump_of_the_timestamps_begins_a_new_session(jump):
    clock = StreamClock()
    stamps = [clock.stamp(at / 10, 100 + at / 10, 1e9 + at / 10) for at in range(10)]
    after = clock.stamp(1.0 + jump, 101.0, 1e9 + 1.0)
    assert {one.session for one in stamps} == {1} and (after.session, after.began) == (2, True)
    assert after.wall == 1e9 + 1.0


def test_a_step_of_the_hosts_clock_and_a_reconnect_begin_new_sessions():
    clock = StreamClock(first_session=7)
    assert clock.stamp(0.0, 100.0, 1e9).session == 7
    assert clock.stamp(0.1, 100.1, 1e9 + 3600).session == 8
    clock.reconnected()
    assert clock.stamp(0.0, 100.2, 1e9 + 3600.1).session == 9


@given(st.lists(st.tuples(st.floats(-5, 5), st.floats(0, 0.5), st.booleans()), max_size=60))
def test_within_a_session_time_goes_forward_whatever_comes(steps):
    clock, arrival, pts, last = StreamClock(), 1000.0, 0.0, {}
    for change, wait, missing in steps:
        arrival += wait
        pts += change
        stamp = clock.stamp(None if missing else pts, arrival, 1e9 + arrival)
        if stamp.session in last:
            assert stamp.wall > last[stamp.session]
        last[stamp.session] = stamp.wall
        assert stamp.uncertainty > 0


@given(st.lists(st.sampled_from(["put", "take", "drop", "corrupt", "failed"]), max_size=80))
def test_every_frame_is_accounted_for(actions):
    box: Mailbox[int] = Mailbox(Arrivals())
    taken = 0
    for number, action in enumerate(actions):
        if action == "put":
            box.put(number)
        elif action == "take":
            if box.take() is not None:
                taken += 1
                assert box.counts.in_hand >= 1
                box.done()
        else:
            box.count(**{"dropped" if action == "drop" else action: 1})
        counts = box.counts
        assert counts.received == counts.processed + counts.dropped + counts.corrupt + counts.failed + counts.in_hand
        assert counts.in_hand == int(box.waiting)
    box.abandon()
    assert box.counts.in_hand == 0 and box.counts.processed == taken


def test_ids_are_reserved_before_they_are_used(tmp_path):
    path = tmp_path / "ids.json"
    assert TrackIds(path).reserve(["gate"]) == {"gate": 1}
    assert TrackIds(path).reserve(["gate", "yard"]) == {"gate": 1 + BLOCK, "yard": 1}
    assert TrackIds(path).reserve(["yard"]) == {"yard": 1 + BLOCK}
    assert TrackIds(path).reserve(["gate"]) == {"gate": 1 + 2 * BLOCK}
    path.write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        TrackIds(path).reserve(["gate"])


def test_user_and_password_are_quoted_and_never_shown():
    address = with_credentials("rtsp://camera.example:8554/live?x=1", "me@home", "p@ss/w#rd")
    assert address.raw == "rtsp://me%40home:p%40ss%2Fw%23rd@camera.example:8554/live?x=1"
    assert "ss" not in str(address)
    with pytest.raises(SourceError, match="not a stream's address"):
        with_credentials("file:///etc/passwd", None, None)


def test_files_are_never_opened_by_a_stream():
    for url in ("rtsp://a/b", "http://a/b.m3u8", "https://a/b"):
        allowed = open_options(with_credentials(url, None, None), StreamOptions())["protocol_whitelist"].split(",")
        assert not {"file", "concat", "subfile", "pipe", "data"} & set(allowed)
    assert open_options(with_credentials("rtsps://a/b", None, None), StreamOptions())["tls_verify"] == "1"


def test_metrics_have_no_identity_and_quote_names():
    status = StreamStatus(Connection().frame(1.0), FrameCounts(9, 5, 2, 1, 1), (640, 360), "h264", 0.2, 0.5, None)
    camera = camera_status(status, 3)
    live = LiveStatus(
        began=0, uptime=10, age=0.1, steps=5, people=4, events=7, late_updates=0, memory=1, cameras={'ga"te\n': camera, "b": camera}
    )
    text = prometheus_text(live)
    assert 'passerby_frames_total{camera="ga\\"te\\n",fate="dropped"} 2' in text
    assert all(re.fullmatch(r"passerby_\w+(\{[^}]*\})? \S+", line) for line in text.splitlines() if not line.startswith("#"))
    assert live.healthy and not replace_age(live).healthy


def replace_age(status: LiveStatus) -> LiveStatus:
    return status.model_copy(update={"age": 60.0})
