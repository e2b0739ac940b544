"""Configuration: layers, line numbers, and what a typing mistake, an old name and another tool's name are told."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from detectors.training import recipe as detector_recipe
from pipeline.cli.checks import read_recipe
from pipeline.config import Config, load_config
from pipeline.errors import UsageError
from pipeline.formats.other_names import ELSEWHERE, RENAMED
from pipeline.formats.site_file import load_site
from pipeline.formats.validation import dotted_keys, model_in
from pipeline.formats.yaml_file import read_yaml
from reid.training import recipe as reid_recipe
from tracker import DeepSort, Site, TrackerSettings

ROOT = Path(__file__).parent.parent


def models(kind: type[BaseModel]):
    """A model and those in it."""
    yield kind
    for field in kind.model_fields.values():
        if (inner := model_in(field.annotation)) is not None:
            yield from models(inner)


EVERY = [*models(Config), *models(Site), *models(reid_recipe.Recipe), *models(detector_recipe.Recipe)]


def test_the_example_is_valid():
    config = load_config(ROOT / "configs/run.example.yaml")
    assert config.tracker.max_lost == 5


def test_layers_override_one_another(tmp_path):
    file = tmp_path / "c.yaml"
    file.write_text("tracker: {max_lost: 7, high_threshold: 0.55}\nreading: {every: 2}\n")
    config = load_config(file, ["tracker.max_lost=9"], {"reading.every": 3, "detector.model": None})
    assert (config.tracker.max_lost, config.tracker.high_threshold, config.reading.every) == (9, 0.55, 3)
    assert config.detector == load_config().detector
    assert load_config().as_dict()["tracker"]["gate"] is None


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_every_setting_is_described_and_frozen(kind):
    config = kind.model_config
    assert (config["frozen"], config["extra"], config["allow_inf_nan"]) == (True, "forbid", False)
    for name, field in kind.model_fields.items():
        if kind is not Config:  # its groups say it in their docstrings
            assert field.title, name
            assert field.description, name
            assert field.description.endswith("."), name


def test_a_change_is_validated():
    settings = TrackerSettings()
    assert settings.changed(max_lost=3).max_lost == 3
    assert settings.changed() == settings
    with pytest.raises(ValueError, match="max_lost"):
        settings.changed(max_lost=-1)
    with pytest.raises(ValueError, match="max_age"):
        DeepSort(max_age=30)
    with pytest.raises(ValueError, match="frozen"):
        settings.max_lost = 3.0


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("tracker.max_lots=3", "tracker.max_lots: unknown key; did you mean tracker.max_lost?"),
        ("max_lost=3", "max_lost: unknown key; did you mean tracker.max_lost?"),
        ("max_lots=3", "max_lots: unknown key; did you mean tracker.max_lost?"),
        ("trackr.gate=1", r"trackr: unknown key; did you mean tracker\?"),
        ("tracker.zzzz=1", "tracker.zzzz: unknown key; expected one of high_threshold, low_threshold, "),
        ("tracker.max_lost=soon", "tracker.max_lost: must be .*number.*'soon'"),
        ("tracker=3", "tracker: must be a group of keys .*, not 3"),
        ("tracker.high_threshold=7", "high_threshold: must be less than or equal to 1, not 7"),
        ("tracker.similarity=mean", "similarity: must be 'nearest' or 'ema', not 'mean'"),
        ("reading.every=0", "reading.every: must be greater than or equal to 1, not 0"),
        ("tracker.max_lost=[", "is not valid YAML"),
        ("tracker.max_lost=2026-02-31", "is not valid YAML"),
        ("tracker.gate=.nan", "tracker.gate: must be .*, not nan"),
        ("reid.batch=0", "reid.batch: must be greater than or equal to 1"),
        ("detector.confidence=5", "confidence: must be less than or equal to 1"),
        ("detector.iou.x=1", "detector.iou: must be a valid number"),
        ("reading.rate=.inf", "reading.rate: must be a finite number"),
        ("reading.every", "expected KEY=VALUE"),
        ("output.video=perhaps", "output.video"),
    ],
)
def test_mistakes_in_set_are_named(item, words):
    with pytest.raises(UsageError, match=f"^--set {re.escape(item)}: .*{words}"):
        load_config(sets=[item])


@pytest.mark.parametrize(
    ("item", "words"),
    [
        ("tracker.keep=5", "tracker.keep: unknown key; renamed to tracker.max_lost"),
        ("keep=5", "keep: unknown key; renamed to tracker.max_lost"),
        ("motion_gate.most=5", "renamed to motion_gate.max_skipped"),
        ("linker.most=5", "renamed to linker.max_people"),
        ("edge=5", "renamed to tracker.edge_margin or refine.edge_margin"),
        (
            "tracker.max_age=30",
            r"tracker.max_age: unknown key; the setting is tracker.max_lost \(max_age counts frames, max_lost counts seconds\)",
        ),
        ("max-age=30", "the setting is tracker.max_lost"),
        ("tracker.track_buffer=30", "frames at 30 per second"),
        ("tracker.track_thresh=0.5", "the setting is tracker.high_threshold$"),
        ("track_high_thresh=0.5", "the setting is tracker.high_threshold$"),
        ("match_thresh=0.8", r"tracker.match_limit \(match_thresh is an IoU distance, .* nats"),
        ("nn_budget=100", "the setting is tracker.gallery_size$"),
        ("max_cosine_distance=0.2", "the setting is tracker.gate"),
        ("n_init=3", "unknown key; n_init is fixed"),
        ("iou=0.5", "did you mean detector.iou?"),
        ("conf=0.5", "the setting is detector.confidence$"),
        ("imgsz=640", "the setting is detector.size$"),
        ("detector.half=true", "unknown key; the model file sets the precision"),
        ("classes=[0]", "detector.classes"),
        ("vid_stride=2", "the setting is reading.every$"),
    ],
)
def test_old_names_and_those_of_other_tools_lead_to_ours(item, words):
    with pytest.raises(UsageError, match=words):
        load_config(sets=[item])


def test_other_names_lead_to_keys_that_there_are():
    every = {*dotted_keys(Config), *dotted_keys(Site)}
    assert set(RENAMED.values()) <= every
    assert not set(RENAMED) & every
    leaves = {key.split(".")[-1] for key in dotted_keys(Config)}
    for name, here in ELSEWHERE.items():
        assert here.key in every, name
        assert name not in leaves, name
        assert set(re.findall(r"\b[a-z_]+\.[a-z_]+\b", here.difference)) <= every, name


def test_settings_that_fit_only_together_are_checked_together(tmp_path):
    assert load_config(sets=["tracker.low_threshold=0.65", "tracker.high_threshold=0.9"]).tracker.low_threshold == 0.65
    with pytest.raises(UsageError, match=r"^configuration: tracker: low_threshold \(0.65\) must not be over high_threshold \(0.6\)"):
        load_config(sets=["tracker.low_threshold=0.65"])
    file = tmp_path / "c.yaml"
    file.write_text("reading: {every: 2}\ntracker: {low_threshold: 0.65}\n")
    with pytest.raises(UsageError, match=r"c.yaml, line 2: tracker: low_threshold \(0.65\)"):
        load_config(file)
    assert load_config(file, ["tracker.high_threshold=0.9"]).tracker.low_threshold == 0.65


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trackr: {max_lost: 1}", "c.yaml, line 1: trackr: unknown key"),
        ("# a\ntracker:\n  # b\n  max_age: 30\n", "c.yaml, line 4: tracker.max_age: unknown key; the setting is tracker.max_lost"),
        ("a: [1", "c.yaml, line 1: not valid YAML"),
        ("reading:\n  start: 2026-02-31\n", "c.yaml: not valid YAML"),
        ("[" * 5000, "c.yaml: not valid YAML"),
        ("- 1", r"c.yaml, line 1: must be a group of keys \(detector, .*\), not \[1\]"),
        ("reading:\n  every: 2\ntracker:\n  gate: 0.3\n  max_lost: x\n", "c.yaml, line 5: tracker.max_lost: must be a valid number"),
        ("reading:\n  every: 2\n\ntracker:\n", "c.yaml, line 4: tracker: must be a group of keys"),
        ("reading:\n  every: 2\ntracker: {}\nreading: {}\n", "c.yaml, line 4: duplicate key 'reading', first on line 1; remove one"),
        ("tracker: {gate: 1,\n  gate: 1}", "c.yaml, line 2: duplicate key 'gate', first on line 1"),
        ("tracker: {gate: 1, gate: 1}", "c.yaml, line 1: duplicate key 'gate', first on line 1"),
        (
            "reading: &a\n  every: 0\nmotion_gate:\n  <<: *a\n",
            "c.yaml, line 2: motion_gate.every: unknown key; did you mean reading.every?",
        ),
        ("a: &a [*a]", "c.yaml, line 1: a: unknown key"),
    ],
)
def test_mistakes_in_the_file_are_named_with_their_line(tmp_path, text, words):
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_config(file)


def test_a_file_that_is_not_there_and_an_empty_one(tmp_path):
    with pytest.raises(UsageError, match="no such configuration file"):
        load_config(tmp_path / "none.yaml")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    assert load_config(tmp_path / "empty.yaml") == load_config()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "links:\n  - {start: a, end: b}\n  - {start: a, end: b, least: 4}\n",
            "line 3: links.1.least: unknown key; renamed to links.1.min_time",
        ),
        ("links:\n  - start: a\n    min_time: 4\n", "line 2: links.0.end: this key is required"),
        ("cameras:\n  a: {}\n  b:\n    ofset: 1\n", "line 4: cameras.b.ofset: unknown key; did you mean cameras.b.offset?"),
        ("cameras:\n  a:\n    ofset: 1\n    only:\n      - [[0, 0], [1, 0]]\n", "line 3: cameras.a.ofset"),
        ("cameras:\n  a:\n    only:\n      - [[0, 0], [1, 0]]\n", "line 4: cameras.a.only.0: .*at least 3 entries"),
        ("cameras: {a: {}}\nlinks: [{start: a, end: b}]\n", "site.yaml, line 1: links.0: no camera 'b'; there are a"),
    ],
)
def test_a_site_file_keeps_its_lines(tmp_path, text, words):
    file = tmp_path / "site.yaml"
    file.write_text(text)
    with pytest.raises(UsageError, match=words):
        load_site(file)


def test_a_recipe_keeps_its_lines(tmp_path):
    file = tmp_path / "r.yaml"
    file.write_text("height: 128\nlearning_rat: 0.1\n")
    with pytest.raises(UsageError, match=r"r.yaml, line 2: learning_rat: unknown key; did you mean learning_rate\?"):
        read_recipe(file, reid_recipe.Recipe, None)
    file.write_text("model: m.yaml\nstages:\n  - name: a\n  - name: b\n    frozen_stages: 20\n")
    with pytest.raises(UsageError, match=r"r.yaml, line 5: stages.1.frozen_stages: must be less than or equal to 19, not 20"):
        read_recipe(file, detector_recipe.Recipe, None)


@pytest.mark.parametrize("path", sorted(ROOT.glob("configs/*/*.yaml")), ids=lambda path: path.stem)
def test_the_recipes_are_valid(path):
    kinds = {"reid": reid_recipe.Recipe, "distillation": reid_recipe.DistilRecipe, "detector": detector_recipe.Recipe}
    if "model" in path.stem:
        assert read_yaml(path, "model").values
    else:
        assert read_recipe(path, kinds[path.parent.name], 3).threads == 3
