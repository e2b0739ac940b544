"""Wall-clock time of recordings: from an option, from a file's name, from a container's metadata; with time zones."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import PurePath
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EARLIEST, LATEST = 1990, 2100  # years of recordings; other numbers are no dates
LIVE = 1e9  # frame times from here on are seconds since 1970: those of live cameras

_DATE = r"(?P<Y>(?:19|20)\d\d)(?P<s>[-_.]?)(?P<m>0[1-9]|1[0-2])(?P=s)(?P<d>0[1-9]|[12]\d|3[01])"
_TIME = r"(?P<H>[01]\d|2[0-3])(?P<t>[-_.:h]?)(?P<M>[0-5]\d)(?:(?P=t)|m)(?P<S>[0-5]\d)"
_REST = r"(?:(?:[.,](?=\d{6}(?!\d))|[.,_-]?(?=\d{3}(?!\d)))(?P<f>\d{3,6}))?s?(?P<z>Z|[+-]\d\d:?\d\d)?"
_WHOLE = re.compile(rf"(?<!\d){_DATE}(?:[T_ @.-]|__| - )?{_TIME}{_REST}(?!\d)")
_DAY = re.compile(rf"(?<!\d){_DATE}(?!\d)")
_CLOCK = re.compile(rf"(?<!\d){_TIME}{_REST}(?!\d)")
_UNIX = re.compile(r"(?<!\d)(1[0-9]{9})(\d{3})?(?!\d)")
_DIRECTIVES = {
    "Y": r"(?P<Y>\d{4})", "y": r"(?P<y>\d\d)", "m": r"(?P<m>\d\d)", "d": r"(?P<d>\d\d)", "H": r"(?P<H>\d\d)", "M": r"(?P<M>\d\d)",
    "S": r"(?P<S>\d\d)", "f": r"(?P<f>\d{1,6})", "z": r"(?P<z>Z|[+-]\d\d:?\d\d)", "s": r"(?P<s>\d{10})", "%": "%",
}  # fmt: skip


def time_zone(text: str | None) -> tzinfo | None:
    """``Europe/Berlin``, ``UTC`` or ``+01:00`` as a time zone; None, for None, is this computer's. Raises ValueError for another text."""
    if text is None:
        return None
    if text in ("UTC", "Z", "GMT"):
        return UTC
    if offset := re.fullmatch(r"(?:UTC)?([+-])(\d\d?):?(\d\d)?", text):
        minutes = int(offset[2]) * 60 + int(offset[3] or 0)
        if minutes < 24 * 60:
            return timezone(timedelta(minutes=-minutes if offset[1] == "-" else minutes))
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{text!r} is not a time zone; expected a name such as Europe/Berlin, or an offset such as +01:00") from None


def epoch(moment: datetime, zone: tzinfo | None) -> float:
    """Seconds since 1970; a ``moment`` without time zone is in ``zone`` (None: this computer's)."""
    if moment.tzinfo is None and zone is not None:
        moment = moment.replace(tzinfo=zone)
    return moment.timestamp()


def local_time(seconds: float, zone: tzinfo | None) -> datetime:
    """Seconds since 1970 as a time with its zone."""
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.astimezone(zone)


def iso(seconds: float, zone: tzinfo | None) -> str:
    """ISO 8601 with milliseconds and offset: ``2026-11-25T10:15:00.000+01:00``."""
    return local_time(round(seconds, 3), zone).isoformat(timespec="milliseconds")


def parse_time(text: str) -> datetime:
    """A time as an option gives it: ISO 8601, or seconds since 1970. Raises ValueError, with what is expected."""
    try:
        if re.fullmatch(r"\d{9,10}(\.\d+)?", text):
            return datetime.fromtimestamp(float(text), UTC)
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; expected ISO 8601, such as 2026-11-25T10:15:00 or 2026-11-25T10:15:00+01:00") from None
    if not EARLIEST <= moment.year < LATEST:
        raise ValueError(f"{text!r}: the year must be between {EARLIEST} and {LATEST - 1}")
    return moment


