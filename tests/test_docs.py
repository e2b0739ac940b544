"""What the documents say is what the program does."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip

import detectors
import pipeline
import reid
import tracker
from pipeline.config import load_config
from pipeline.formats.site_file import load_site

ROOT = Path(__file__).parent.parent
GENERATED = runpy.run_path(str(ROOT / "docs/generate.py"))["pages"]()


def python_blocks(path: str) -> list[str]:
    return re.findall(r"```python\n(.*?)```", (ROOT / path).read_text(), re.S)


def test_the_run_from_python_works(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("gate", "yard"):
        write_clip(tmp_path / f"{name}.mp4", [np.full((96, 160, 3), 90, np.uint8)] * 3, rate=10)
    exec(compile(python_blocks("README.md")[0], "README.md", "exec"), {})
    assert len(python_blocks("README.md")[0].splitlines()) == 5
    assert capsys.readouterr().out.splitlines()[0].startswith("gate 0 tracks in 3 frames")
    assert (tmp_path / "out/index.html").is_file()


def test_the_tracker_example_runs(capsys):
    exec(compile(python_blocks("README.md")[1], "README.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5
    assert all("track 1 at" in line for line in said)


def test_every_file_of_the_architecture_exists():
    """A newcomer's questions and the files that answer them."""
    text = (ROOT / "ARCHITECTURE.md").read_text()
    files = re.findall(r"`((?:pipeline|reid|detectors|tracker)/[\w/.]+)`", text)
    assert len(files) > 20
    assert [name for name in files if not (ROOT / name).exists()] == []
    for question in ("gate", "NMS", "new output format", "RTSP", "resume", "calibration", "time of a frame", "colours"):
        assert re.search(rf"\|[^|\n]*{question}[^|\n]*\|[^|\n]*`", text), question


def test_the_linkers_example_runs(capsys):
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/identities.md").read_text(), re.S)
    exec(compile(block, "identities.md", "exec"), {})
    assert capsys.readouterr().out.strip() == re.search(r"print\(identities\)  # (.*)", block)[1]


@pytest.mark.parametrize("path", GENERATED, ids=lambda path: path.name)
def test_what_is_generated_is_up_to_date(path):
    assert path.read_text(encoding="utf-8") == GENERATED[path], "run make docs"


def test_the_api_page_has_every_public_name_and_its_docstring():
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    for package in (pipeline, detectors, reid, tracker):
        for name in package.__all__:
            assert f"\n### {name}\n" in text
            assert getattr(package, name).__doc__.split("\n")[0].split("``")[0] in text, name
    assert "(docs/api.md)" in (ROOT / "README.md").read_text()


def test_every_setting_stands_in_the_document_with_its_default():
    text = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
    for group, values in load_config().as_dict().items():
        for key, value in values.items():
            shown = value if isinstance(value, str) else json.dumps(value)
            assert f"| `{group}.{key}` | `{shown}` |" in text


def test_a_schema_holds_the_bounds_and_units_that_an_editor_shows():
    known = json.loads((ROOT / "configs/run.schema.json").read_text(encoding="utf-8"))["$defs"]
    lost = known["TrackerSettings"]["properties"]["max_lost"]
    assert (lost["title"], lost["minimum"], lost["unit"], lost["default"]) == ("Maximum lost time", 0, "s", 10.0)


def test_no_figure_names_a_place_that_users_have_not():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert "../shared" not in path.read_text(), path


def test_the_site_example_is_valid():
    assert load_site(ROOT / "configs/site.example.yaml").link("yard", "door").typical_time is None
