"""Wall-clock time in the names of files, in options and in time zones."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.formats.wall_clock import camera_in_path, check_pattern, epoch, iso, local_time, parse_time, time_in_name, time_zone

QUARTER = datetime(2026, 11, 25, 10, 15)


@pytest.mark.parametrize(
    ("path", "expected", "camera"),
    [
        ("nvr/ch01_20261125_101500.mp4", QUARTER, ("nvr", "ch01")),
        ("2026-11-25T10:15:00.mp4", QUARTER, ("",)),
        ("2026-11-25 10-15-00.mkv", QUARTER, ("",)),
        ("01-20261125101500.avi", QUARTER, ("01",)),  # motion
        ("gate.20261125_101500.mp4", QUARTER, ("gate",)),  # Blue Iris
        ("RecM01_20261125_101500_102000_6D28808.mp4", QUARTER, ("RecM01",)),  # Reolink: begin, end, marks
        ("front_2026-11-25_10h15m00s.mp4", QUARTER, ("front",)),
        ("2026-11-25/10/gate/15.00.mp4", QUARTER, ("gate", "")),  # Frigate
        ("2026-11-25/001/dav/10/10.15.00-10.20.00[M][0@0][0].mp4", QUARTER, ("dav", "")),  # Dahua
        ("20261125/10/15.mp4", QUARTER, ("",)),  # Wyze
        ("2026-11-25/10-15-00.mp4", QUARTER, ("",)),  # motionEye
        ("20261125101500123.mp4", QUARTER.replace(microsecond=123000), ("",)),
        ("2026-11-25T10-15-00.250Z.mp4", QUARTER.replace(microsecond=250000, tzinfo=UTC), ("",)),
        ("20261125101500+0100.mp4", QUARTER.replace(tzinfo=time_zone("+01:00")), ("",)),
        ("cam1_1795601700.mp4", datetime(2026, 11, 25, 10, 15, tzinfo=UTC), ("cam1",)),
    ],
)
def test_names_of_recorders(path, expected, camera):
    found = time_in_name(Path(path))
    assert found is not None
    assert found[0] == expected
    assert (found[0].tzinfo is None) == (expected.tzinfo is None)
    assert camera_in_path(Path(path)) == camera


@pytest.mark.parametrize(
    "name",
    [
        "MOT17-09.mp4",
        "people-detection.264",
        "20261325_101500.mp4",
        "20261125_251500.mp4",
        "GH010123.mp4",
        "1234567890123456789.mp4",
        "a.mp4",
    ],
)
def test_other_numbers_are_no_times(name):
    assert time_in_name(Path(name)) is None


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2099, 12, 31)),
    st.sampled_from(["%Y%m%d_%H%M%S", "%Y-%m-%dT%H:%M:%S", "%Y%m%d%H%M%S", "%Y-%m-%d_%H-%M-%S"]),
)
def test_written_names_are_read_back(moment, form):
    moment = moment.replace(microsecond=0)
    found = time_in_name(Path(f"gate-{moment.strftime(form)}.mp4"))
    assert found == (moment, "gate-")


@given(st.text(max_size=60))
def test_any_name_is_a_name(name):
    found = time_in_name(Path(name))
    assert found is None or 1990 <= found[0].year < 2100
    camera_in_path(Path(name))


def test_a_pattern_of_the_user():
    assert time_in_name(Path("a/25-11-2026/gate_10-15.mp4"), "%d-%m-%Y/gate_%H-%M") == (QUARTER, "gate_")
    assert time_in_name(Path("gate_25112026_1015_x9.mp4"), "%d%m%Y_%H%M_*") == (QUARTER, "gate_")
    assert time_in_name(Path("gate_20261125.mp4"), "%d%m%Y_%H%M_*") is None
    for wrong in ("%Q", "gate", "%Y-%m", "%d%d%m%Y"):
        with pytest.raises(ValueError, match="%"):
            check_pattern(wrong)


def test_time_zones():
    berlin = time_zone("Europe/Berlin")
    assert iso(epoch(QUARTER, berlin), berlin) == "2026-11-25T10:15:00.000+01:00"
    assert epoch(QUARTER, time_zone("UTC")) - epoch(QUARTER, berlin) == 3600
    assert time_zone("-0330").utcoffset(None) == timedelta(hours=-3, minutes=-30)
    assert time_zone(None) is None
    assert epoch(QUARTER, None) == QUARTER.timestamp()
    assert local_time(0, UTC) == datetime(1970, 1, 1, tzinfo=UTC)
    with pytest.raises(ValueError, match="time zone"):
        time_zone("Berlin/Europe")


def test_times_of_options():
    assert parse_time("2026-11-25T10:15:00") == QUARTER
    assert parse_time("1795601700") == datetime(2026, 11, 25, 10, 15, tzinfo=UTC)
    for wrong in ("10:15", "tomorrow", "1904-01-01T00:00:00"):
        with pytest.raises(ValueError, match=r"year|ISO 8601"):
            parse_time(wrong)
