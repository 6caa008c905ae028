"""Durations and moments in few cells: `12s 4m 58m 1h04 6h40 2d 3w`. An age is always shown beside
what is old; clock times are only for the future and for logs."""

from __future__ import annotations

import math
import time

MINUTE = 60.0
HOUR = 3600.0
DAY = 86400.0
WEEK = 7 * DAY
EXACT = 10 * MINUTE
"""Below it the seconds matter: runs of 61 and 119 s are not alike."""

_UNITS = {"s": 1.0, "m": MINUTE, "h": HOUR, "d": DAY, "w": WEEK}


def age(seconds: float | None, *, coarse: bool = False) -> str:
    """A duration in at most five cells, rounded down. `coarse` drops the minutes after hours.
    A negative one (clocks differ) is `0s`."""
    if seconds is None or math.isnan(seconds):
        return "–"
    whole = max(0, int(min(seconds, 9999 * WEEK)))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    hours = whole // 3600
    if hours < 24:
        return f"{hours}h" if coarse else f"{hours}h{whole % 3600 // 60:02d}"
    if hours < 14 * 24:
        return f"{hours // 24}d"
    return f"{int(whole // WEEK)}w"


def spoken(seconds: float | None, *, exact: bool = False) -> str:
    """A duration in a sentence: `6 s`, `11 min`, `3 h 04`, `2 days`. `exact`: with the seconds of
    one that is short, as `1 min 50 s`."""
    if seconds is None or math.isnan(seconds):
        return "an unknown time"
    whole = max(0, int(min(seconds, 9999 * WEEK)))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        rest = f" {whole % 60} s" if exact and whole < EXACT and whole % 60 else ""
        return f"{whole // 60} min{rest}"
    hours = whole // 3600
    if hours < 24:
        return f"{hours} h {whole % 3600 // 60:02d}"
    days = hours // 24
    return "1 day" if days == 1 else f"{days} days"


def next_try(moment: float | None, now: float) -> str:
    """When a place that does not answer is asked again: `next try in 12 s`; "" if it is not by
    itself."""
    if moment is None:
        return ""
    wait = math.ceil(moment - now)
    return f"next try in {spoken(wait)}" if wait > 0 else "trying now"


def clock(moment: float, now: float) -> str:
    """A moment as local clock time: `16:20`; with the date if it is not within a day of `now`."""
    near = abs(moment - now) < 20 * HOUR
    return time.strftime("%H:%M" if near else "%b %d %H:%M", time.localtime(moment))


def window(seconds: float | None) -> str:
    """A window of time as a person would set it: `24 h`, `7 days`; None is `all time`."""
    if seconds is None:
        return "all time"
    if seconds <= 48 * HOUR:
        return f"{seconds / HOUR:g} h"
    return f"{seconds / DAY:g} days"
