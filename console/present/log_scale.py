"""The vertical scales of a chart that are not linear (`scale`): powers of ten, and none; and where
many values lie on a scale of any kind.

Needs numpy.
"""

from __future__ import annotations

import math

import numpy as np

from . import braille
from .chart_axis import tick_step
from .curves import Floats
from .scale import NUDGE, Scale, tick


class LogScale:
    """Decades to rows, with ticks at 1, 2, 5 times powers of ten."""

    def __init__(self, low: float, high: float, rows: int) -> None:
        low, high = math.log10(low), math.log10(high)
        if high - low < 0.2:
            middle = (high + low) / 2
            low, high = middle - 0.1, middle + 0.1
        self._low, self._high, self._rows = low, high, rows
        self._labels = self._ticks()
        if len(self._labels) < 2:
            self._labels = self._ends()

    def _ticks(self) -> dict[int, str]:
        """Powers of ten, and as much between them as there is room for; within a decade, round
        values at equal steps."""
        labels: dict[int, str] = {}
        if self._high - self._low < 1:
            low, high = 10.0**self._low, 10.0**self._high
            step = tick_step(high - low, max(2, self._rows // 3), "value")
            for number in range(math.ceil(low / step), math.floor(high / step) + 1):
                self._label(labels, number * step, tick(number * step, step, high))
            return labels
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        for factor in (1.0, 2.0, 5.0):
            for power in powers:
                value = factor * 10.0**power
                self._label(labels, value, tick(value, 10.0**power, 10.0**self._high))
        return labels

    def _ends(self) -> dict[int, str]:
        """The first and the last row, with what each shows: where no two round values have a row
        of their own."""
        labels = {}
        for row in (0, self._rows - 1):
            dot = (row + 0.5) * braille.DOTS_Y - 0.5
            share = dot / (self._rows * braille.DOTS_Y - 1)
            power = self._high - share * (self._high - self._low)
            value = 10.0**power
            places = (10.0 ** (math.floor(power) - n) for n in (2, 1, 0))
            texts = (tick(round(value / place) * place, place) for place in places if place > 0)
            labels[row] = next((text for text in texts if text), "")
        return labels

    def _label(self, labels: dict[int, str], value: float, text: str) -> None:
        row = self.pixel(value) // braille.DOTS_Y
        if 0 <= row < self._rows and all(abs(row - other) > 1 for other in labels):
            labels[row] = text

    def pixel(self, value: float) -> int:
        """The row of dots of a value, from the top."""
        share = (self._high - math.log10(value)) / (self._high - self._low)
        return round(share * (self._rows * braille.DOTS_Y - 1))

    def rows_of(self, values: Floats) -> Floats:
        """The same for many; NaN stays."""
        share = (self._high - np.log10(values)) / (self._high - self._low)
        return np.rint(share * (self._rows * braille.DOTS_Y - 1))

    def label(self, row: int) -> str:
        """The tick at a row of text; "" if there is none."""
        return self._labels.get(row, "")


class NoScale:
    """The scale of a chart in which nothing is a number: no ticks, no place."""

    def pixel(self, value: float) -> int:
        return 0

    def rows_of(self, values: Floats) -> Floats:
        return np.full(values.shape, np.nan)

    def label(self, row: int) -> str:
        return ""


def rows_of(scale: Scale | LogScale | NoScale, values: Floats) -> Floats:
    """Rows of dots of many values, as `scale.pixel` gives them one by one."""
    if isinstance(scale, Scale):
        rows = scale.row + (scale.anchor - values) / scale.step * scale.rows_per_step
        return np.rint((rows + 0.5) * braille.DOTS_Y - 0.5 - NUDGE)
    return scale.rows_of(values)
