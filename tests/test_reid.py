"""Re-ID at run time: crops, bundles, and the evaluator's hand-worked figures."""

from __future__ import annotations

import json
import subprocess

import numpy as np
import pytest

import detectors.load
from detectors.runtime.checkout import commit
from detectors.runtime.errors import ModelError
from reid import Embedder
from reid.bundle import KEY, SEAL
from reid.embedder import crop_boxes
from reid.evaluation.rerank import reranked
from reid.evaluation.retrieval import average_precision, retrieval
from reid.shipped import LAST_COMMIT, RENAMED, REPLACED, WEIGHTS, bundle_path, shipped
from reid.training.batches import augment, pk_batches


@pytest.fixture(scope="module")
def embedder():
    return Embedder()


def test_crops_of_any_size_give_unit_rows(embedder):
    rng = np.random.default_rng(0)
    crops = [rng.integers(0, 255, shape, np.uint8) for shape in ((1, 1, 3), (300, 90, 3), (64, 32, 3), (90, 40))]
    rows = embedder.embed(crops)
    assert rows.shape == (4, embedder.dimension)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(embedder.embed(crops[1:2]), rows[1:2], atol=1e-5)  # the batch changes nothing
    assert embedder.embed([]).shape == (0, embedder.dimension)
    with pytest.raises(ValueError, match=r"put a single one of \(64, 32, 3\) in a list"):
        embedder.embed(crops[2])


def test_boxes_over_the_edge_thin_and_outside_are_defined(embedder):
    frame = np.random.default_rng(1).integers(0, 255, (100, 80, 3), np.uint8)
    boxes = np.array([[-20, -20, 30, 60], [70, 90, 200, 300], [10, 10, 10, 10], [500, 500, 600, 600], [20.4, 10, 20.6, 50]], np.float32)
    shapes = [crop.shape[:2] for crop in crop_boxes(frame, boxes)]
    assert shapes == [(60, 30), (10, 10), (1, 1), (1, 1), (40, 1)]
    assert np.isfinite(embedder.embed_boxes(frame, boxes)).all()
    with pytest.raises(ValueError, match="box 1 is not finite"):
        embedder.embed_boxes(frame, np.array([[0, 0, 1, 1], [np.nan, 0, 1, 1]]))
    assert embedder.embed_boxes(frame, np.array([])).shape == (0, embedder.dimension)
    with pytest.raises(ValueError, match=r"boxes must be \(n, 4\), not \(4,\)"):
        embedder.embed_boxes(frame, np.array([0, 0, 10, 10]))


def test_models_that_are_no_bundle_are_named(tmp_path):
    with pytest.raises(ModelError, match="no such model file"):
        Embedder(str(tmp_path / "none.onnx"))
    with pytest.raises(ModelError, match="not a re-ID bundle"):
        from detectors.load import WEIGHTS

        Embedder(str(WEIGHTS / "person-s.onnx"))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"dimension": 99}, "the model gives .*384.*metadata state 99"),
        ({"height": 192}, "the model takes .*256.*metadata state 3 x 192 x 128"),
        ({"format": 2}, "bundle metadata format"),
        ({"calibration": None}, "bundle metadata calibration"),
        ({"colour": "HSV"}, "bundle metadata colour"),
    ],
)
def test_metadata_that_do_not_fit_are_named(tmp_path, embedder, change, words):
    onnx = pytest.importorskip("onnx", reason="writing a bundle needs the extra [train]")
    model = onnx.load(embedder.session.path)
    onnx.helper.set_model_props(model, {KEY: json.dumps(embedder.facts.model_dump() | change)})
    onnx.save(model, tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match=words):
        Embedder(str(tmp_path / "odd.onnx"))


