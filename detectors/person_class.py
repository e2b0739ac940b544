"""Which class of a detector is the person."""

from __future__ import annotations

from collections.abc import Mapping

from detectors.runtime.errors import ModelError

PERSON_NAMES = ("person", "pedestrian", "people")


def person_class(names: Mapping[int, str], model: str) -> int:
    """Index of the first class whose name means a person. Raises ModelError, naming the ``model``, if there is none."""
    for index, name in names.items():
        if str(name).lower() in PERSON_NAMES:
            return int(index)
    raise ModelError(f"{model}: none of its classes is a person ({', '.join(map(str, names.values()))[:120]})")
