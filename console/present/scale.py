"""A chart's vertical scale: ticks at round values that fall on whole rows of text."""

from __future__ import annotations

import math

from .numbers import MINUS

LABEL_CELLS = 5
"""The longest a tick's figure may be."""


class Scale:
    """Values to rows, with ticks at round values that fall on whole rows.

    Attributes:
        anchor: A tick's value, and `row` its row of text, from the top.
        step: From tick to tick, `rows_per_step` rows apart.
    """

    def __init__(self, anchor: float, row: int, step: float, rows_per_step: int) -> None:
        self.anchor = anchor
        self.row = row
        self.step = step
        self.rows_per_step = rows_per_step

    @classmethod
    def over(cls, low: float, high: float, rows: int) -> Scale:
        """The scale that shows everything between two values on so many rows and wastes least."""
        span = max(high - low, abs(high) * 1e-6, 1e-12)
        exponent = math.floor(math.log10(span / rows))
        candidates = sorted(
            (factor * 10.0**power / per_step, factor * 10.0**power, per_step)
            for power in (exponent, exponent + 1, exponent + 2)
            for factor in (1.0, 2.0, 2.5, 5.0)
            for per_step in (2, 3, 4)
        )
        for unit, step, per_step in candidates:
            for row in range(per_step):
                anchor = math.ceil((high - (row + 0.4) * unit) / step - 1e-9) * step
                if anchor - (rows - 1 - row + 0.4) * unit <= low:
                    return cls(anchor, row, step, per_step)
        return cls(high, 0, span, max(1, rows - 1))

    def pixel(self, value: float) -> int:
        """The row of dots of a value, counted from the top, four to a row of text."""
        rows = self.row + (self.anchor - value) / self.step * self.rows_per_step
        return round((rows + 0.5) * 4 - 0.5)

    def label(self, row: int) -> str:
        """The tick at a row of text, "" if there is none."""
        number, rest = divmod(row - self.row, self.rows_per_step)
        if rest:
            return ""
        value = self.anchor - number * self.step
        places = max(0, -math.floor(math.log10(self.step) + 1e-9))
        if self.step * 10**places % 1 > 1e-6:
            places += 1
        text = f"{value:.{places}f}" if 1e-4 < self.step < 1e5 else f"{value:.0e}"
        return text.replace("-", MINUS)[:LABEL_CELLS]
