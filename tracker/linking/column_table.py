"""What the linker remembers, as tables of contiguous columns: how tracklets look, and who was where when."""

from __future__ import annotations

from typing import Any

import numpy as np


class Table:
    """Row-aligned columns that grow by doubling; ``used`` (capacity,) bool says which rows hold something."""

    def __init__(self, **empty: np.ndarray) -> None:
        self._empty = empty  # per column a row that holds nothing: its shape, type and value
        self._columns = {name: np.zeros((0, *row.shape), row.dtype) for name, row in empty.items()}
        self.used = np.zeros(0, bool)
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self.used) - len(self._free)

    def __getitem__(self, column: str) -> np.ndarray:
        return self._columns[column]

    def add(self, **values: Any) -> int:
        """A new row; its number stays the same until ``drop``."""
        if not self._free:
            held, more = len(self.used), max(64, len(self.used))
            for name, empty in self._empty.items():
                self._columns[name] = np.concatenate([self._columns[name], np.broadcast_to(empty, (more, *empty.shape))])
            self.used = np.concatenate([self.used, np.zeros(more, bool)])
            self._free = list(range(held + more - 1, held - 1, -1))
        row = self._free.pop()
        self.used[row] = True
        self.put(row, **values)
        return row

    def widen(self, *names: str, width: int) -> None:
        """Give vector columns that held nothing ``width`` entries."""
        for name in names:
            self._empty[name] = np.zeros(width, self._empty[name].dtype)
            self._columns[name] = np.zeros((len(self.used), width), self._empty[name].dtype)

    def put(self, row: int, **values: Any) -> None:
        for name, value in values.items():
            self._columns[name][row] = value

    def drop(self, row: int) -> None:
        for name, empty in self._empty.items():
            self._columns[name][row] = empty
        self.used[row] = False
        self._free.append(row)


def looks_table(dimension: int) -> Table:
    """A row is a tracklet with an identity, or several settled ones of a person in a camera.

    ``known``: it has an embedding, ``unit`` (d,); ``sum``: the same before normalisation, weighted by quality; ``scale``: 1 over its distance from
    what its camera sees in all; ``start``, ``end``: of its latest sighting.
    """
    zero, never = np.zeros(dimension, np.float32), np.array(-np.inf)
    return Table(
        known=np.array(False),
        unit=zero,
        sum=zero,
        person=np.array(-1),
        camera=np.array(-1),
        start=never,
        end=never,
        scale=np.array(0, np.float32),
    )


def sightings_table() -> Table:
    """A row is a tracklet with an identity: by which camera, when, and the row of its looks."""
    return Table(look=np.array(-1), camera=np.array(-1), start=np.array(np.inf), end=np.array(-np.inf))
