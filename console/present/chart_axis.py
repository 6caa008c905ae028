"""A chart's x axis: ticks at round steps, epochs or moments, and where its end lies."""

from __future__ import annotations

import math

from .cells import Line, Span, width
from .numbers import MINUS

LABEL = 8
"""Cells left of the plot, a space included."""
ENDS = 2
"""Cells right of it, for the letters of the curves."""

APART, BETWEEN = 8, 4
"""Cells from tick to tick of the x axis at least, and from the end of one to the next."""

_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds from tick to tick on a time axis; days beyond."""


def x_axis(start: float, end: float, wide: int, axis: str) -> Line:
    """Ticks at 1-2-5 steps, as many as fit with room between, and what x is at the right end; an
    end between two steps is the one before it, and not named again where it has a tick."""
    name = {"time": "elapsed", "epoch": "epoch"}.get(axis, "step")
    step, ticks = _x_ticks(start, end, wide, axis)
    line = [" "] * (wide + ENDS)
    free, before, named = 0, "", math.nan
    whole = math.floor(end + 1e-6) if axis == "step" else end
    reached = _until(end, step) if axis == "time" else _tick(whole, axis, step)
    last = f"{reached} {name}"
    limit = wide + ENDS - width(last)
    for value, text in ticks:
        if text == reached and value != whole:
            continue  # the end, which lies a little behind it, says the same
        at = round((value - start) / (end - start) * (wide - 1)) - len(text) // 2
        at = max(0, at)
        if at >= free and at + len(text) + 1 < limit and text != before:
            line[at : at + len(text)] = text
            free, before, named = at + len(text) + 2, text, value
    line[limit:] = name.rjust(len(last)) if named == whole else last
    return (Span(" " * LABEL), Span("".join(line), "muted"))


def _x_ticks(
    start: float, end: float, wide: int, axis: str
) -> tuple[float, list[tuple[float, str]]]:
    """The smallest round step whose ticks have room and differ, and these: (value, text)."""
    step, ticks = 0.0, []
    for count in range(max(2, wide // APART), 0, -1):
        another = tick_step(end - start, count, axis)
        if another == step:
            continue
        step = another
        first, last = math.ceil(start / step - 1e-9), math.floor(end / step + 1e-9)
        ticks = [(n * step, _tick(n * step, axis, step)) for n in range(first, last + 1)]
        needed = max((len(text) for _, text in ticks), default=0) + BETWEEN
        cells = step / (end - start) * (wide - 1)
        if cells >= max(APART, needed) and len({text for _, text in ticks}) == len(ticks):
            break
    return step, ticks


def tick_step(span: float, count: int, axis: str) -> float:
    """The smallest round step that lays at most about `count` ticks over `span`."""
    raw = span / count
    if axis == "time" and raw <= _TIMES[-1]:
        return float(next(step for step in _TIMES if step >= raw * (1 - 1e-9)))
    if axis == "time":
        return 86400.0 * tick_step(span / 86400.0, count, "step")
    if axis == "step":
        raw = max(raw, 1.0)  # there is nothing between two steps
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    return next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power >= raw * (1 - 1e-9))


def _moment(seconds: float) -> str:
    """A time since the start, exact to the second: what stands at a tick is not rounded."""
    whole = round(abs(seconds))
    days, hours, minutes, left = whole // 86400, whole // 3600, whole % 3600 // 60, whole % 60
    if hours >= 24 and minutes == left == 0:
        text = f"{days}d{hours % 24:02d}h" if hours % 24 else f"{days}d"
    elif hours:
        text = f"{hours}h{minutes:02d}" + (f"m{left:02d}s" if left else "")
    elif minutes:
        text = f"{minutes}m" + (f"{left:02d}s" if left else "")
    else:
        text = f"{left}s"
    return MINUS + text if seconds < 0 and whole else text


def moment(seconds: float) -> str:
    """A place on a time axis: to the second in the first hour, to the minute after it, cut."""
    unit = 1 if abs(seconds) < 3600 else 60
    return _moment(int(seconds / unit) * unit)


def _until(seconds: float, step: float) -> str:
    """The end of a time axis, which need not be a round time: as exact as its ticks."""
    whole = int(seconds) if abs(seconds) < 60 else round(seconds)
    seen = abs(whole)
    unit = 1 if step < 60 or seen < 3600 else 60 if step < 3600 or seen < 86400 else 3600
    return _moment(int(whole / unit) * unit)


def _tick(value: float, axis: str, step: float) -> str:
    if axis == "time":
        return _moment(value)
    if step >= 1 or axis == "step":
        return f"{round(value):,}"
    return f"{value:g}"
