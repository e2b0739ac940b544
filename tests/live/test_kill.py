"""The process is killed at any moment: what was closed is whole, what was open is kept, and no number is used twice."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from live.footage import encode
from live.rtsp_camera import RtspCamera
from live.test_service import wait, walkers
from pipeline.formats.mot import read_tracks
from pipeline.formats.tracklet_table import read_tracklets


def live(site: Path, out: Path) -> subprocess.Popen:
    settings = ["live.stall=2", "linker.lateness=0.5", "linker.step=0.5", "detector.size=416", "live.segment=6", "live.save=2"]
    words = ["live", str(site), "-o", str(out), "--detector", "person-n", *(word for one in settings for word in ("--set", one))]
    return subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli.app", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ)
    )


def events(out: Path) -> list[dict]:
    """Whole lines only: the last one of a killed process may be torn by the disk, never by us."""
    return [json.loads(line) for path in sorted(out.glob("events-*.jsonl")) for line in path.read_text().splitlines()]


@pytest.mark.slow
def test_killed_twice_and_started_again(tmp_path):
    site, out = tmp_path / "site.yaml", tmp_path / "live"
    with RtspCamera(encode(walkers(0), fps=8, gop=8)) as gate:
        site.write_text(f"cameras: {{gate: {{url: '{gate.url}'}}}}\n")
        given: list[set[tuple[str, int]]] = []
        tracks: list[set[int]] = []
        for times in range(3):
            process = live(site, out)
            try:
                before = len(events(out)) if out.exists() else 0
                closed = len([one for one in out.glob("segments/*") if not one.suffix])

                def grown(before=before, closed=closed) -> bool:
                    decided = [one for one in events(out)[before:] if one["kind"] == "assigned"]
                    return len(decided) >= 2 and len([one for one in out.glob("segments/*") if not one.suffix]) > closed

                wait(grown, 60, process)
                time.sleep(0.7)
                process.send_signal(signal.SIGTERM if times == 2 else signal.SIGKILL)
                process.wait(30)
            finally:
                process.kill()
            new = events(out)[before:]
            given.append({("person", one["identity"]) for one in new if one["kind"] == "assigned" and not one["reasons"]})
            tracks.append({one["track"] for one in new if one["kind"] == "track_started"})
    assert not tracks[0] & tracks[1] and not tracks[1] & tracks[2] and not tracks[0] & tracks[2]
    assert not given[0] & given[1] and not given[1] & given[2]  # persons of their own: each number is new
    segments = sorted((out / "segments").iterdir())
    assert [one.suffix for one in segments].count(".interrupted") <= 2 and not any(one.suffix == ".open" for one in segments)
    assert sum(len(read_tracks(one / "gate/tracks.txt")) for one in segments) > 0
    for one in segments:
        read_tracks(one / "gate/tracks.txt")
        if not one.suffix:
            read_tracklets(one / "tracklets.parquet")
