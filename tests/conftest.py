"""Paths that tests share; data that a fresh machine has not is skipped, with the reason."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("same", derandomize=True)  # a failure here is a failure anywhere
settings.load_profile("same")

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip("the reference data sets are not on this machine")
    return SHARED
