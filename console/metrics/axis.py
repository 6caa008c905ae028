"""Where points stand on the x axis of a chart: steps, seconds since the start, or epochs.

One axis for everything on a screen: samples of the system have times and no steps, so on an axis of
steps each stands where training was at that time. That is a place between two logged points of
training; the values themselves are never interpolated. What has no place is left out. Needs numpy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import field
from typing import Any

import numpy as np
import numpy.typing as npt

from traindeck.backends.data import dataclass

Floats = npt.NDArray[np.float64]

KINDS = ("step", "time", "epoch")
SYSTEM = "system/"
EPOCH = "epoch"


def _none() -> Floats:
    return np.empty(0)


@dataclass(frozen=True, slots=True)
class Axis:
    """An x axis.

    Attributes:
        kind: One of KINDS.
        began: Second since the epoch that an axis of time begins at; None if no time is known.
        clock: (times, steps) of training, both ascending.
        epochs: (steps, epochs), both ascending.
    """

    kind: str = "step"
    began: float | None = None
    clock: tuple[Floats, Floats] = field(default_factory=lambda: (_none(), _none()))
    epochs: tuple[Floats, Floats] = field(default_factory=lambda: (_none(), _none()))

    @classmethod
    def over(cls, kind: str, series: Mapping[str, Any], began: float | None = None) -> Axis:
        """The axis for series of the store (name -> `Points`): training's clock is the one that
        has the most times, epochs are what is logged as `epoch`."""
        clock = (_none(), _none())
        for key, points in series.items():
            if not key.startswith((SYSTEM, "__")):
                found = _ascending(points.times, points.steps)
                clock = max(clock, found, key=lambda pair: pair[0].size)
        epochs = (_none(), _none())
        if EPOCH in series:
            epochs = _ascending(series[EPOCH].steps, series[EPOCH].values)
        if began is None:
            firsts = [np.asarray(points.times, dtype=np.float64) for points in series.values()]
            known = [times[np.isfinite(times)] for times in firsts]
            began = min((float(times.min()) for times in known if times.size), default=None)
        return cls(kind, began, clock, epochs)

    def places(self, key: str, points: Any) -> Floats:
        """Where each point of a series stands; NaN for one that has no place."""
        times = np.asarray(points.times, dtype=np.float64)
        if self.kind == "time":
            return times - self.began if self.began is not None else np.full(times.size, math.nan)
        steps = np.asarray(points.steps, dtype=np.float64)
        if key.startswith(SYSTEM):
            steps = _along(times, *self.clock)
        return _along(steps, *self.epochs) if self.kind == "epoch" else steps


def carried(at: float, series: Mapping[str, Any], before: Axis, after: Axis) -> float | None:
    """Where the logged point that is nearest to `at` on one axis stands on another; None if none of
    these series has a place on both."""
    best: tuple[float, float] | None = None
    for key, points in series.items():
        old, new = before.places(key, points), after.places(key, points)
        known = np.flatnonzero(np.isfinite(old) & np.isfinite(new))
        if known.size:
            away = np.abs(old[known] - at)
            nearest = int(np.argmin(away))
            found = (float(away[nearest]), float(new[known[nearest]]))
            best = min(best or found, found, key=lambda pair: pair[0])
    return best[1] if best else None


def _ascending(x: Any, y: Any) -> tuple[Floats, Floats]:
    """Both as floats, without what is not finite, and without points that go back in either: a
    resume repeats steps, a clock may be set back."""
    xs, ys = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    known = np.isfinite(xs) & np.isfinite(ys)
    xs, ys = xs[known], ys[known]
    if xs.size > 1:
        forward = (xs >= np.maximum.accumulate(xs)) & (ys >= np.maximum.accumulate(ys))
        xs, ys = xs[forward], ys[forward]
    return xs, ys


def _along(x: Floats, given: Floats, wanted: Floats) -> Floats:
    """`wanted` at `x` on the line through (given, wanted); NaN beyond its ends."""
    if given.size == 0:
        return np.full(x.size, math.nan)
    return np.interp(x, given, wanted, left=math.nan, right=math.nan)
