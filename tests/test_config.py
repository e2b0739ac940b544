"""Configuration: layers, and what a typing mistake is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import load_config
from pipeline.errors import UsageError


def test_the_example_is_valid():
    config = load_config(Path(__file__).parent.parent / "configs/run.example.yaml")
    assert config.tracker.keep == 5


def test_layers_override_one_another(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("tracker: {keep: 7, high: 0.55}\nreading: {every: 2}\n")
    config = load_config(file, ["tracker.keep=9"], {"reading.every": 3, "detector.model": None})
    assert (config.tracker.keep, config.tracker.high, config.reading.every) == (9, 0.55, 3)
    assert config.detector == load_config().detector
    assert load_config().as_dict()["tracker"]["gate"] is None


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("tracker.kepp=3", "unknown key 'tracker.kepp'; did you mean 'tracker.keep'"),
        ("keep=3", "did you mean 'tracker.keep'"),
        ("tracker.keep=soon", "tracker.keep: .*number.*'soon'"),
        ("tracker=3", "tracker must be a group of keys"),
        ("tracker.high=7", r"high must be in 0\.\.1, not 7"),
        ("reading.every=0", "reading.every: .*greater than or equal to 1, not 0"),
        ("tracker.keep=[", "is not a value"),
        ("tracker.gate=.nan", "gate must be a cosine distance"),
        ("reid.batch=0", "batch must be at least 1"),
        ("detector.confidence=5", r"confidence must be in 0\.\.1"),
        ("reading.rate=.inf", "reading.rate"),
        ("reading.every", "write it as dotted.key=value"),
        ("output.video=perhaps", "output.video"),
    ],
)
def test_mistakes_in_set_are_named(item, words):
    with pytest.raises(UsageError, match=words):
        load_config(sets=[item])


def test_settings_that_fit_only_together_are_checked_together(tmp_path):
    assert load_config(sets=["tracker.low=0.65", "tracker.high=0.9"]).tracker.low == 0.65
    with pytest.raises(UsageError, match=r"low \(0.65\) must not be over high"):
        load_config(sets=["tracker.low=0.65"])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trackr: {keep: 1}", "c.yaml: unknown key 'trackr'"),
        ("a: [1", "c.yaml, line"),
        ("- 1", "group of keys"),
        ("tracker: {keep: x}", "c.yaml: tracker.keep"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, text, words):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_config(file)
    with pytest.raises(UsageError, match="no such"):
        load_config(tmp_path / "none.yaml")
