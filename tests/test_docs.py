"""What the documents say is what the program does."""

from __future__ import annotations

import json
import re
from pathlib import Path

from pipeline.config import load_config
from pipeline.formats.site_file import load_site
from tracker import Site

ROOT = Path(__file__).parent.parent


def test_the_readme_example_runs(capsys):
    readme = (ROOT / "README.md").read_text()
    (block,) = re.findall(r"```python\n(.*?)```", readme, re.S)
    exec(compile(block, "README.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 5
    assert all("person 1 at" in line for line in said)


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
