"""The journal: records survive a torn end, and another run's journal is refused."""

from __future__ import annotations

import numpy as np
import pytest

from detectors import Detections
from pipeline.engine.journal import Journal
from pipeline.engine.step import Step
from pipeline.errors import UsageError


def step(index: int) -> Step:
    rng = np.random.default_rng(index)
    boxes = np.sort(rng.uniform(0, 100, (3, 2, 2)), axis=1).reshape(3, 4).astype(np.float32)
    found = {"a": Detections(boxes, rng.random(3)), "b": Detections.empty()}
    return Step({"a": index, "b": index}, found, {"a": {1: rng.random(8).astype(np.float32)}, "b": {}})


def record(path, count):
    journal = Journal(path, "key", resume=False)
    for index in range(count):
        journal.write(step(index))
    journal.close(remove=False)


def replayed(path):
    journal = Journal(path, "key", resume=True)
    steps = []
    while (one := journal.replay()) is not None:
        steps.append(one)
    return journal, steps


def test_steps_come_back_to_the_bit(tmp_path):
    record(tmp_path / "j", 4)
    journal, steps = replayed(tmp_path / "j")
    assert [one.frames for one in steps] == [{"a": index, "b": index} for index in range(4)]
    for index, one in enumerate(steps):
        np.testing.assert_array_equal(one.detections["a"].boxes, step(index).detections["a"].boxes)
        np.testing.assert_array_equal(one.embeddings["a"][1], step(index).embeddings["a"][1])
        assert len(one.detections["b"]) == 0
    journal.close(remove=True)
    assert not (tmp_path / "j").exists()


@pytest.mark.parametrize("cut", [1, 5, 9, 40])
def test_a_torn_record_is_dropped_and_writing_goes_on(tmp_path, cut):
    path = tmp_path / "j"
    record(path, 3)
    path.write_bytes(path.read_bytes()[:-cut])
    journal, steps = replayed(path)
    assert len(steps) == 2
    journal.write(step(7))
    journal.close(remove=False)
    assert [one.frames["a"] for one in replayed(path)[1]] == [0, 1, 7]


def test_another_runs_journal_is_refused(tmp_path):
    record(tmp_path / "j", 1)
    with pytest.raises(UsageError, match="other sources, models or settings"):
        Journal(tmp_path / "j", "another", resume=True)
