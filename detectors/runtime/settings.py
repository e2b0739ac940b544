"""The base of all settings, and the units that they are in."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(json_schema_extra={"unit": "s"})]
Days = Annotated[float, Field(json_schema_extra={"unit": "d"})]
Heights = Annotated[float, Field(json_schema_extra={"unit": "person heights"})]
Nats = Annotated[float, Field(json_schema_extra={"unit": "nats"})]
CosineDistance = Annotated[float, Field(ge=0, le=2, json_schema_extra={"unit": "cosine distance"})]
Share = Annotated[float, Field(ge=0, le=1)]
Frames = Annotated[int, Field(json_schema_extra={"unit": "frames"})]
Pixels = Annotated[int, Field(json_schema_extra={"unit": "px"})]


class Settings(BaseModel):
    """Frozen, finite, and without unknown keys. Raises ValidationError, a ValueError, for a value out of bounds."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    def changed(self, **changes: Any) -> Self:
        """A copy with other values, validated (``model_copy`` does not validate). Raises ValueError for an unknown name, with the nearest ones."""
        known = type(self).model_fields
        for name in changes:
            if name not in known:
                near = difflib.get_close_matches(name, known, 2, 0.5)
                hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(known)}"
                raise ValueError(f"{type(self).__name__} has no setting {name!r}; {hint}")
        return type(self)(**(dict(self) | changes))
