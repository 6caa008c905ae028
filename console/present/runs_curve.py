"""The small chart of the pane below the list: one or two falling lines, with their own scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean
from .glyphs import BEST, Glyphs
from .numbers import MINUS, figure


class CurveData(Protocol):
    """A metric's points: steps and values of equal length."""

    @property
    def key(self) -> str: ...
    @property
    def steps(self) -> Sequence[float]: ...
    @property
    def values(self) -> Sequence[float]: ...


def legend(curves: Sequence[CurveData], run: RunRecord, glyphs: Glyphs = BEST) -> Line:
    """The line above the chart: each curve's sign, name and newest value."""
    spans: list[Span] = []
    for number, curve in enumerate(curves):
        if spans:
            spans.append(Span("   "))
        summary = run.metrics.get(curve.key)
        sign = glyphs.meter if number == 0 else glyphs.meter_stale
        spans += [
            Span(f"{sign} ", f"s{number + 1}"),
            Span(f"{clean(curve.key)} ", "text"),
            Span(figure(summary.last if summary else None), "strong bold"),
        ]
    return tuple(spans)


_LABELS = 6
"""Cells left of the plot: a tick's figure and a space."""

_DOTS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


def draw(curves: Sequence[CurveData], cells: int, rows: int, glyphs: Glyphs = BEST) -> list[Line]:
    """The chart as `rows` lines of `cells`: the first curve as a line (each column from its lowest
    to its highest value), the others as points. Values that are no numbers are gaps."""
    height, width = rows - 1, cells - _LABELS
    points = [_finite(curve) for curve in curves]
    if height < 3 or width < 10 or not any(points):
        return [(Span(" no values yet", "faint"),)]
    right = max(max(step for step, _ in part) for part in points if part) or 1.0
    left = min(min(step for step, _ in part) for part in points if part)
    values = [value for part in points for _, value in part]
    scale = Scale.over(min(values), max(values), height)
    canvas = _Canvas(width, height)
    for number in reversed(range(len(points))):
        canvas.curve(points[number], left, max(right - left, 1e-12), scale, number)
    lines: list[Line] = []
    for row in range(height):
        tick = scale.label(row)
        lines.append(
            (
                Span(f"{tick:>{_LABELS - 1}} ", "muted"),
                *canvas.line(row, grid=bool(tick), glyphs=glyphs),
            )
        )
    lines.append(_axis(left, right, width))
    return lines


def _finite(curve: CurveData) -> list[tuple[float, float]]:
    return [
        (float(step), float(value))
        for step, value in zip(curve.steps, curve.values, strict=False)
        if math.isfinite(value)
    ]


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
        return text.replace("-", MINUS)[: _LABELS - 1]


class _Canvas:
    """Braille dots, two by four to a cell. Cells are opaque: what is drawn later wins, so the main
    curve is drawn last."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._bits = [[0] * width for _ in range(height)]
        self._owner: list[list[int]] = [[-1] * width for _ in range(height)]

    def dot(self, x: int, y: int, owner: int) -> None:
        if not (0 <= x < self.width * 2 and 0 <= y < self.height * 4):
            return
        column, row = x // 2, y // 4
        if self._owner[row][column] != owner:
            self._owner[row][column], self._bits[row][column] = owner, 0
        self._bits[row][column] |= _DOTS[y % 4][x % 2]

    def curve(
        self,
        points: Sequence[tuple[float, float]],
        left: float,
        span: float,
        scale: Scale,
        owner: int,
    ) -> None:
        columns: dict[int, tuple[int, int]] = {}
        for step, value in points:
            x = round((step - left) / span * (self.width * 2 - 1))
            y = scale.pixel(value)
            low, high = columns.get(x, (y, y))
            columns[x] = (min(low, y), max(high, y))
        before: tuple[int, int] | None = None
        for x in sorted(columns):
            low, high = columns[x]
            if owner == 0 and before is not None:
                # Joined to its neighbour, so that a steep fall is a line and not two dots.
                low, high = min(low, before[1] + 1), max(high, before[0] - 1)
            for y in range(low, high + 1):
                self.dot(x, y, owner)
            before = columns[x]

    def line(self, row: int, *, grid: bool, glyphs: Glyphs) -> Line:
        spans: list[Span] = []
        for column in range(self.width):
            bits, owner = self._bits[row][column], self._owner[row][column]
            if bits:
                sign = chr(0x2800 + bits) if glyphs.charts == "braille" else _coarse(bits, glyphs)
                part = Span(sign, f"s{owner + 1}")
            else:
                part = Span("┈" if grid else " ", "grid")
            if spans and spans[-1].style == part.style:
                part = Span(spans.pop().text + part.text, part.style)
            spans.append(part)
        return tuple(spans)


_UPPER, _LOWER = 0x01 | 0x02 | 0x08 | 0x10, 0x04 | 0x40 | 0x20 | 0x80


def _coarse(bits: int, glyphs: Glyphs) -> str:
    """A cell of dots for fonts without braille: upper or lower half, or one mark."""
    if glyphs.charts == "ascii":
        return "*"
    return "▀" if not bits & _LOWER else "▄" if not bits & _UPPER else "█"


def _axis(left: float, right: float, width: int) -> Line:
    """First step, a round one in the middle, the last one."""
    end = f"step {figure(int(right))}"
    start = figure(int(left))
    middle = (left + right) / 2
    power = 10.0 ** max(0, math.floor(math.log10(max(1.0, middle))))
    tick = int(round(middle / power * 2) / 2 * power)
    line = [" "] * width
    line[: len(start)] = start
    line[width - len(end) :] = end
    label = figure(tick)
    at = round((tick - left) / max(right - left, 1e-12) * (width - 1)) - len(label) // 2
    if len(start) + 2 < at < width - len(end) - len(label) - 2:
        line[at : at + len(label)] = label
    return (Span(" " * _LABELS), Span("".join(line)[:width], "muted"))
