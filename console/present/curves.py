"""The curves of a chart and how to look at them. Needs numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from traindeck.backends.data import dataclass
from traindeck.console.metrics.axis import Axis
from traindeck.console.metrics.reduce import Columns, Envelope, arrays, nearest, smooth

from .cells import clean

LETTERS = "abcdefghijklmnopqrstuvwxyz"
COLOURS = 8
SPARSE = 200
"""Points from which on a series is smoothed without being asked. One of few points (an evaluation
now and then) is not: an average over its neighbours would lie far from any of them."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Curve:
    """A series to draw.

    Attributes:
        x, y: As `reduce.arrays` makes them: float64, x ascending.
        colour: 0 to 7, kept by a series whatever else is drawn.
        soft: `y` smoothed with the view's weight, if it was made before (`softened`).
    """

    key: str
    x: Floats
    y: Floats
    colour: int = 0
    soft: Floats | None = None

    def smoothed(self, view: View) -> Floats:
        """The values smoothed, or as they are if there are too few for that."""
        if not smooths([self], view):
            return self.y
        return self.soft if self.soft is not None else smooth(self.y, view.smoothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """Something that happened at a place of the x axis: `checkpoint`, `alert`, `seam`."""

    x: float
    kind: str = "checkpoint"
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How to look at the curves.

    Attributes:
        start, end: The window of the x axis; None shows all.
        log: Logarithmic y axis. What is not above 0 is a gap then, and counted.
        smoothing: Weight of the moving average; 0 draws the values as they are.
        sparse: Points of a series from which on it is smoothed.
        axis: What x is: `step`, `time`, `epoch`.
        cursor: Where it stands on the x axis.
        focus: Key of the curve painted last.
    """

    start: float | None = None
    end: float | None = None
    log: bool = False
    smoothing: float = 0.0
    sparse: int = SPARSE
    axis: str = "step"
    cursor: float | None = None
    focus: str = ""


def curves(
    series: Mapping[str, Any],
    axis: str = "step",
    began: float | None = None,
    *,
    on: Axis | None = None,
) -> list[Curve]:
    """Curves from series of the store (`Points`), coloured in order.

    Args:
        axis: One of metrics.axis.KINDS.
        began: Where an axis of time begins; by default at the first point with a time.
        on: The axis, if it was made before (it may know more series than are drawn).
    """
    on = on or Axis.over(axis, series, began)
    made = []
    for number, (key, points) in enumerate(series.items()):
        places = on.places(key, points)
        known = np.isfinite(places)
        values = np.asarray(points.values, dtype=np.float64)
        if not known.all():
            places, values = places[known], values[known]
        x, y = arrays(places, values)
        made.append(Curve(key, x, y, number % COLOURS))
    return made


def smooths(drawn: Iterable[Curve], view: View) -> bool:
    """Whether any of these curves is smoothed."""
    return view.smoothing > 0 and any(curve.y.size >= view.sparse for curve in drawn)


def softened(curve: Curve, view: View) -> Curve:
    """The curve with its smoothed values, so that not every frame makes them anew."""
    soft = smooth(curve.y, view.smoothing) if smooths([curve], view) else None
    return replace(curve, soft=soft)


def alerts(drawn: Sequence[Curve]) -> list[tuple[float, str]]:
    """(x, what) of what a person should look at: where a curve first was not finite."""
    found = []
    for curve in drawn:
        strange = np.flatnonzero(~np.isfinite(curve.y))
        if strange.size:
            found.append((float(curve.x[strange[0]]), f"{clean(curve.key)} not finite"))
    return sorted(found)


def extent(drawn: Sequence[Curve]) -> tuple[float, float]:
    """The x axis that shows all of these curves."""
    ends = [(float(c.x[0]), float(c.x[-1])) for c in drawn if c.x.size]
    if not ends:
        return 0.0, 1.0
    start, end = min(a for a, _ in ends), max(b for _, b in ends)
    return (start, end) if end > start else (start - 0.5, start + 0.5)


def at_cursor(drawn: Sequence[Curve], view: View) -> list[tuple[Curve, float, float, float]]:
    """For each curve the logged point nearest to the cursor: (curve, its x, its value, the smoothed
    value there). A value that is not finite was logged too: another point's never stands for it."""
    found = []
    if view.cursor is None:
        return []
    for curve in drawn:
        index = nearest(curve.x, view.cursor)
        if index is not None:
            soft = curve.smoothed(view)
            found.append((curve, float(curve.x[index]), float(curve.y[index]), float(soft[index])))
    return found


@dataclass(frozen=True, slots=True)
class Reduced:
    """A curve as columns of dots: the extremes of what was logged in each, of what is smoothed if
    it is, and where the curve ends."""

    curve: Curve
    raw: Envelope
    soft: Envelope | None
    last: float | None = None


def reduced(curve: Curve, view: View, start: float, end: float, dots: int) -> Reduced:
    """The curve in `dots` columns over [start, end]."""
    y = curve.y
    if view.log:
        with np.errstate(invalid="ignore"):
            y = np.where(y > 0, y, np.nan)
    columns = Columns(curve.x, start, end, dots)
    raw = columns.envelope(y)
    if view.log and raw.strange.any():  # a value below 0 is a gap here, but a value
        raw = replace(raw, strange=columns.envelope(curve.y).strange)
    soft = None
    if smooths([curve], view):
        smoothed = curve.smoothed(view)
        if view.log:
            with np.errstate(invalid="ignore"):
                smoothed = np.where(smoothed > 0, smoothed, np.nan)
        soft = columns.envelope(smoothed)
    seen = soft or raw
    known = np.nonzero(~np.isnan(seen.low))[0]
    last = float(seen.low[known[-1]] / 2 + seen.high[known[-1]] / 2) if known.size else None
    return Reduced(curve, raw, soft, last)
