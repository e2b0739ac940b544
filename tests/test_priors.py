"""Coarse priors: from drawn silhouettes to bands and masks, transformed with their images, stored and read; ultralytics' results as bodies."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from command import passerby
from hypothesis import given
from hypothesis import strategies as st

from reid.shipped import WEIGHTS
from reid.training.batches import augment
from reid.training.priors import HEIGHT, WIDTH, Bodies, bands, body_parts, body_range, read_bodies, stripes, transform_bodies, write_bodies


def silhouette(top: float, bottom: float, height: int = 128, width: int = 64) -> np.ndarray:
    """A standing body between ``top`` and ``bottom`` of a crop, its middle half."""
    mask = np.zeros((height, width), bool)
    mask[round(top * height) : round(bottom * height), width // 4 : 3 * width // 4] = True
    return mask


def bodies(*masks: np.ndarray) -> Bodies:
    small = [cv2.resize(mask.astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) >= 0.5 for mask in masks]
    return Bodies(np.stack([body_range(mask) for mask in masks]), np.stack(small))


def test_bands_lie_between_the_bodys_own_ends():
    masks, there = body_parts(bodies(silhouette(0.25, 0.75)), 4, 16, 8, foreground=False)
    assert masks.shape == (1, 4, 16, 8)
    assert [np.flatnonzero(masks[0, k, :, 0]).tolist() for k in range(4)] == [[4, 5], [6, 7], [8, 9], [10, 11]]
    assert there.all()


def test_a_mask_leaves_the_background_out():
    masks, there = body_parts(bodies(silhouette(0, 1)), 2, 8, 8, foreground=True)
    assert (masks.sum(1)[0, :, :2] == 0).all()
    assert (masks.sum(1)[0, :, 2:6] == 1).all()
    assert there.all()


def test_parts_out_of_the_picture_or_without_foreground_are_missing():
    shown = bodies(silhouette(0.5, 1.0))
    cut = Bodies(np.array([[0.5, 1.5]], np.float32), shown.masks)  # the feet are below the picture
    assert body_parts(cut, 4, 16, 8, foreground=False)[1].tolist() == [[True, True, False, False]]
    upper = shown.masks.copy()
    upper[:, 24:] = False
    masks, there = body_parts(Bodies(shown.ranges, upper), 4, 16, 8, foreground=True)
    assert there.tolist() == [[True, True, False, False]]
    assert masks[0, 2:].sum() == 0


def test_whole_bodies_give_stripes():
    masks, there = body_parts(Bodies.whole(2), 3, 7, 4, foreground=True)
    np.testing.assert_array_equal(masks[1], stripes(3, 7, 4))
    assert there.all()


@given(st.floats(-0.3, 1), st.floats(0.05, 1.2), st.integers(1, 6), st.integers(3, 24))
def test_bands_cover_the_body_and_nothing_else(top, tall, parts, height):
    rows = bands(np.array([[top, top + tall]]), parts, height)[0]
    covered = np.flatnonzero(rows.any(0))
    first, last = max(int(np.floor(top * height + 1e-6)), 0), min(int(np.ceil((top + tall) * height - 1e-6)), height)
    assert covered.tolist() == list(range(first, max(first, last)))


@pytest.mark.parametrize("zoom", [0, 0.2])
def test_bodies_move_as_their_images_do(zoom):
    """The mask of a transformed image is the transformed mask: each image is its own mask here."""
    rng = np.random.default_rng(3)
    drawn = [silhouette(*np.sort(rng.uniform(0.1, 0.9, 2) * [1, 1.1])) for _ in range(32)]
    for mask in drawn:
        mask[:, 20 + int(rng.integers(0, 20)) :] = False  # not symmetric
    known = bodies(*drawn)
    images = np.repeat(np.stack(drawn)[..., None], 3, 3).astype(np.uint8) * 255
    shown, geometry = augment(images, rng, flip=0.5, pad=12, erase=0, jitter=0, zoom=zoom)
    assert geometry.mirrored.any()
    assert not geometry.mirrored.all()
    expected = bodies(*(shown[..., 0] > 127))
    after = transform_bodies(known, geometry, 128, 64)
    assert (after.masks == expected.masks).mean() > 0.97
    inside = (after.ranges[:, 0] > 0) & (after.ranges[:, 1] < 1)
    np.testing.assert_allclose(after.ranges[inside], expected.ranges[inside], atol=0.01 + zoom / 20)


def test_stored_and_read(tmp_path):
    known = bodies(silhouette(0.2, 0.8), silhouette(0.1, 0.5))
    write_bodies(tmp_path, ["a/1.jpg", "a/2.jpg"], known)
    found = read_bodies(tmp_path, ["a/2.jpg", "a/3.jpg", "a/1.jpg"])
    np.testing.assert_array_equal(found.masks[[2, 0]], known.masks)
    np.testing.assert_array_equal(found.ranges[1], [0, 1])  # unknown: the whole picture
    with pytest.raises(ValueError, match=r"has 0 of 2 images; run passerby reid priors again"):
        read_bodies(tmp_path, ["b/1.jpg", "b/2.jpg"])
    for content in (b"", b"no archive"):
        (tmp_path / "priors.npz").write_bytes(content)
        with pytest.raises(ValueError, match=r"priors.npz: not written by passerby reid priors .*; run it again"):
            read_bodies(tmp_path, ["a/1.jpg"])
    np.savez(tmp_path / "priors.npz", rows=np.zeros(3))
    with pytest.raises(ValueError, match=r"priors.npz: not written by passerby reid priors"):
        read_bodies(tmp_path, ["a/1.jpg"])
    with pytest.raises(FileNotFoundError, match="run passerby reid priors first"):
        read_bodies(tmp_path / "nowhere", ["a"])


def test_what_a_model_says_becomes_bodies():
    torch = pytest.importorskip("torch", reason="needs the extra [train]")
    pytest.importorskip("timm", reason="needs the extra [train]")
    from ultralytics.engine.results import Results

    from reid.training.silhouettes import read_results

    picture, mask = np.zeros((128, 64, 3), np.uint8), silhouette(0.25, 0.75)
    boxes = torch.tensor([[0.0, 0, 10, 20, 0.9, 0], [16, 32, 48, 96, 0.8, 0]])
    both = torch.stack([torch.zeros(128, 64), torch.from_numpy(mask).float()])
    points = torch.zeros(2, 17, 3)
    points[1, 0] = torch.tensor([32, 40, 0.9])  # nose
    points[1, 15] = torch.tensor([30, 104, 0.9])  # ankle
    seen = list(
        read_results(
            [
                Results(picture, "a", {0: "person"}, boxes=boxes, masks=both),
                Results(picture, "b", {0: "person"}, boxes=boxes, keypoints=points),
                Results(picture, "c", {0: "person"}, boxes=boxes[:0]),
            ]
        )
    )
    np.testing.assert_allclose(seen[0][0], [0.25, 0.75])
    assert seen[0][1].sum() == 16 * 8
    np.testing.assert_allclose(seen[1][0], [40 / 128 - 0.03, 104 / 128 + 0.02], atol=1e-6)
    assert seen[2] is None
    with pytest.raises(ValueError, match="boxes only; choose a segmentation model"):
        list(read_results([Results(picture, "d", {0: "person"}, boxes=boxes)]))


def test_the_command_stores_what_a_model_finds(tmp_path):
    """A real segmentation network, whose weights are chance: what it finds is stored, or the whole picture."""
    pytest.importorskip("timm", reason="needs the extra [train]")
    from ultralytics import YOLO

    for name in ("anna/door_1.jpg", "ben/door_1.jpg"):
        (tmp_path / name).parent.mkdir()
        cv2.imwrite(str(tmp_path / name), silhouette(0.2, 0.8).astype(np.uint8) * 200)
    YOLO("yolo11n-seg.yaml").save(tmp_path / "seg.pt")
    done = passerby("reid", "priors", "--data", tmp_path, "--model", tmp_path / "seg.pt")
    assert done.returncode == 0, done.stderr
    assert "of 2 images" in done.stdout.splitlines()[-1]
    assert read_bodies(tmp_path, ["anna/door_1.jpg", "ben/door_1.jpg"]).ranges.shape == (2, 2)
    other = passerby("reid", "priors", "--data", tmp_path, "--model", WEIGHTS / "mpn-s.onnx")
    assert other.returncode == 4
    assert "choose a segmentation or pose model" in other.stderr
    bad = passerby("reid", "priors", "--data", tmp_path, "--model", tmp_path / "none.pt")
    assert bad.returncode == 4
    assert "ultralytics cannot open it" in bad.stderr
