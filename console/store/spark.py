"""Sparklines: the last half of a series as up to 30 levels, ready before anybody looks.

A chunk keeps the means of its parts, so the points need not be read again. Equal numbers of points
fall into each cell. A cell without a finite value is a gap, never a line drawn over it.
"""

from __future__ import annotations

import math
import sqlite3
from array import array
from collections.abc import Sequence
from itertools import pairwise

from traindeck.console.store.database import Damaged

CHUNK = 1000
"""Points in a full chunk."""

SLICES = 64
"""Parts of a chunk whose means are kept."""

CELLS = 30
"""Levels in a sparkline."""

GAP = "7"

CONSTANT, TINY = 1e-6, 1e-290
"""Values that differ by less than this share of themselves are one value: nobody could tell them
apart in what is drawn, and the error of a mean is no curve. What is smaller than TINY is 0."""


def slices(values: array[float]) -> tuple[array[float], array[int]]:
    """Means of up to SLICES equal parts, and how many points each has. NaN: none is finite."""
    if len(values) <= SLICES:
        return values, array("h", [1]) * len(values)
    bounds = [len(values) * i // SLICES for i in range(SLICES + 1)]
    means = array("d")
    for low, high in pairwise(bounds):
        mean = mean_of(values[low:high])
        means.append(math.nan if mean is None else mean)
    return means, array("h", [b - a for a, b in pairwise(bounds)])


def mean_of(values: array[float]) -> float | None:
    """Mean of the finite values, None if there are none."""
    total = sum(values)
    if math.isfinite(total):
        return total / len(values)
    finite = [v / len(values) for v in values if math.isfinite(v)]
    return sum(finite) * (len(values) / len(finite)) if finite else None


def spark(db: sqlite3.Connection, s: int, points: int) -> str:
    """The last half of a series of so many points, as levels."""
    half = points - points // 2
    coarse = half > 4 * CELLS * CHUNK
    rows = db.execute(
        "SELECT count, mean, slices FROM chunks WHERE s = ? ORDER BY step0 DESC", (s,)
    )
    samples: list[tuple[float, int]] = []
    have = 0
    for count, mean, packed in rows:
        if coarse:
            samples.append((math.nan if mean is None else mean, count))
        else:
            parts, rest = divmod(len(packed), 10)
            if rest:
                raise Damaged("the means of a chunk have a wrong length")
            means, counts = array("d"), array("h")
            means.frombytes(packed[: 8 * parts])
            counts.frombytes(packed[8 * parts :])
            samples.extend(zip(reversed(means), reversed(counts), strict=True))
        have += count
        if have >= half:
            break
    samples.reverse()
    return levels(samples, max(0, have - half))


def levels(samples: Sequence[tuple[float, int]], skip: int = 0) -> str:
    """Samples (mean, number of points) as at most CELLS levels on their own scale.

    Args:
        skip: Points to leave out at the beginning.
    """
    kept: list[tuple[float, int]] = []
    for mean, count in samples:
        if skip >= count:
            skip -= count
        else:
            kept.append((mean, count - skip))
            skip = 0
    total = sum(count for _, count in kept)
    cells = min(CELLS, len(kept))
    sums, weights = [0.0] * cells, [0] * cells
    passed, done = 0, -1
    for mean, count in kept:
        cell = min(cells - 1, (2 * passed + count) * cells // (2 * total))
        passed += count
        # The mean of two points may fill two cells: what is passed over is no gap.
        for filled in range(min(done + 1, cell), cell + 1):
            if math.isfinite(mean):
                sums[filled] += mean * count
                weights[filled] += count
        done = cell
    means = [a / b if b else math.nan for a, b in zip(sums, weights, strict=True)]
    finite = [mean for mean in means if math.isfinite(mean)]
    if not finite:
        return GAP * cells
    low, high = min(finite), max(finite)
    # Halved first: the span of two finite numbers need not be finite.
    span = high / 2 - low / 2
    flat = span <= max(max(abs(low), abs(high)) / 2 * CONSTANT, TINY)
    return "".join(
        GAP
        if not math.isfinite(mean)
        else "3"
        if flat
        else str(min(6, round((mean / 2 - low / 2) / span * 6)))
        for mean in means
    )
