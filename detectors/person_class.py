"""Which classes of a detector are people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detectors.runtime.errors import ModelError

PERSON_NAMES = (
    "person", "persons", "pedestrian", "pedestrians", "people", "human", "humans",
    "man", "men", "woman", "women", "child", "children", "boy", "girl", "adult",
)  # fmt: skip


def person_classes(names: Mapping[int, str], model: str, wanted: Sequence[str | int] | None = None) -> tuple[int, ...]:
    """Indices of the ``wanted`` classes (names or indices); None: of all whose name means a person.

    Raises ModelError, naming the ``model`` and its classes, if there is none.
    """
    listed = ", ".join(f"{index}: {name}" for index, name in names.items())
    listed = listed if len(listed) <= 400 else listed[:400] + ", ..."
    if wanted is None:
        found = tuple(sorted(index for index, name in names.items() if plain(name) in PERSON_NAMES))
        if not found:
            raise ModelError(f"{model}: none of its classes is a person ({listed}); choose some with detector.classes")
        return found
    chosen: set[int] = set()
    for one in wanted:
        same = [index for index, name in names.items() if plain(name) == plain(one)]
        if not same and str(one).strip().isdecimal() and int(one) in names:
            same = [int(one)]
        if not same:
            raise ModelError(f"{model}: detector.classes: the model has no class {one!r}; it has {listed}")
        chosen.update(same)
    return tuple(sorted(chosen))


def plain(name: object) -> str:
    return str(name).strip().lower()
