"""Re-ID data sets in their published layouts, a user's own folders, archives, and pictures that cannot be read."""

from __future__ import annotations

import shutil
import tarfile
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

from reid.datasets import layouts
from reid.datasets.layouts import read_split, recognise, unpacked
from reid.datasets.split import load_pictures

NAMES = {
    "Market-1501": (["0002_c1s1_000451_03.jpg", "0002_c3s2_000001_01.jpg.jpg", "-1_c1s1_000401_03.jpg", "0000_c2s1_000001_01.jpg"], 3),
    "DukeMTMC-reID": (["0001_c2_f0046182.jpg", "0001_c8_f0046302.jpg", "0005_c2_f0046985.jpg"], 3),
    "CUHK03": (["0001_c1_1.png", "0001_c2_6.png"], 2),
}


def picture(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.full((16, 8, 3), 90, np.uint8))


def published(root: Path, name: str, monkeypatch) -> Path:
    names, _ = NAMES[name]
    layout = next(one for one in layouts.IN_FOLDERS if one.name == name)
    for part, folder in layouts.FOLDERS.items():
        for file in [*names, "Thumbs.db"]:
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / file).touch() if file == "Thumbs.db" else picture(root / folder / file)
        monkeypatch.setitem(layout.counts, part, (len(names),))
    return root


@pytest.mark.parametrize("name", NAMES)
def test_published_layouts_are_recognised(tmp_path, monkeypatch, name):
    root = published(tmp_path / "set", name, monkeypatch)
    assert recognise(root).name == name
    for part in layouts.FOLDERS:
        split = read_split(root, part)
        assert len(split.paths) == len(split.ids) == NAMES[name][1]
    if name == "Market-1501":
        by_name = {path.name: row for row, path in enumerate(split.paths)}
        row = by_name["0002_c3s2_000001_01.jpg.jpg"]
        assert (split.ids[row], split.cameras[row], split.sequences[row]) == (2, 3, 2)
        assert 0 in split.ids  # distractors stay, junk does not
        assert -1 not in split.ids


def test_published_counts():
    """As the papers and the data sets' pages give them."""
    assert layouts.MARKET.counts == {"train": (12936,), "query": (3368,), "gallery": (19732,)}
    assert layouts.DUKE.counts == {"train": (16522,), "query": (2228,), "gallery": (17661,)}
    assert layouts.MSMT17.counts == {"train": (30248 + 2373,), "query": (11659,), "gallery": (82161,)}
    assert layouts.CUHK03.counts["train"] == (7368, 7365)


def test_msmt17_is_read_from_its_lists(tmp_path, monkeypatch):
    for side in ("train", "test"):
        for name in ("0000/0000_000_01_0303morning_0015_0.jpg", "0001/0001_003_14_0303noon_0020_1.jpg"):
            picture(tmp_path / side / name)
    lines = "0000/0000_000_01_0303morning_0015_0.jpg 0\n0001/0001_003_14_0303noon_0020_1.jpg 1\n"
    for names in layouts.LISTS.values():
        for name in names:
            (tmp_path / name).write_text("" if name == "list_val.txt" else lines)
    for part in layouts.LISTS:
        monkeypatch.setitem(layouts.MSMT17.counts, part, (2,))
        split = read_split(tmp_path, part)
        assert split.ids.tolist() == [1, 2]
        assert split.cameras.tolist() == [1, 14]
        assert all(path.is_file() for path in split.paths)
    (tmp_path / "list_query.txt").write_text("0000/nonsense.jpg 0\n")
    with pytest.raises(ValueError, match=r"list_query.txt, line 1: '0000/nonsense.jpg 0' is not an image path and a label"):
        read_split(tmp_path, "query")


