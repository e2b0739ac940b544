"""The import contracts of pyproject.toml: they hold, and a forbidden import breaks them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("pipeline", "reid", "detectors", "tracker")
LINT = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]


def lint(root: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(LINT, cwd=root, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(root)})


@pytest.fixture
def copy(tmp_path) -> Path:
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("weights", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_the_contracts_hold(copy):
    done = lint(copy)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("file", "line", "broken"),
    [
        ("pipeline/formats/colours.py", "import pipeline.engine.step", "pipeline.formats -> pipeline.engine"),
        ("pipeline/engine/step.py", "import pipeline.cli.app", "pipeline.engine -> pipeline.cli"),
        ("tracker/following/costs.py", "import reid.embedder", "tracker -> reid"),
        ("reid/embedder.py", "import torch", "torch"),
    ],
)
def test_a_forbidden_import_fails(copy, file, line, broken):
    path = copy / file
    path.write_text(path.read_text() + f"\n{line}  # forbidden\n")
    done = lint(copy)
    assert done.returncode == 1, done.stdout + done.stderr
    first, _, second = broken.partition(" -> ")
    assert first in done.stdout and second in done.stdout
