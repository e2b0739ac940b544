"""A linker that is saved and restored decides as one that never stopped; other files are refused without running code."""

from __future__ import annotations

import pickle

import numpy as np

from pipeline.live.state import restored, save
from tracker import Linker, Site, TrackletUpdate


def updates(seed: int) -> list[TrackletUpdate]:
    rng = np.random.default_rng(seed)
    people = rng.normal(size=(6, 16))
    out = []
    for track in range(60):
        look = people[track % 6] + rng.normal(0, 0.2, 16)
        start = track * 4.0
        unit = (look / np.linalg.norm(look)).astype(np.float32)
        out.append(TrackletUpdate(f"cam{track % 3}", track, start, start + 6, unit, 5.0, np.array([[start, 10.0, 20.0]])))
    return out


def decided(linker: Linker, some: list[TrackletUpdate]) -> list[str]:
    keys = []
    for update in some:
        linker.add([update])
        keys += [event.key for event in linker.advance(update.end)]
    return keys


def test_a_restored_linker_goes_on_as_if_it_had_not_stopped(tmp_path):
    path, every = tmp_path / "linker.state", updates(3)
    whole = Linker(Site())
    expected = decided(whole, every) + [event.key for event in whole.finish()]
    first = Linker(Site())
    keys = decided(first, every[:30])
    save(path, first, "model")
    second = restored(path, Linker(Site()), "model")
    assert second is not first
    keys += decided(second, every[30:]) + [event.key for event in second.finish()]
    assert keys == expected
    assert second.identities == whole.identities


class Evil:
    def __reduce__(self):
        return print, ("run",)


def test_other_files_start_anew_and_run_nothing(tmp_path, caplog, capsys):
    path, new = tmp_path / "linker.state", Linker()
    assert restored(path, new, "m") is new and not caplog.records
    save(path, Linker(), "another model")
    assert restored(path, new, "m") is new
    for content in (b"", b"junk", pickle.dumps((1, "m", Evil())), pickle.dumps((1, "m", print)), path.read_bytes()[:-20]):
        path.write_bytes(content)
        assert restored(path, new, "m") is new
    assert len(caplog.records) == 6
    assert "run" not in capsys.readouterr().out
