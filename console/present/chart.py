"""Charts as lines of spans: curves on a common scale, ticks, marks, a cursor, and what was reduced.

Pure: series and a view go in, lines come out; style names only. Every column shows the exact
extremes of the values in it. A chart always says how many points it shows and what it did to them.
Needs numpy.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from traindeck.console.metrics.axis import Axis
from traindeck.console.metrics.reduce import Columns, Envelope, arrays, formula, nearest, smooth

from . import braille
from .ages import age
from .cells import Line, Span, char_width, clean, clip, fit_line, line_width, pad, width
from .glyphs import BEST, Glyphs, ascii_text
from .numbers import MINUS, figure, plural
from .scale import NUDGE, Scale, tick

LITTLE = sys.byteorder == "little"
LETTERS = "abcdefghijklmnopqrstuvwxyz"
COLOURS = 8
SHORT = 8
"""Cells that a series' name is shortened to at most."""
HUGE = 1e300
"""Values beyond are drawn at the edge."""
LABEL = 8
"""Cells left of the plot, a space included."""
SPARSE = 200
"""Points from which on a series is smoothed."""
ENDS = 2
"""Cells right of it, for the letters of the curves."""
FEW, RARE, FAR = 40, 0.04, 3.0
"""The y axis leaves out columns (of at least FEW; a share RARE on either side) that lie FAR times
the span of all others away."""

Floats = npt.NDArray[np.float64]
Forms = tuple[str, ...]
"""A clause of a title, in fewer words from one to the next."""


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

    def smoothed(self, weight: float) -> Floats:
        """The values smoothed. A series of few points (an evaluation now and then) is not: an
        average over its neighbours would lie far from any of them."""
        if self.y.size < SPARSE:
            return self.y
        return self.soft if self.soft is not None else smooth(self.y, weight)


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
        axis: What x is: `step`, `time`, `epoch`.
        cursor: Where it stands on the x axis.
        focus: Key of the curve painted last.
    """

    start: float | None = None
    end: float | None = None
    log: bool = False
    smoothing: float = 0.0
    axis: str = "step"
    cursor: float | None = None
    focus: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawn chart. `lines` has exactly the rows asked for; `notes` say what was reduced, in
    clauses, the most important first."""

    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()


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


def softened(curve: Curve, weight: float) -> Curve:
    """The curve with its smoothed values, so that not every frame makes them anew."""
    soft = smooth(curve.y, weight) if weight > 0 and curve.y.size >= SPARSE else None
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


def chart(
    drawn: Sequence[Curve],
    view: View,
    cells: int,
    rows: int,
    *,
    title: str = "",
    marks: Sequence[Mark] = (),
    axis_row: bool = True,
    glyphs: Glyphs = BEST,
    bands: bool = True,
) -> Chart:
    """One chart: a title row, the plot, and the x axis' row unless another chart has it.

    Args:
        cells, rows: Size of the whole; at least 20 × 5 for a plot.
        bands: Whether grounds can be mixed; else a band is drawn by its edges.
    """
    height, wide = rows - 1 - axis_row, cells - LABEL - ENDS
    if height < 3 or wide < 8:
        text = clip("too small for a chart", cells)
        return Chart(lines=tuple((Span(text, "faint"),) if n == 0 else () for n in range(rows)))
    start, end = _window(drawn, view)
    reduced = [_reduce(curve, view, start, end, wide * braille.DOTS_X) for curve in drawn]
    lowest, highest = _range(reduced, view.log)
    shown = sum(item.raw.shown for item in reduced)
    if not math.isfinite(lowest):
        head = _title(title, drawn, view, cells, glyphs, _clipped(reduced, glyphs))
        low, high = extent(drawn)
        outside = any(curve.x.size for curve in drawn) and (start > high or end < low)
        words = "nothing above 0 here" if view.log else "no values here"
        words = "no values in this part; 0 shows the whole run" if outside else words
        empty: list[Line] = [
            (Span(" " * LABEL), Span(clip(words, wide), "faint")),
            *[()] * (height - 1),
        ]
        if axis_row:
            empty.append(_axis(start, end, wide, view.axis))
        return Chart(lines=(head, *empty), notes=_notes(drawn, shown, wide, view))
    aside = _outliers(reduced, lowest, highest, start, end, glyphs) + _clipped(reduced, glyphs)
    scale = _LogScale(lowest, highest, height) if view.log else Scale.over(lowest, highest, height)
    if sum(1 for row in range(height) if scale.label(row)) < 2:
        # No tick is short enough to tell the values apart.
        aside.append((f"y {figure(lowest, 7)} to {figure(highest, 7)}",))
    grid = braille.canvas(height, wide)
    for item in sorted(reduced, key=lambda item: item.curve.key == view.focus):
        _paint(grid, item, scale, bands)
    lines = [_title(title, drawn, view, cells, glyphs, aside)]
    lines += _plot(grid, scale, drawn, reduced, view, start, end, marks, glyphs)
    if axis_row:
        lines.append(_axis(start, end, wide, view.axis))
    return Chart(lines=tuple(lines), notes=_notes(drawn, shown, wide, view))