def test_a_bundle_that_is_not_as_it_was_written_is_told(tmp_path, embedder):
    content = bytearray(embedder.session.path.read_bytes())
    content[len(content) // 2] ^= 1  # in the weights: onnxruntime opens it all the same
    (tmp_path / "damaged.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"damaged.onnx: checksum mismatch"):
        Embedder(str(tmp_path / "damaged.onnx"))


@pytest.mark.parametrize("name", shipped())
def test_shipped_bundles_carry_their_hash_and_a_card(name):
    embedder = Embedder(name)
    assert SEAL in embedder.session.metadata
    card = embedder.session.path.with_suffix(".md").read_text()
    assert f"# {name}\n" in card
    for said in ("research only", "must not be used", "Market-1501 test", "`passerby reid"):
        assert said in card


def test_earlier_names_resolve_or_name_their_replacement(caplog):
    with caplog.at_level("INFO"):
        for old, new in RENAMED.items():
            assert bundle_path(old) == WEIGHTS / f"{new}.onnx"
            assert f"{old} is now called {new}" in caplog.text
    for old, new in REPLACED.items():
        assert new in shipped()
        with pytest.raises(ModelError, match=rf"{old}' is no longer shipped: use {new}.*commit {LAST_COMMIT}"):
            Embedder(old)
    with pytest.raises(ModelError, match="'mpn-xl': unknown; shipped are mpn-int8, mpn-m, mpn-s"):
        Embedder("mpn-xl")


def test_the_weights_leave_room_in_a_wheel_of_32_mb():
    files = [path for folder in (WEIGHTS, detectors.load.WEIGHTS) for path in folder.glob("*.onnx")]
    assert sum(path.stat().st_size for path in files) < 30e6


def test_both_definitions_of_average_precision_by_hand():
    # positives at ranks 1, 3 and 6: precisions 1, 2/3, 1/2; before them 1, 1/2, 2/5
    rank_sum, trapezoid = average_precision(np.array([0, 2, 5]))
    assert rank_sum == pytest.approx((1 + 2 / 3 + 1 / 2) / 3)
    assert trapezoid == pytest.approx((1 + (2 / 3 + 1 / 2) / 2 + (1 / 2 + 2 / 5) / 2) / 3)


def test_the_protocol_leaves_out_the_same_camera_and_queries_without_a_positive():
    query = np.eye(3, dtype=np.float32)[:2]
    gallery = np.array([[1, 0, 0], [0.6, 0.8, 0], [0.8, 0, 0.6], [0, 1, 0]], np.float32)
    scores = retrieval(query, np.array([1, 2]), np.array([1, 1]), gallery, np.array([1, 1, 3, 2]), np.array([1, 2, 2, 1]))
    # query 1: gallery 0 is its own camera; then id 3 (0.8) before id 1 (0.6): rank 2. Query 2 has its own camera's alone.
    assert scores.queries == 1
    assert scores.rank1 == 0
    assert scores.map == pytest.approx(0.5)
    with pytest.raises(ValueError, match="no query"):
        retrieval(query[1:], np.array([2]), np.array([1]), gallery, np.array([1, 1, 3, 2]), np.array([1, 2, 2, 1]))


def test_augmentation_moves_by_whole_pixels_and_takes_the_colour_of_a_share_of_pictures():
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (40, 24, 12, 3), np.uint8)
    shown, how = augment(pictures, np.random.default_rng(1), flip=0.5, pad=3, erase=0, jitter=0, gray=0.4)
    colourless = np.ptp(shown, 3).max((1, 2)) < 1e-3
    assert 5 < colourless.sum() < 30
    for row in np.flatnonzero(~colourless):
        down, right = int(how.down[row]), int(how.right[row])
        padded = np.pad(pictures[row], ((3, 3), (3, 3), (0, 0)))[3 + down : 27 + down, 3 + right : 15 + right]
        np.testing.assert_array_equal(shown[row], padded[:, ::-1] if how.mirrored[row] else padded)


def test_batches_hold_an_identity_once_and_an_epoch_shows_each_picture():
    labels = np.repeat(np.arange(20), np.random.default_rng(0).integers(1, 9, 20))
    seen = []
    for rows in pk_batches(labels, 4, 4, np.random.default_rng(0)):
        assert len(rows) == 16
        assert len(set(labels[rows].tolist())) == 4
        assert all(len(set(chunk)) == 1 for chunk in labels[rows].reshape(4, 4).tolist())
        seen += rows.tolist()
    assert len(set(seen)) > 0.6 * len(labels)


def test_batches_fill_with_those_most_alike_while_they_last():
    labels = np.repeat(np.arange(20), 8)  # two chunks each
    near = (np.arange(20)[:, None] // 4 * 4 + (np.arange(20)[:, None] + [1, 2, 3]) % 4).astype(int)  # five groups of four
    batches = [labels[rows].reshape(6, 4)[:, 0] for rows in pk_batches(labels, 6, 4, np.random.default_rng(1), near)]
    assert set((batches[0][:4] // 4).tolist()) == {batches[0][0] // 4}
    shown = np.concatenate(batches)
    assert len(shown) >= 36 and np.bincount(shown).max() == 2  # an epoch is still an epoch


def test_reranking_equals_the_papers_arithmetic_on_a_small_set():
    """Against the published algorithm written out densely."""
    rng = np.random.default_rng(3)
    people = rng.normal(size=(6, 12))
    ids = np.repeat(np.arange(6), 7)
    rows = people[ids] + rng.normal(0, 0.8, (42, 12))
    rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    query, gallery = rows[::7], np.delete(rows, np.arange(0, 42, 7), axis=0)
    every = np.concatenate([query, gallery])
    k1, k2, weight, n = 6, 3, 0.3, len(every)
    original = np.maximum(2 - 2 * every @ every.T, 0)
    np.fill_diagonal(original, 0)
    ranks = np.argsort(original - 2 * np.eye(n), axis=1, kind="stable")
    code = np.zeros((n, n))

    def mutual(row, k):
        return {int(other) for other in ranks[row, : k + 1] if row in ranks[other, : k + 1]}

    for row in range(n):
        members = mutual(row, k1)
        for other in sorted(members):
            theirs = mutual(other, round(k1 / 2))
            if len(theirs & mutual(row, k1)) > 2 / 3 * len(theirs):
                members |= theirs
        members = sorted(members)
        w = np.exp(-original[row, members] / original[row].max())
        code[row, members] = w / w.sum()
    code = np.stack([code[ranks[row, :k2]].mean(0) for row in range(n)])
    least = np.minimum(code[: len(query), None], code[None, len(query) :]).sum(2)
    plain = 2 - 2 * query @ gallery.T
    expected = -((1 - weight) * (1 - least / (2 - least)) + weight * plain / plain.max(1, keepdims=True))
    np.testing.assert_allclose(reranked(query, gallery, k1, k2, weight), expected, atol=1e-5)


def test_a_commit_is_of_this_project_and_not_of_the_folder_it_runs_in(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    own = commit()
    monkeypatch.chdir(tmp_path)
    assert commit() == own
    assert own is None or len(own) == 40  # None where the sources are no checkout
    monkeypatch.setenv("PATH", "")  # a machine without git
    assert commit() is None
