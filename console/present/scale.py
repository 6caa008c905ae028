"""A chart's vertical scale: ticks at round values that fall on whole rows of text."""

from __future__ import annotations

import math

from traindeck.console.store.spark import CONSTANT, TINY

from .numbers import MINUS

LABEL_CELLS = 7
"""The longest a tick's figure should be."""

FEW_ROWS, FINER = 5, (2, 5)
"""Up to so many rows the first and the last may be the ticks, at multiples of such a part of a
step: round ticks that have to meet both the rows and the values would waste half of them."""

NUDGE = 1e-6
"""A tick lies between two dots of its row: what is at it up to the error of a sum is drawn on the
upper one, not sometimes here and sometimes there."""

UNITS_FROM = 1e5

_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def tick(value: float, step: float, largest: float = 0.0) -> str:
    """A tick's figure: exactly as many digits as tell it from its neighbours `step` away.

    From 100,000 on it has a unit (`250k`, `1.45G`), and beside one that has from 1,000 on; what is
    too small or too large for a plain figure has an exponent. "" where no figure of `LABEL_CELLS`
    cells would be true.

    Args:
        largest: The largest value that has a tick beside it.
    """
    if abs(value) < step * 1e-6:
        return "0"
    power = math.floor(math.log10(abs(value)) + 1e-12)
    forms = [f"{value:.{_places(step)}f}"] if power < 15 else []
    unit, sign = next(((u, s) for u, s in _LARGE if abs(value) >= u), (1.0, ""))
    if (3 if largest >= UNITS_FROM else 5) <= power < 15:
        forms.insert(0, f"{value / unit:.{_places(step / unit)}f}{sign}")
    needed = _places(step / 10.0**power)
    forms += [_exponent(value, places) for places in range(min(needed, 15), -1, -1)]
    fitting = (form for form in forms if len(form) <= LABEL_CELLS)
    # Rather no figure than one that stands for another value.
    honest = (form for form in fitting if abs(_read(form) - value) <= step / 4)
    return next(honest, "").replace("-", MINUS)


def _read(form: str) -> float:
    unit = next((u for u, s in _LARGE if form.endswith(s)), None)
    return float(form) if unit is None else float(form[:-1]) * unit


def _exponent(value: float, places: int) -> str:
    mantissa, exponent = f"{value:.{places}e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def _places(step: float) -> int:
    """Decimals that a multiple of `step` (1, 2, 2.5 or 5 times a power of ten) needs."""
    places = max(0, -math.floor(math.log10(step) + 1e-9))
    if places > 300:
        return places
    scaled = step * 10.0**places
    return places + int(abs(scaled - round(scaled)) > 1e-6)


class Scale:
    """Values to rows, with ticks at round values that fall on whole rows.

    Attributes:
        anchor: A tick's value, and `row` its row of text, from the top.
        step: From tick to tick, `rows_per_step` rows apart.
        lowest: There is no tick below it.
        digits: What the ticks are told apart by: all are multiples of it, or nearly so.
    """

    def __init__(
        self,
        anchor: float,
        row: int,
        step: float,
        rows_per_step: int,
        lowest: float = -math.inf,
        digits: float | None = None,
    ) -> None:
        self.anchor = anchor
        self.row = row
        self.step = step
        self.rows_per_step = rows_per_step
        self.lowest = lowest
        self.digits = step if digits is None else digits

    @classmethod
    def over(cls, low: float, high: float, rows: int) -> Scale:
        """The scale that shows everything between two values on so many rows and wastes least.

        It has at least two ticks, as one alone does not say how much a row is.
        """
        largest = max(abs(low), abs(high))
        if high - low <= max(largest * CONSTANT, TINY):
            return cls._around(low / 2 + high / 2, rows, low >= 0)
        lowest = 0.0 if low >= 0 else -math.inf
        exponent = math.floor(math.log10((high - low) / rows))
        candidates = [
            (factor * 10.0**power / per_step, factor * 10.0**power, per_step, 1)
            for power in (exponent, exponent + 1, exponent + 2)
            for factor in (1.0, 2.0, 2.5, 5.0)
            for per_step in (2, 3, 4)
        ]
        if 2 < rows <= FEW_ROWS:
            candidates += [
                (unit, step, per_step, finer)
                for unit, step, per_step, _ in candidates
                for finer in FINER
                if per_step == rows - 1 and _places(step / finer) <= _places(step) + 1
            ]
        unlabelled = None
        # Of those that waste as much, the one with the rounder ticks.
        for unit, step, per_step, finer in sorted(candidates, key=lambda c: (c[0], c[3])):
            grain = step / finer
            for row in range(per_step if finer == 1 else 1):
                anchor = math.ceil((high - (row + 0.4) * unit) / grain - 1e-9) * grain
                while anchor - (rows - 1 - row + 0.4) * unit <= low + 1e-9 * unit:
                    made = cls(anchor, row, step, per_step, lowest, grain)
                    if made.ticks(rows) > 1:
                        return made
                    unlabelled = unlabelled or made
                    anchor += grain
        return unlabelled or cls(high, 0, high - low, max(1, rows - 1))

    @classmethod
    def _around(cls, value: float, rows: int, positive: bool) -> Scale:
        """The scale of a constant: in the middle, with some room to either side."""
        middle = max(0, (rows - 1) // 2)
        if abs(value) < TINY:
            return cls(0.0, middle, 1.0, max(1, middle), 0.0 if positive else -math.inf)
        step = 10.0 ** (math.floor(math.log10(abs(value)) + 1e-12) - 1)
        lowest = 0.0 if positive else -math.inf
        value = round(value / (step / 100)) * (step / 100)  # what its tick says
        return cls(value, middle, step, max(1, middle), lowest, step / 100)

    def ticks(self, rows: int) -> int:
        """How many of so many rows have a tick."""
        return sum(1 for row in range(rows) if self.label(row))

    def pixel(self, value: float) -> int:
        """The row of dots of a value, counted from the top, four to a row of text."""
        rows = self.row + (self.anchor - value) / self.step * self.rows_per_step
        return round((rows + 0.5) * 4 - 0.5 - NUDGE)

    def label(self, row: int) -> str:
        """The tick at a row of text, "" if there is none."""
        number, rest = divmod(row - self.row, self.rows_per_step)
        if rest:
            return ""
        value = self.anchor - number * self.step
        # What cannot be negative has no tick there, though a row may reach below 0.
        return (
            "" if value < self.lowest - self.step * 1e-9 else tick(value, self.digits, self.anchor)
        )