def text_chart(
    series: Mapping[str, Any], *, width: int, height: int, log: bool = False, glyphs: Glyphs = BEST
) -> list[Line]:
    """A chart for the command line: all series on one scale, and what was reduced below it."""
    made = chart(curves(series), View(log=log), max(40, width), height, glyphs=glyphs)
    return [*made.lines, (Span(" " * LABEL), Span(" · ".join(made.notes), "faint"))]


def at_cursor(drawn: Sequence[Curve], view: View) -> list[tuple[Curve, float, float, float]]:
    """For each curve the logged point nearest to the cursor: (curve, its x, its value, the smoothed
    value there). A value that is not finite was logged too: another point's never stands for it."""
    found = []
    if view.cursor is None:
        return []
    for curve in drawn:
        index = nearest(curve.x, view.cursor)
        if index is not None:
            soft = curve.smoothed(view.smoothing)
            found.append((curve, float(curve.x[index]), float(curve.y[index]), float(soft[index])))
    return found


# ------------------------------------------------------------------------------------------ inside


@dataclass(frozen=True, slots=True)
class _Reduced:
    curve: Curve
    raw: Envelope
    soft: Envelope | None
    last: float | None = field(default=None)


class _LogScale:
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
            step = _tick_step(high - low, max(2, self._rows // 3), "value")
            for number in range(math.ceil(low / step), math.floor(high / step) + 1):
                self._label(labels, number * step, tick(number * step, step))
            return labels
        powers = range(math.floor(self._low), math.ceil(self._high) + 1)
        for factor in (1.0, 2.0, 5.0):
            for power in powers:
                self._label(labels, factor * 10.0**power, tick(factor * 10.0**power, 10.0**power))
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
        return self._labels.get(row, "")


def _window(drawn: Sequence[Curve], view: View) -> tuple[float, float]:
    start, end = extent(drawn)
    start = start if view.start is None else view.start
    end = end if view.end is None else view.end
    return (start, end) if end > start else (start - 0.5, start + 0.5)


def _reduce(curve: Curve, view: View, start: float, end: float, dots: int) -> _Reduced:
    y = curve.y
    if view.log:
        with np.errstate(invalid="ignore"):
            y = np.where(y > 0, y, np.nan)
    columns = Columns(curve.x, start, end, dots)
    raw = columns.envelope(y)
    if view.log and raw.strange.any():  # a value below 0 is a gap here, but a value
        raw = replace(raw, strange=columns.envelope(curve.y).strange)
    soft = None
    if view.smoothing > 0 and y.size >= SPARSE:
        smoothed = curve.smoothed(view.smoothing)
        if view.log:
            with np.errstate(invalid="ignore"):
                smoothed = np.where(smoothed > 0, smoothed, np.nan)
        soft = columns.envelope(smoothed)
    seen = soft or raw
    known = np.nonzero(~np.isnan(seen.low))[0]
    last = float(seen.low[known[-1]] / 2 + seen.high[known[-1]] / 2) if known.size else None
    return _Reduced(curve, raw, soft, last)


def _range(reduced: Sequence[_Reduced], log: bool) -> tuple[float, float]:
    """What the y axis shows: everything; or, if a few columns are so far off that all others would
    lie on one line, those others. What is beyond is drawn at the edge and counted."""
    lows = _known([item.raw.low for item in reduced])
    highs = _known([item.raw.high for item in reduced])
    if not lows.size:
        return math.nan, math.nan
    # The span of all that a float can hold is not one.
    low, high = max(float(lows.min()), -HUGE), min(float(highs.max()), HUGE)
    if log or lows.size < FEW:
        return low, high
    bulk_low, bulk_high = float(np.quantile(lows, RARE)), float(np.quantile(highs, 1 - RARE))
    span = bulk_high - bulk_low
    if span <= 1e-6 * max(abs(bulk_low), abs(bulk_high)):
        return low, high
    if high - bulk_high > FAR * span:
        high = min(high, bulk_high + span / 8)
    if bulk_low - low > FAR * span:
        low = max(low, bulk_low - span / 8)
    return low, high


def _known(parts: Sequence[Floats]) -> Floats:
    values = np.concatenate(parts) if parts else np.empty(0)
    return values[~np.isnan(values)]


def _outliers(
    reduced: Sequence[_Reduced], low: float, high: float, start: float, end: float, glyphs: Glyphs
) -> list[Forms]:
    """How many points lie beyond the y axis."""
    above = below = 0
    for item in reduced:
        x, y = item.curve.x, item.curve.y
        part = slice(int(np.searchsorted(x, start)), int(np.searchsorted(x, end, side="right")))
        if np.fmax.reduce(item.raw.high) > high:
            above += int(np.sum(np.isfinite(y[part]) & (y[part] > high)))
        if np.fmin.reduce(item.raw.low) < low:
            below += int(np.sum(np.isfinite(y[part]) & (y[part] < low)))
    up, down = ("^", "v") if glyphs.name == "ascii" else ("↑", "↓")
    said = [(f"{up} {above:,}", "above", above), (f"{down} {below:,}", "below", below)]
    return [(f"{many} {where}",) * 2 + (many,) for many, where, count in said if count]


def _rows_of(scale: Any, values: Floats) -> Floats:
    """Rows of dots of many values, as `scale.pixel` gives them one by one."""
    if isinstance(scale, Scale):
        rows = scale.row + (scale.anchor - values) / scale.step * scale.rows_per_step
        return np.rint((rows + 0.5) * braille.DOTS_Y - 0.5 - NUDGE)
    placed: Floats = scale.rows_of(values)
    return placed


def _paint(grid: braille.Canvas, item: _Reduced, scale: Any, bands: bool) -> None:
    colour = item.curve.colour
    top, bottom = _rows_of(scale, item.raw.high), _rows_of(scale, item.raw.low)
    if item.soft is None:
        braille.draw(grid, top, bottom, colour)
        return
    (braille.draw_band if bands else braille.draw_edges)(grid, top, bottom, colour)
    braille.draw(grid, _rows_of(scale, item.soft.high), _rows_of(scale, item.soft.low), colour)


def _plot(
    grid: braille.Canvas,
    scale: Any,
    drawn: Sequence[Curve],
    reduced: Sequence[_Reduced],
    view: View,
    start: float,
    end: float,
    marks: Sequence[Mark],
    glyphs: Glyphs,
) -> list[Line]:
    wide, height = grid.columns, grid.rows

    def column(x: float) -> int:
        return round((x - start) / (end - start) * (wide - 1))

    over: dict[tuple[int, int], tuple[str, str]] = {}
    for item in reduced:
        for row, sign, dots in _beyond(item, scale, height):
            for dot in dots:
                over[(row, dot // braille.DOTS_X)] = (
                    ascii_text(sign) if glyphs.name == "ascii" else sign,
                    f"s{item.curve.colour + 1}",
                )
        for dot in np.nonzero(item.raw.strange)[0].tolist():
            over[(0, dot // braille.DOTS_X)] = (glyphs.warning, "warn")
    for mark in marks:
        at = column(mark.x)
        if not 0 <= at < wide:
            continue
        if mark.kind == "checkpoint":
            over.setdefault((height - 1, at), ("◆" if glyphs.name == "best" else "+", "muted"))
        elif mark.kind == "alert":
            over[(0, at)] = (glyphs.warning, "warn")
            said = f" {clip(clean(mark.text), 24)}" if mark.text else ""
            places = range(at + 1, at + 1 + len(said))
            # Words with holes in them say nothing: whole, or only the sign.
            free = all(p < wide and not grid.bits[0, p] and (0, p) not in over for p in places)
            if free and all(char_width(sign) == 1 for sign in said):
                over.update({(0, p): (sign, "warn") for p, sign in zip(places, said, strict=True)})
        else:
            for row in range(height):
                if not grid.bits[row, at]:
                    over.setdefault((row, at), ("┊" if glyphs.name == "best" else ":", "faint"))
    if view.cursor is not None and 0 <= (at := column(view.cursor)) < wide:
        for row in range(height):
            if not grid.bits[row, at]:
                over[(row, at)] = ("│" if glyphs.name != "ascii" else "|", "accent")
        for curve, x, _, soft in at_cursor(drawn, view):
            spot = column(x)
            if 0 <= spot < wide and math.isfinite(soft) and (not view.log or soft > 0):
                row = min(max(scale.pixel(soft) // braille.DOTS_Y, 0), height - 1)
                over[(row, spot)] = (glyphs.running, f"s{curve.colour + 1}")
    ends = _ends(reduced, scale, height) if len(drawn) > 1 else {}
    ticks = [scale.label(row) for row in range(height)]
    lines = []
    for row, spans in enumerate(_rows(grid, [text != "" for text in ticks], over, glyphs)):
        letter = ends.get(row)
        last = Span(f" {letter[0]}", letter[1]) if letter else Span("  ")
        lines.append((Span(pad(ticks[row], LABEL - 1, "right") + " ", "muted"), *spans, last))
    return lines


def _beyond(item: _Reduced, scale: Any, height: int) -> list[tuple[int, str, list[int]]]:
    """Columns of dots that reach beyond the y axis: (row of text, arrow, columns)."""
    found = []
    highest, lowest = float(np.fmax.reduce(item.raw.high)), float(np.fmin.reduce(item.raw.low))
    with np.errstate(invalid="ignore"):
        if math.isfinite(highest) and scale.pixel(highest) < 0:
            above = _rows_of(scale, item.raw.high) < 0
            found.append((0, "↑", np.flatnonzero(above).tolist()))
        if math.isfinite(lowest) and scale.pixel(lowest) >= height * braille.DOTS_Y:
            below = _rows_of(scale, item.raw.low) >= height * braille.DOTS_Y
            found.append((height - 1, "↓", np.flatnonzero(below).tolist()))
    return found


def _rows(
    grid: braille.Canvas,
    ticked: Sequence[bool],
    over: Mapping[tuple[int, int], tuple[str, str]],
    glyphs: Glyphs,
) -> list[list[Span]]:
    """The cells of the plot as spans: as many as there are changes of style in a row."""
    rule = ord({"braille": "┈", "ascii": "."}.get(glyphs.charts, "·"))
    codes = braille.signs(grid, glyphs.charts)
    blank = grid.bits == 0
    codes[blank & (grid.band < 0) & np.array(ticked)[:, None]] = rule
    inks = ["grid", *(f"s{number + 1}" for number in range(COLOURS))]
    ink = np.where(blank, 0, grid.owner + 1)
    for (row, at), (sign, style) in over.items():
        if style not in inks:
            inks.append(style)
        codes[row, at], ink[row, at] = ord(sign), inks.index(style)
    styles = ink * (COLOURS + 1) + grid.band + 1
    named: dict[int, str] = {}
    for style in np.unique(styles).tolist():
        number, band = divmod(style, COLOURS + 1)
        named[style] = inks[number] + (f" @band{band}" if band else "")
    rows = []
    for row in range(grid.rows):
        text = codes[row].tobytes().decode("utf-32-le" if LITTLE else "utf-32-be")
        starts = [0, *(np.flatnonzero(np.diff(styles[row])) + 1).tolist(), grid.columns]
        first = styles[row][starts[:-1]].tolist()
        rows.append(
            [
                Span(text[a:b], named[style])
                for (a, b), style in zip(pairwise(starts), first, strict=True)
            ]
        )
    return rows


def _ends(reduced: Sequence[_Reduced], scale: Any, height: int) -> dict[int, tuple[str, str]]:
    """Row -> letter of the curve that ends there; pushed apart, never reordered."""
    # By dots: two curves that end in one row of text keep their order too.
    wanted = sorted(
        (scale.pixel(item.last), number)
        for number, item in enumerate(reduced)
        if item.last is not None
    )
    rows = [min(max(dot // braille.DOTS_Y, 0), height - 1) for dot, _ in wanted]
    placed: list[int] = []
    for row in rows:
        placed.append(max(row, placed[-1] + 1) if placed else row)
    for index in range(len(placed) - 1, -1, -1):
        limit = height - 1 if index == len(placed) - 1 else placed[index + 1] - 1
        placed[index] = min(placed[index], limit)
    return {
        row: (LETTERS[number % 26], f"s{reduced[number].curve.colour + 1}")
        for row, (_, number) in zip(placed, wanted, strict=True)
        if row >= 0
    }


def _title(
    title: str,
    drawn: Sequence[Curve],
    view: View,
    cells: int,
    glyphs: Glyphs,
    aside: Sequence[Forms] = (),
) -> Line:
    """What is drawn at the left, what was done to it at the right. What was done is always said:
    it is put in fewer words first, then names give way."""
    tails = _tails([*_how(drawn, view), *aside])
    # A single curve's own name says it all.
    named = bool(title) and [curve.key for curve in drawn] != [title]
    head = [Span(f" {clean(title)} ", "strong bold")] if named else []
    tail = next((t for t in tails if _fits(head, drawn, t, cells, glyphs)), tails[-1])
    room = cells - (width(tail) + 2 if tail else 0)
    spans = _legend(head, drawn, room, glyphs)
    if tail:
        spans.append(Span(pad(tail, cells - line_width(spans), "right"), "muted"))
    return fit_line(spans, cells)


def _how(drawn: Sequence[Curve], view: View) -> list[Forms]:
    how: list[Forms] = []
    if view.smoothing and any(curve.y.size >= SPARSE for curve in drawn):
        name = formula(view.smoothing)
        how.append((f"{name} over band min–max", f"{name} over band", name))
    elif view.smoothing:
        how.append((f"as logged: fewer than {SPARSE} points", "as logged"))
    if view.log:
        how.append(("log y",))
    return how


def _tails(clauses: Sequence[Forms]) -> list[str]:
    """The clauses joined, in fewer words from one to the next."""
    steps = max((len(forms) for forms in clauses), default=1)
    return [" · ".join(forms[min(n, len(forms) - 1)] for forms in clauses) for n in range(steps)]


def _fits(
    head: Sequence[Span], drawn: Sequence[Curve], tail: str, cells: int, glyphs: Glyphs
) -> bool:
    whole = line_width([*head, *_names(drawn, cells, glyphs)])
    return whole + (width(tail) + 2 if tail else 0) <= cells


def _legend(head: Sequence[Span], drawn: Sequence[Curve], room: int, glyphs: Glyphs) -> list[Span]:
    """The names in at most `room` cells: whole, shortened in their middle, without the title that
    the names repeat, then as many as there is room for and how many more there are."""
    longest = max((width(clean(curve.key)) for curve in drawn), default=0)
    for before in (head, ()):
        for limit in range(longest, min(longest, SHORT) - 1, -1):
            spans = [*before, *_names(drawn, limit, glyphs)]
            if line_width(spans) <= room:
                return spans
    short = _names(drawn, SHORT, glyphs)
    for count in range(len(drawn) - 1, 0, -1):
        spans = [*short[: 2 * count], Span(f" +{len(drawn) - count} ", "muted")]
        if line_width(spans) <= room:
            return spans
    return []


def _names(drawn: Sequence[Curve], limit: int, glyphs: Glyphs) -> list[Span]:
    """Two spans a curve: its sign, and its letter and name of at most `limit` cells."""
    spans: list[Span] = []
    for number, curve in enumerate(drawn):
        letter = f"{LETTERS[number % 26]} " if len(drawn) > 1 else ""
        spans.append(Span(f" {glyphs.meter} ", f"s{curve.colour + 1}"))
        spans.append(Span(f"{letter}{clip(clean(curve.key), limit, 'both')} ", "text"))
    return spans


def _clipped(reduced: Sequence[_Reduced], glyphs: Glyphs) -> list[Forms]:
    strange = sum(int(np.sum(item.raw.strange)) for item in reduced)
    if not strange:
        return []
    whole = f"not finite in {plural(strange, 'column')}"
    return [(whole, whole, f"{glyphs.warning} {strange:,}")]


def _notes(drawn: Sequence[Curve], shown: int, wide: int, view: View) -> tuple[str, ...]:
    total = sum(curve.x.size for curve in drawn)
    parts = [f"{shown:,} of {total:,} points"]
    if view.log:
        hidden = sum(int(np.sum(curve.y <= 0)) for curve in drawn)
        if hidden:
            parts.append(f"{hidden:,} not above 0 left out")
    parts += [f"min–max in {wide * braille.DOTS_X} half-cells", "nothing interpolated"]
    return tuple(parts)


def _axis(start: float, end: float, wide: int, axis: str) -> Line:
    """Ticks at 1-2-5 steps, as many as fit with room between, and what x is at the right end."""
    name = {"time": "elapsed", "epoch": "epoch"}.get(axis, "step")
    step, ticks = _x_ticks(start, end, wide, axis)
    line = [" "] * (wide + ENDS)
    free, before = 0, ""
    last = f"{_until(end, step) if axis == 'time' else _tick(end, axis, step)} {name}"
    limit = wide + ENDS - width(last)
    for value, text in ticks:
        at = round((value - start) / (end - start) * (wide - 1)) - len(text) // 2
        at = max(0, at)
        if at >= free and at + len(text) + 1 < limit and text != before:
            line[at : at + len(text)] = text
            free, before = at + len(text) + 2, text
    line[limit:] = last
    return (Span(" " * LABEL), Span("".join(line), "muted"))


APART, BETWEEN = 8, 4
"""Cells from tick to tick of the x axis at least, and from the end of one to the next."""


def _x_ticks(
    start: float, end: float, wide: int, axis: str
) -> tuple[float, list[tuple[float, str]]]:
    """The smallest round step whose ticks have room and differ, and these: (value, text)."""
    step, ticks = 0.0, []
    for count in range(max(2, wide // APART), 0, -1):
        another = _tick_step(end - start, count, axis)
        if another == step:
            continue
        step = another
        first, last = math.ceil(start / step - 1e-9), math.floor(end / step + 1e-9)
        ticks = [(n * step, _tick(n * step, axis, step)) for n in range(first, last + 1)]
        needed = max((len(text) for _, text in ticks), default=0) + BETWEEN
        cells = step / (end - start) * (wide - 1)
        if cells >= max(APART, needed) and len({text for _, text in ticks}) == len(ticks):
            break
    return step, ticks


_TIMES = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400)
"""Seconds from tick to tick on a time axis; days beyond."""


def _tick_step(span: float, count: int, axis: str) -> float:
    raw = span / count
    if axis == "time" and raw <= _TIMES[-1]:
        return float(next(step for step in _TIMES if step >= raw * (1 - 1e-9)))
    if axis == "time":
        return 86400.0 * _tick_step(span / 86400.0, count, "step")
    if axis == "step":
        raw = max(raw, 1.0)  # there is nothing between two steps
    power = 10.0 ** math.floor(math.log10(raw)) if raw > 0 else 1.0
    return next(f * power for f in (1.0, 2.0, 5.0, 10.0) if f * power >= raw * (1 - 1e-9))


def _moment(seconds: float) -> str:
    """A time since the start, exact to the second: what stands at a tick is not rounded."""
    whole = round(abs(seconds))
    days, hours, minutes, left = whole // 86400, whole // 3600, whole % 3600 // 60, whole % 60
    if hours >= 24 and minutes == left == 0:
        text = f"{days}d{hours % 24:02d}h" if hours % 24 else f"{days}d"
    elif hours:
        text = f"{hours}h{minutes:02d}" + (f"m{left:02d}s" if left else "")
    elif minutes:
        text = f"{minutes}m" + (f"{left:02d}s" if left else "")
    else:
        text = f"{left}s"
    return MINUS + text if seconds < 0 and whole else text


def _until(seconds: float, step: float) -> str:
    """The end of a time axis, which need not be a round time: as exact as its ticks."""
    whole = round(seconds)
    if whole < 60:
        return age(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    unit = 1 if step < 60 else 60 if step < 3600 or whole < 86400 else 3600
    return _moment(whole // unit * unit)


def _tick(value: float, axis: str, step: float) -> str:
    if axis == "time":
        return _moment(value)
    if step >= 1 or axis == "step":
        return f"{round(value):,}"
    return f"{value:g}"
