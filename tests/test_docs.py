"""What the documents say is what the program does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
from clips import write_clip

from pipeline.config import load_config
from pipeline.formats.site_file import load_site
from tracker import Site

ROOT = Path(__file__).parent.parent


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
    assert all("person 1 at" in line for line in said)


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


def test_every_setting_stands_in_the_document_with_its_default():
    text = (ROOT / "docs/configuration.md").read_text()
    for group, values in load_config().as_dict().items():
        for key, value in values.items():
            assert f"| `{group}.{key}` | `{value}` |" in text


def test_no_figure_names_a_place_that_users_have_not():
    for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        assert "../shared" not in path.read_text(), path


def test_the_site_schema_is_the_models():
    assert json.loads((ROOT / "configs/site.schema.json").read_text()) == Site.model_json_schema()
    assert load_site(ROOT / "configs/site.example.yaml").link("yard", "door").typical is None
