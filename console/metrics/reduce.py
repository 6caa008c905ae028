"""Series reduced to what a chart of some columns can show, exactly.

A chart column shows every value that the polyline takes in it: the extremes of the points and of
the segments that cross its borders. Nothing is sampled and nothing interpolated is read out: the
value at a cursor is that of the nearest logged point. Needs numpy; imported when a chart is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

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
    low = np.full(columns, np.nan)
    high = np.full(columns, np.nan)
    strange = np.zeros(columns, dtype=np.bool_)
    if x.size == 0 or columns <= 0 or not end > start:
        return Envelope(low, high, strange, 0)
    edges = np.linspace(start, end, columns + 1)
    first = int(np.searchsorted(x, start, side="left"))
    last = int(np.searchsorted(x, end, side="right"))
    inside_x, inside_y = x[first:last], y[first:last]
    finite = np.isfinite(inside_y)
    shown = int(finite.sum())
    if inside_x.size:
        # The last edge belongs to the last column.
        cuts = np.searchsorted(inside_x, edges[:-1], side="left")
        counts = np.diff(np.append(cuts, inside_x.size))
        filled = np.nonzero(counts)[0]
        clean = inside_y if shown == inside_y.size else np.where(finite, inside_y, np.nan)
        with np.errstate(invalid="ignore"):
            low[filled] = np.fmin.reduceat(clean, cuts[filled])
            high[filled] = np.fmax.reduceat(clean, cuts[filled])
        if shown != inside_y.size:
            strange[filled] = np.add.reduceat((~finite).astype(np.int64), cuts[filled]) > 0
    _join(x, y, edges, low, high)
    return Envelope(low, high, strange, shown)


def _join(x: Floats, y: Floats, edges: Floats, low: Floats, high: Floats) -> None:
    """Add where the line crosses the inner and outer borders of the columns."""
    right = np.searchsorted(x, edges, side="left")
    ok = (right > 0) & (right < x.size)
    after = np.clip(right, 0, x.size - 1)
    before = np.clip(right - 1, 0, x.size - 1)
    width = x[after] - x[before]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        share = np.where(width > 0, (edges - x[before]) / width, 1.0)
        crossing = y[before] + share * (y[after] - y[before])
    # A segment ends at a value that is not finite: nothing crosses there.
    crossing[~ok | ~np.isfinite(crossing)] = np.nan
    low[:] = np.fmin(low, np.fmin(crossing[:-1], crossing[1:]))
    high[:] = np.fmax(high, np.fmax(crossing[:-1], crossing[1:]))


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
