"""Durations and sizes as people write them on a command line."""

from __future__ import annotations

import re
from itertools import pairwise

from traindeck.backends.errors import UsageError, excerpt

_UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
_PARTS = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|[smhdw])")
_CLOCK = re.compile(r"(?:(\d+)-)?(\d{1,3}):([0-5]\d):([0-5]\d)")
_STALL = re.compile(rf"({_CLOCK.pattern}|[^:]+):(?P<command>.*\S.*)", re.S)
LONGEST = 366 * 86400.0


def seconds_of(text: str) -> float | None:
    """Seconds of `90s`, `30m`, `1h30m` (units descending), `1d`, `500ms` or `[D-]HH:MM:SS`; None if
    it is none."""
    value = text.strip().lower()
    if clock := _CLOCK.fullmatch(value):
        days, hours, minutes, rest = (int(part or 0) for part in clock.groups())
        return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)
    if not value or _PARTS.sub("", value) != "":
        return None
    parts = [(float(number), _UNITS[unit]) for number, unit in _PARTS.findall(value)]
    if any(unit <= after for (_, unit), (_, after) in pairwise(parts)):
        return None  # `2s1s` is a slip, not a sum
    return float(sum(number * unit for number, unit in parts))


def parse_duration(text: str, option: str) -> float:
    """`seconds_of`, or why not.

    Args:
        option: The option it was given to, for the error.

    Raises:
        UsageError: Not a duration, zero, over a year, or a bare number (seconds or minutes?).
    """
    seconds = seconds_of(text)
    shown = excerpt(text)
    if re.fullmatch(r"\d+(\.\d+)?", text.strip()):
        raise UsageError(
            f"{option} {shown}: a bare number could be seconds or minutes.",
            f"Write {shown}s or {shown}m.",
        )
    if seconds is None:
        raise UsageError(
            f"{option} {shown}: not a duration.", "Write 90s, 1h30m, 2h, 1d or [D-]HH:MM:SS."
        )
    if not 0 < seconds <= LONGEST:
        raise UsageError(f"{option} {shown}: must be more than nothing and at most a year.")
    return seconds


def parse_stall(text: str, option: str) -> tuple[float, str]:
    """Seconds and command of `T:CMD`, where T may have colons of its own.

    Raises:
        UsageError: It has no command, or T is no duration.
    """
    found = _STALL.fullmatch(text.strip())
    if found is None:
        given = f"{option} {excerpt(text)}"
        raise UsageError(f"{given}: expected T:CMD, as in 10m:notify-send stalled.")
    return parse_duration(found[1], option), found["command"]


def write_duration(seconds: float) -> str:
    """The shortest exact way to write a duration: `90s`, `2h`, `1h30m`, `500ms`."""
    if seconds != round(seconds):
        return f"{seconds * 1000:g}ms"
    left = round(seconds)
    if left == 0 or 60 < left < 120:
        return f"{left}s"
    text = ""
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            text += f"{count}{unit}"
    return text
