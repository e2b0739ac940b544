"""How values are shown: times, durations, probabilities in words, positions on a time axis."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pipeline.formats.colours import PALETTE

STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400, 172800, 604800)


def clock(time: float) -> str:
    """14:03:05, in the time zone of the server."""
    return f"{local(time):%H:%M:%S}"


def day(time: float) -> str:
    return f"{local(time):%a} {local(time).day} {local(time):%b %Y}"


def stamp(time: float) -> str:
    """Day and time for a reader."""
    return f"{day(time)}, {clock(time)}"


def field_time(time: float | None) -> str:
    """As the value of an ``input type=datetime-local``."""
    return "" if time is None else f"{local(time):%Y-%m-%dT%H:%M:%S}"


def zone_name() -> str:
    now = datetime.now().astimezone()
    return now.tzname() or f"{now:%z}"


def local(time: float) -> datetime:
    """Times that no clock can hold become the first or the last that it can."""
    return datetime.fromtimestamp(min(max(time, 0.0), 253402214400.0)).astimezone()


def span(start: float, end: float) -> str:
    """Two times of a stay; the day only where it changes."""
    return f"{clock(start)} to {clock(end)}" if local(start).date() == local(end).date() else f"{stamp(start)} to {stamp(end)}"


def lasting(seconds: float) -> str:
    """4.2 s, 1 min 20 s, 2 h 5 min, 3 d 4 h."""
    if seconds < 10:
        return f"{max(seconds, 0.0):.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min" if minutes else f"{hours} h"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h" if hours else f"{days} d"


def percent(probability: float) -> str:
    """A probability, never as certainty: from under 1 % to over 99 %."""
    if probability >= 0.995:
        return "over 99 %"
    if probability < 0.005:
        return "under 1 %"
    return f"{100 * probability:.0f} %"


def words(probability: float) -> str:
    """How sure a probability of a link is."""
    if probability >= 0.99:
        return "very likely"
    if probability >= 0.9:
        return "likely"
    if probability >= 0.6:
        return "rather likely"
    if probability >= 0.4:
        return "open"
    return "rather unlikely" if probability >= 0.1 else "unlikely"


def level(probability: float) -> str:
    """A class for the page: how much attention a link deserves."""
    return "sure" if probability >= 0.9 else "fair" if probability >= 0.6 else "doubt"


def tint(identity: int | None) -> str:
    """The CSS class of a person's colour, everywhere the same."""
    return "c-none" if identity is None else f"c{identity % len(PALETTE)}"


@dataclass(frozen=True)
class Axis:
    """A time axis from ``start`` to ``end``, seconds since 1970."""

    start: float
    end: float

    @classmethod
    def over(cls, times: Sequence[float], start: float | None = None, end: float | None = None) -> Axis:
        """Over ``times``, or over what is asked for."""
        low = start if start is not None else min(times, default=0.0)
        high = end if end is not None else max(times, default=low + 1.0)
        return cls(low, max(high, low + 1.0))

    def at(self, time: float) -> float:
        """Percent of the axis, within it."""
        return round(min(max(100 * (time - self.start) / (self.end - self.start), 0.0), 100.0), 3)

    def width(self, start: float, end: float) -> float:
        """Percent, never so little that it cannot be seen."""
        return round(max(self.at(end) - self.at(start), 0.4), 3)

    def ticks(self, most: int = 6) -> list[tuple[float, str]]:
        """Round times with their labels, as (percent, text)."""
        length = self.end - self.start
        step = next((step for step in STEPS if length / step <= most), STEPS[-1] * math.ceil(length / STEPS[-1] / most))
        shift = (local(self.start).utcoffset() or datetime.min - datetime.min).total_seconds()
        first = math.ceil((self.start + shift) / step) * step - shift
        out = []
        for number in range(int((self.end - first) // step) + 1):
            time = first + number * step
            whole = f"{local(time):%H:%M:%S}" if step < 60 else f"{local(time):%H:%M}"
            out.append((self.at(time), f"{local(time).day} {local(time):%b}" if step >= 86400 else whole))
        return out
