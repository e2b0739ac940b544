"""What requests ask for: times, people, pages of lists. Anything else than expected is refused with a reason."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import HTTPException, Path, Query, Request

from pipeline.store import Where

Id = Annotated[int, Path(ge=0, lt=2**53)]
Text = Annotated[str, Query(max_length=200)]
ORDERS = {
    "-last": "seen last", "-first": "newly arrived", "first": "seen first", "-sightings": "most sightings", "confidence": "least certain",
    "name": "name", "id": "number",
}  # fmt: skip
PAGE = 50


def when(text: str, name: str) -> float | None:
    """Seconds since 1970 of an ISO time in the server's zone, or of a number. Raises HTTPException."""
    if not text.strip():
        return None
    try:
        value = float(text)
    except ValueError:
        try:
            value = datetime.fromisoformat(text.strip()).timestamp()
        except (ValueError, OverflowError, OSError):
            raise HTTPException(422, f"{name}: expected a time such as 2026-03-01T14:00, not {text[:40]!r}") from None
    if not abs(value) < 1e12:
        raise HTTPException(422, f"{name}: not a time")
    return value


@dataclass(frozen=True)
class Filter:
    """What a list of people or sightings is narrowed to. A dependency of views."""

    name: str
    cameras: tuple[str, ...]
    start: float | None
    end: float | None
    zone: str
    tag: str
    without_tag: str
    order: str
    page: int

    def where(self) -> Where:
        return Where(self.cameras or None, self.start, self.end, self.zone or None, without_tag=self.without_tag or None)

    def query(self, **changes: Any) -> str:
        """As a query string."""
        values: dict[str, Any] = {
            "q": self.name, "camera": list(self.cameras), "from": self.start, "to": self.end, "zone": self.zone, "tag": self.tag,
            "without": self.without_tag, "order": self.order, "page": self.page,
        } | changes  # fmt: skip
        return urlencode({key: value for key, value in values.items() if value not in ("", None, [], ())}, doseq=True)


def filter_of(
    request: Request,
    q: Text = "",
    camera: Annotated[list[str], Query(max_length=200)] = [],  # noqa: B006 - FastAPI copies it
    from_: Annotated[str, Query(alias="from", max_length=40)] = "",
    to: Annotated[str, Query(max_length=40)] = "",
    zone: Text = "",
    tag: Text = "",
    without: Text = "",
    order: Text = "-last",
    page: Annotated[int, Query(ge=1, le=100_000)] = 1,
) -> Filter:
    """The filter that a request asks for. Raises HTTPException for an unknown camera or order."""
    if order not in ORDERS:
        raise HTTPException(422, f"order: must be one of {', '.join(ORDERS)}")
    known = {one.name for one in request.app.state.console.store.sightings.cameras()} if any(camera) else set()
    for name in filter(None, camera):
        if name not in known:
            raise HTTPException(404, f"no camera {name[:60]!r}")
    return Filter(q, tuple(filter(None, camera)), when(from_, "from"), when(to, "to"), zone, tag, without, order, page)
