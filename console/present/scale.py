"""A chart's vertical scale: ticks at round values that fall on whole rows of text."""

from __future__ import annotations

import math

from .numbers import MINUS

LABEL_CELLS = 7
"""The longest a tick's figure should be."""

_LARGE = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def tick(value: float, step: float) -> str:
    """A tick's figure: exactly as many digits as tell it from its neighbours `step` away.

    From 100,000 on it has a unit (`250k`, `1.45G`); what is too small or too large for a plain
    figure has an exponent. "" where no figure of `LABEL_CELLS` cells would be true.
    """
    if abs(value) < step * 1e-6:
        return "0"
    power = math.floor(math.log10(abs(value)) + 1e-12)
    forms = [f"{value:.{_places(step)}f}"] if power < 15 else []
    unit, sign = next(((u, s) for u, s in _LARGE if abs(value) >= u), (1.0, ""))
    if power >= 5 and power < 15:
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
    """

    def __init__(
        self,
        anchor: float,
        row: int,
        step: float,
        rows_per_step: int,
        lowest: float = -math.inf,
    ) -> None:
        self.anchor = anchor
        self.row = row
        self.step = step
        self.rows_per_step = rows_per_step
        self.lowest = lowest

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
                    return cls(anchor, row, step, per_step, 0.0 if low >= 0 else -math.inf)
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
        # What cannot be negative has no tick there, though a row may reach below 0.
        return "" if value < self.lowest - self.step * 1e-9 else tick(value, self.step)
