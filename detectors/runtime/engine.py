"""What runs a model: the interface that ONNX Runtime and OpenVINO share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np


@dataclass(frozen=True)
class Port:
    """An input or output of a model. ``shape``: whole numbers, anything else is a dimension of any size; ``type``: as its engine names it;
    ``kind``: as numpy does, None if no model here needs it.
    """

    name: str
    shape: tuple[Any, ...]
    type: str
    kind: Any


class Engine(Protocol):
    """A loaded model: its ports, and what runs it, as messages and ``run.json`` name it."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    providers: tuple[str, ...]

    def run(self, feeds: Sequence[np.ndarray]) -> list[Any]:
        """All outputs for one array per input, in the order of ``inputs``."""
        ...
