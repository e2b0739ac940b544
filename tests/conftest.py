"""Paths that tests share; data that a fresh machine has not is skipped, with the reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from detectors.runtime.session import Session

settings.register_profile("same", derandomize=True)  # a failure here is a failure anywhere
settings.load_profile("same")

SHARED = Path(__file__).resolve().parent.parent.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    if not (SHARED / "data").is_dir():
        pytest.skip("the reference data sets are not on this machine")
    return SHARED


LONGEST_FIRST = (
    "test_console_browser",
    "test_console",
    "test_end_to_end",
    "test_run",
    "test_model_commands",
    "test_streams",
    "test_live_run",
    "test_mpn",
    "test_linker",
    "test_heads",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first: two workers then end at about the same time."""
    order = {name: place for place, name in enumerate(LONGEST_FIRST)}
    items.sort(key=lambda item: order.get(item.path.stem, len(order)))


ACCELERATE = Session.accelerate


@pytest.fixture(autouse=True, scope="session")
def one_engine() -> Iterator[None]:
    """``auto`` does not measure which engine is faster: results then do not depend on the machine. ``test_engines`` tests that it does."""

    def by_name_only(session: Session, *given: Any) -> None:
        if session.device != "auto":
            ACCELERATE(session, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "accelerate", by_name_only)
        yield
