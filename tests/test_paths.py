"""Names and places: hostile names stay inside the output folder, keys of runs are unique."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from command import passerby
from hypothesis import given, settings
from hypothesis import strategies as st
from test_identities import recorded

from pipeline.engine.cameras import specify, stem
from pipeline.errors import OutputError, PasserbyError, UsageError
from pipeline.formats.paths import inside, is_safe_name, run_labels, safe_name

HOSTILE = st.text(alphabet=st.characters(codec="utf-8"), max_size=40) | st.sampled_from(
    [
        "",
        ".",
        "..",
        "../x",
        "/etc/passwd",
        "a/../../b",
        "\\",
        "C:\\x",
        "~",
        "$HOME",
        "-rf",
        "a\nb",
        "nul\x00",
        "x" * 500,
        "..\\..",
        "%2e%2e",
    ]
)


@settings(max_examples=1000)
@given(HOSTILE)
def test_no_name_leads_out_of_the_output_folder(name):
    out = Path("/tmp/out")
    assert is_safe_name(safe_name(name, "camera"))
    assert inside(out, safe_name(name, "camera")).parent == out
    assert is_safe_name(stem(name))
    if is_safe_name(name):
        assert inside(out, name, "tracks.txt").is_relative_to(out)
    try:
        (spec,) = specify((), [f"{name}=video.mp4"])
        assert is_safe_name(spec.name)
    except UsageError as error:
        assert "\n" not in str(error) or "\n" in name
    with contextlib.suppress(OutputError, ValueError):  # ValueError: a null character
        assert inside(out, name).resolve().is_relative_to(out.resolve())


@given(st.lists(st.lists(st.sampled_from(["a", "b", "run", "x y", "ä"]), min_size=1, max_size=4), min_size=1, max_size=6))
def test_labels_of_runs_differ_and_are_safe(places):
    folders = [Path("/r", *parts) for parts in places]
    if len(set(folders)) < len(folders):
        with pytest.raises(UsageError, match="the same run as"):
            run_labels(folders)
    else:
        labels = run_labels(folders)
        assert len(set(labels)) == len(labels) and all(map(is_safe_name, labels))


def test_runs_of_one_name_keep_their_tracks_apart(tmp_path, monkeypatch):
    visits = [("door", 1, 1, 50), ("door", 2, 10, 60)]
    for place in ("monday/out", "tuesday/out", "here"):
        recorded(tmp_path / place, visits)
    done = passerby("associate", tmp_path / "monday/out", tmp_path / "tuesday/out", "-o", tmp_path / "people")
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "people/identities.parquet").to_pylist()
    assert {row["camera"] for row in rows} == {"monday_out/door", "tuesday_out/door"}
    assert (tmp_path / "people/monday_out/door/tracks.global.txt").is_file()
    monkeypatch.chdir(tmp_path / "here")
    done = passerby("associate", ".", "../monday/out", "-o", "../dot")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "dot/here/door/tracks.global.txt").is_file()
    done = passerby("associate", ".", "../here", "-o", "../twice")
    assert done.returncode == 2 and "the same run as" in done.stderr
    (tmp_path / "link").symlink_to(tmp_path / "here")
    assert passerby("associate", ".", "../link", "-o", "../twice").returncode == 2


@pytest.mark.parametrize("name", ["../../evil", "/evil", "..", "a/b", "x\ny"])
def test_a_table_with_a_hostile_camera_is_refused(tmp_path, name):
    run = recorded(tmp_path / "run", [("door", 1, 1, 20)])
    table = pq.read_table(run / "tracklets.parquet")
    rows = [row | {"camera": name} for row in table.to_pylist()]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), run / "tracklets.parquet")
    before = set(tmp_path.rglob("*"))
    for words in (["associate", run, "-o", tmp_path / "o"], ["refine", run, "-o", tmp_path / "o"]):
        done = passerby(*words)
        assert done.returncode == 2 and "not safe as a file name" in done.stderr, done.stderr
    assert set(tmp_path.rglob("*")) - before <= {tmp_path / "o"}


def test_an_output_folder_may_have_a_colon(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorded(tmp_path / "run:10", [("door", 1, 1, 30), ("door", 2, 1, 30)])
    assert passerby("associate", "run:10", "-o", "people:1").returncode == 0
    assert passerby("refine", "run:10", "-o", "better:1").returncode == 0
    assert issubclass(OutputError, PasserbyError)