def test_own_people(tmp_path):
    for name in ("anna/door_1.jpg", "anna/door_2.jpg", "anna/hall_07_b.png", "ben/hall_1.jpg", "ben/notes.txt", ".cache/x_1.jpg"):
        picture(tmp_path / name) if name.endswith(("jpg", "png")) else (tmp_path / name).write_text("who is this")
    assert recognise(tmp_path) is layouts.OWN
    split = read_split(tmp_path, "train")
    assert split.ids.tolist() == [1, 1, 1, 2]
    assert split.cameras.tolist() == [1, 1, 2, 2]
    asked = read_split(tmp_path, "query")
    assert [path.name for path in asked.paths] == ["door_1.jpg", "hall_07_b.png", "hall_1.jpg"]


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_archives_are_unpacked_once(tmp_path, kind):
    for name in ("anna/door_1.jpg", "ben/hall_1.jpg"):
        picture(tmp_path / "source/people" / name)
    archive = Path(shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "source"))
    assert read_split(archive, "train").ids.tolist() == [1, 2]
    kept = unpacked(archive)
    assert kept == tmp_path / "set/people"
    (kept / "anna/door_1.jpg").unlink()
    assert read_split(archive, "train").ids.tolist() == [2]  # not unpacked again
    torn = tmp_path / "torn.tar.gz"
    torn.write_bytes(archive.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"torn.tar.gz: cannot be unpacked"):
        unpacked(torn)


def test_an_empty_folder_beside_an_archive_is_filled(tmp_path):
    picture(tmp_path / "source/people/anna/door_1.jpg")
    archive = Path(shutil.make_archive(str(tmp_path / "set"), "zip", tmp_path / "source"))
    (tmp_path / "set").mkdir()
    assert read_split(archive, "train").ids.tolist() == [1]


def test_an_archive_of_a_kind_that_is_not_known_is_told_and_leaves_nothing(tmp_path):
    path = tmp_path / "secret.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("anna/door_1.jpg", b"secret")
    content = bytearray(path.read_bytes())
    content[6] |= 1  # both headers say that the file is encrypted
    content[content.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"secret.zip: cannot be unpacked \(.*encrypted"):
        unpacked(path)
    assert list(tmp_path.iterdir()) == [path]


def test_people_are_found_among_other_folders_and_files(tmp_path):
    for number in range(30):
        (tmp_path / f"0{number:02d}").mkdir()
        (tmp_path / f"a{number:02d}.txt").touch()
    picture(tmp_path / "zoe/door_1.jpg")
    assert read_split(tmp_path, "train").ids.tolist() == [31]


def test_an_archive_writes_nowhere_else(tmp_path):
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        archive.add(__file__, "../outside.txt")
    with pytest.raises(ValueError, match="cannot be unpacked"):
        unpacked(tmp_path / "evil.tar")
    assert not (tmp_path.parent / "outside.txt").exists()


def test_what_is_wrong_is_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="no such folder"):
        read_split(tmp_path / "nowhere", "train")
    (tmp_path / "labeled").mkdir()
    with pytest.raises(ValueError, match=r"unrecognised dataset layout; known are Market-1501, .*choose one of its folders labeled"):
        read_split(tmp_path, "train")
    (tmp_path / "a.txt").touch()
    with pytest.raises(ValueError, match=r"not a folder, .zip or .tar archive"):
        read_split(tmp_path / "a.txt", "train")
    root = published(tmp_path / "set", "DukeMTMC-reID", monkeypatch)
    monkeypatch.setitem(layouts.DUKE.counts, "train", (16522,))
    with pytest.raises(ValueError, match="bounding_box_train: 3 images, but DukeMTMC-reID has 16522"):
        read_split(root, "train")
    shutil.rmtree(root / "query")
    with pytest.raises(FileNotFoundError, match="query: no such folder; DukeMTMC-reID has bounding_box_train, query, bounding_box_test"):
        read_split(root, "query")


def test_unreadable_pictures_are_named_and_left_out_and_many_are_an_error(tmp_path, caplog):
    for number in range(8):
        picture(tmp_path / f"anna/door_{number}.jpg")
    (tmp_path / "anna/door_3.jpg").write_bytes(b"torn")
    split, pictures = load_pictures(read_split(tmp_path, "train"), 16, 8)
    assert pictures.shape == (7, 16, 8, 3)
    assert len(split.paths) == 7
    assert "door_3.jpg: not a readable image, skipped" in caplog.text
    (tmp_path / "anna/door_5.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"door_3.jpg: not a readable image; nor are 1 more of 8"):
        load_pictures(read_split(tmp_path, "train"), 16, 8)