def check_pattern(pattern: str) -> str:
    """``pattern`` itself. Raises ValueError for an unknown directive, a repeated one, or one without a date."""
    directives = re.findall(r"%(.)", pattern)
    if unknown := [one for one in directives if one not in _DIRECTIVES]:
        raise ValueError(f"%{unknown[0]} is not known; there are {', '.join('%' + one for one in _DIRECTIVES if one != '%')}")
    if repeated := [one for one in set(directives) if directives.count(one) > 1 and one != "%"]:
        raise ValueError(f"%{repeated[0]} may occur once")
    if "s" not in directives and not ({"m", "d"} <= set(directives) and {"Y", "y"} & set(directives)):
        raise ValueError(f"{pattern!r} has no date: it needs %Y, %m and %d, or %s (seconds since 1970)")
    return pattern


def time_in_name(path: PurePath, pattern: str | None = None) -> tuple[datetime, str] | None:
    """The time that a file's path states, and the part of its name before the time; None if it states none.

    ``pattern``: the end of the path without its extension, with ``%Y %m %d %H %M %S %f %z`` and ``*``; without one, the date and time that
    recorders write into names, also with the date, or date and hour, in the names of the folders.
    """
    if pattern is not None:
        return _by_pattern(path.with_suffix("").as_posix(), pattern) or _by_pattern(path.as_posix(), pattern)
    name = path.name
    if found := _WHOLE.search(name):
        moment = _moment(found.groupdict())
        return None if moment is None else (moment, name[: found.start()])
    parts = path.parts[-6:-1]
    day_at = next((at for at in range(len(parts) - 1, -1, -1) if _DAY.search(parts[at])), None)
    if day_at is not None and (day := _DAY.search(parts[day_at])):
        if clock := _CLOCK.search(name):
            moment = _moment(day.groupdict() | {key: value for key, value in clock.groupdict().items() if key != "s"})
            return None if moment is None else (moment, name[: clock.start()])
        hours = [part for part in parts[day_at + 1 :] if re.fullmatch(r"[01]\d|2[0-3]", part)]
        if hours and (minute := re.fullmatch(r"([0-5]\d)(?:[.\-_]([0-5]\d))?", path.stem)):  # Frigate's DATE/HOUR/CAMERA/MM.SS
            moment = _moment(day.groupdict() | {"H": hours[0], "M": minute[1], "S": minute[2] or "00"})
            return None if moment is None else (moment, "")
    if unix := _UNIX.search(name):
        return datetime.fromtimestamp(int(unix[1]) + int(unix[2] or 0) / 1000, UTC), name[: unix.start()]
    return None


def camera_in_path(path: PurePath, pattern: str | None = None) -> tuple[str, ...] | None:
    """What a segment's path says apart from its time: folders without digits alone, and the name before the time; None without a time."""
    found = time_in_name(path, pattern)
    if found is None:
        return None
    folders = tuple(part for part in path.parts[:-1] if not _DAY.search(part) and not re.fullmatch(r"\d+", part))
    return (*folders, found[1].strip("_-. "))


def _moment(found: dict[str, str | None]) -> datetime | None:
    if unix := found.get("unix"):
        return datetime.fromtimestamp(int(unix), UTC)
    try:
        year = int(found.get("Y") or 0) or 2000 + int(found.get("y") or 0)
        fraction = int((found.get("f") or "0").ljust(6, "0"))
        zone, text = None, found.get("z")
        if text:
            zone = UTC if text == "Z" else time_zone(text)
        moment = datetime(
            year, int(found["m"] or 0), int(found["d"] or 0), int(found.get("H") or 0), int(found.get("M") or 0), int(found.get("S") or 0),
            fraction, zone,
        )  # fmt: skip
    except ValueError:
        return None
    return moment if EARLIEST <= moment.year < LATEST else None


def _by_pattern(path: str, pattern: str) -> tuple[datetime, str] | None:
    regex = ""
    for token in re.findall(r"%.|[^%]", pattern):
        if token == "*":
            regex += "[^/]*"
        elif token[0] == "%":
            regex += _DIRECTIVES[token[1]]
        else:
            regex += re.escape(token)
    found = re.search(rf"(?:^|/)[^/]*?{regex}$", path) if not pattern.startswith("/") else re.search(f"{regex}$", path)
    if found is None:
        return None
    values: dict[str, str | None] = dict(found.groupdict())
    if "s" in values:
        values = {"unix": values["s"]}
    moment = _moment(values)
    name = path.rfind("/") + 1
    first = min((at for key in found.groupdict() if (at := found.start(key)) >= name), default=name)
    return None if moment is None else (moment, path[name:first])
