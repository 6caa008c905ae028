"""Series reduced to what a chart of some columns can show, exactly.

A chart column shows every value that the polyline takes in it: the extremes of the points and of
the segments that cross its borders. Nothing is sampled and nothing interpolated is read out: the
value at a cursor is that of the nearest logged point. Needs numpy; imported when a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from traindeck.backends.data import dataclass

Floats = npt.NDArray[np.float64]

SMOOTHING = (0.0, 0.6, 0.9, 0.98)
"""Weights offered, in the order `e` goes through them."""


@dataclass(frozen=True, slots=True)
class Envelope:
    """A polyline in columns: lowest and highest value in each, NaN where it has none.

    Attributes:
        strange: Columns in which a value is not finite.
        shown: Finite points inside the window.
    """

    low: Floats
    high: Floats
    strange: npt.NDArray[np.bool_]
    shown: int


def arrays(x: Sequence[float] | Any, y: Sequence[float] | Any) -> tuple[Floats, Floats]:
    """Both as float64, sorted by x (a stable sort, only if needed)."""
    xs = np.asarray(x, dtype=np.float64)
    ys = np.asarray(y, dtype=np.float64)
    if xs.size > 1 and bool(np.any(np.diff(xs) < 0)):
        order = np.argsort(xs, kind="stable")
        xs, ys = xs[order], ys[order]
    return xs, ys


def envelope(x: Floats, y: Floats, start: float, end: float, columns: int) -> Envelope:
    """The extremes of a polyline in each of `columns` equal parts of [start, end].

    Args:
        x: Ascending. y: Equally long; a value that is not finite is a gap in the line.

    Cost: O(columns log n + points inside).
    """
    return Columns(x, start, end, columns).envelope(y)


class Columns:
    """`columns` equal parts of [start, end] and where the points of an ascending `x` fall: found
    once for all that is drawn over the same places (raw values and smoothed ones)."""

    def __init__(self, x: Floats, start: float, end: float, columns: int) -> None:
        self._columns = max(0, columns)
        self._any = x.size > 0 and columns > 0 and end > start
        if not self._any:
            return
        edges = np.linspace(start, end, columns + 1)
        found = np.searchsorted(x, edges, side="left")
        self._first = int(found[0])
        self._last = int(np.searchsorted(x, end, side="right"))
        # The last edge belongs to the last column.
        cuts = found[:-1] - self._first
        counts = np.diff(cuts, append=self._last - self._first)
        self._filled = np.flatnonzero(counts)
        self._cuts = cuts[self._filled]
        # Where the line crosses the borders of the columns, inner and outer.
        ok = (found > 0) & (found < x.size)
        self._after = np.minimum(found, x.size - 1)
        self._before = np.maximum(found - 1, 0)
        left = x[self._before]
        width = x[self._after] - left
        with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
            share = np.where(width > 0, (edges - left) / width, 1.0)
        self._share = np.where(ok, share, np.nan)

    def envelope(self, y: Floats) -> Envelope:
        """The extremes of the line through `y`, a value for each `x`."""
        low = np.full(self._columns, np.nan)
        high = np.full(self._columns, np.nan)
        strange = np.zeros(self._columns, dtype=np.bool_)
        if not self._any:
            return Envelope(low, high, strange, 0)
        inside = y[self._first : self._last]
        shown = inside.size
        if inside.size:
            with np.errstate(invalid="ignore"):
                least = np.minimum.reduceat(inside, self._cuts)
                most = np.maximum.reduceat(inside, self._cuts)
            # What is not finite shows in the extremes: most series need no look at each value.
            if not (np.isfinite(least).all() and np.isfinite(most).all()):
                finite = np.isfinite(inside)
                shown = int(finite.sum())
                clean = np.where(finite, inside, np.nan)
                least = np.fmin.reduceat(clean, self._cuts)
                most = np.fmax.reduceat(clean, self._cuts)
                strange[self._filled] = ~np.logical_and.reduceat(finite, self._cuts)
            low[self._filled], high[self._filled] = least, most
        before = y[self._before]
        with np.errstate(invalid="ignore", over="ignore"):
            crossing = before + self._share * (y[self._after] - before)
        # A segment ends at a value that is not finite: nothing crosses there.
        crossing[~np.isfinite(crossing)] = np.nan
        return Envelope(
            np.fmin(low, np.fmin(crossing[:-1], crossing[1:])),
            np.fmax(high, np.fmax(crossing[:-1], crossing[1:])),
            strange,
            shown,
        )


def smooth(y: Floats, weight: float) -> Floats:
    """Exponential moving average, corrected for its start (as Adam's moments are: Kingma and Ba
    2015, §3). Values that are not finite are passed over and stay.

    Formula: s = w·s + (1 − w)·y, shown s / (1 − wⁿ).
    """
    if weight <= 0 or y.size == 0:
        return y
    finite = np.isfinite(y)
    values = y[finite]
    # In blocks: within each the recurrence is a product with a triangle of powers, for all blocks
    # at once; only what one block hands to the next is sequential.
    block = 128
    blocks = -(-values.size // block)
    padded = np.zeros(blocks * block)
    padded[: values.size] = values
    steps = np.subtract.outer(np.arange(block), np.arange(block))
    triangle = np.where(steps >= 0, weight ** np.maximum(steps, 0), 0.0)
    within = (1 - weight) * (padded.reshape(blocks, block) @ triangle.T)
    handed = np.empty(blocks)
    carried, decay = 0.0, weight**block
    for number, end in enumerate(within[:, -1].tolist()):
        handed[number] = carried
        carried = end + carried * decay
    out = (within + np.outer(handed, weight ** np.arange(1, block + 1))).ravel()[: values.size]
    counts = np.arange(1, values.size + 1)
    out /= 1 - np.exp(counts * np.log(weight))
    result = y.copy()
    result[finite] = out
    return result


def formula(weight: float) -> str:
    """How smoothing is named on a chart."""
    return f"EMA {weight:g}" if weight > 0 else "raw"


def nearest(x: Floats, at: float) -> int | None:
    """Index of the point that is nearest to `at`, whatever its value; of two equally near the
    earlier."""
    if x.size == 0:
        return None
    right = min(int(np.searchsorted(x, at)), x.size - 1)
    left = max(0, right - 1)
    return left if abs(float(x[left]) - at) <= abs(float(x[right]) - at) else right


def thin(x: Sequence[float] | Any, y: Sequence[float] | Any, most: int) -> tuple[Floats, Floats]:
    """At most about `most` points of a series, among them the extremes of each of `most` / 2
    stretches, the first and the last. A short series is returned whole."""
    xs, ys = arrays(x, y)
    if xs.size <= most:
        return xs, ys
    parts = max(1, most // 2)
    cuts = np.linspace(0, xs.size, parts + 1).astype(np.int64)
    keep = {0, xs.size - 1}
    for low, high in pairwise(cuts):
        part = ys[low:high]
        finite = np.nonzero(np.isfinite(part))[0]
        if finite.size:
            values = part[finite]
            keep.add(int(low + finite[int(np.argmin(values))]))
            keep.add(int(low + finite[int(np.argmax(values))]))
        if finite.size < part.size:
            keep.add(int(low + np.nonzero(~np.isfinite(part))[0][0]))
    chosen = np.array(sorted(keep))
    return xs[chosen], ys[chosen]
