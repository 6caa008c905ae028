"""Charts as lines of spans: curves on a common scale, ticks, marks, a cursor, and what was reduced.

Pure: series and a view go in, lines come out; style names only. Every column shows the exact
extremes of the values in it. A chart always says how many points it shows and what it did to them.
Needs numpy.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from traindeck.backends.data import dataclass

from . import braille
from .cells import Line, Span, char_width, clean, clip, pad
from .chart_axis import ENDS, LABEL, x_axis
from .chart_words import clipped, hidden, notes, outliers, title_line
from .curves import (
    COLOURS,
    LETTERS,
    Curve,
    Floats,
    Mark,
    Reduced,
    View,
    at_cursor,
    curves,
    extent,
    reduced,
)
from .glyphs import BEST, Glyphs, ascii_text
from .log_scale import LogScale, NoScale, rows_of
from .numbers import figure
from .scale import Scale

LITTLE = sys.byteorder == "little"
HUGE = 1e300
"""Values beyond are drawn at the edge."""
FEW, RARE, FAR = 40, 0.04, 3.0
"""The y axis leaves out columns (of at least FEW; a share RARE on either side) that lie FAR times
the span of all others away."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """A drawn chart. `lines` has exactly the rows asked for; `notes` say what was reduced, in
    clauses, the most important first."""

    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()


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
    parts = [reduced(curve, view, start, end, wide * braille.DOTS_X) for curve in drawn]
    lowest, highest = _range(parts, view.log)
    shown = sum(item.raw.shown for item in parts)
    nothing = not math.isfinite(lowest)
    aside = hidden(drawn, view) + clipped(parts, glyphs)
    if nothing and not any(item.raw.strange.any() for item in parts):
        head = title_line(title, drawn, view, cells, glyphs, aside)
        low, high = extent(drawn)
        outside = any(curve.x.size for curve in drawn) and (start > high or end < low)
        words = "nothing above 0 here" if view.log else "no values here"
        words = "no values in this part; 0 shows the whole run" if outside else words
        if drawn and not any(curve.x.size for curve in drawn):
            words = f"no {view.axis} was logged with these values; x changes the axis"
        blank: list[Line] = [
            (Span(" " * LABEL), Span(clip(words, wide), "faint")),
            *[()] * (height - 1),
        ]
        if axis_row:
            blank.append(x_axis(start, end, wide, view.axis))
        return Chart(lines=(head, *blank), notes=notes(drawn, shown, wide))
    aside = outliers(parts, lowest, highest, start, end, glyphs) + aside
    scale: Scale | LogScale | NoScale
    if nothing:
        scale = NoScale()
    elif view.log:
        scale = LogScale(lowest, highest, height)
    else:
        scale = Scale.over(lowest, highest, height)
    if not nothing and sum(1 for row in range(height) if scale.label(row)) < 2:
        # No tick is short enough to tell the values apart.
        aside.append((f"y {figure(lowest, 7)} to {figure(highest, 7)}",))
    grid = braille.canvas(height, wide)
    for item in sorted(parts, key=lambda item: item.curve.key == view.focus):
        _paint(grid, item, scale, bands)
    lines = [title_line(title, drawn, view, cells, glyphs, aside)]
    lines += _plot(grid, scale, drawn, parts, view, start, end, marks, glyphs)
    if axis_row:
        lines.append(x_axis(start, end, wide, view.axis))
    return Chart(lines=tuple(lines), notes=notes(drawn, shown, wide))


def text_chart(
    series: Mapping[str, Any], *, width: int, height: int, log: bool = False, glyphs: Glyphs = BEST
) -> list[Line]:
    """A chart for the command line: all series on one scale, and what was reduced below it. Where
    a run resumed is drawn and said."""
    seams = sorted(
        {
            int(points.steps[at])
            for points in series.values()
            for at, attempt in getattr(points, "seams", ())
            if attempt and at < len(points.steps)
        }
    )
    marks = [Mark(x=x, kind="seam") for x in seams]
    made = chart(curves(series), View(log=log), max(40, width), height, marks=marks, glyphs=glyphs)
    resumed = [f"resumed at {', '.join(map(figure, seams[-4:]))}"] if seams else []
    return [*made.lines, (Span(" " * LABEL), Span(" · ".join([*made.notes, *resumed]), "faint"))]


# ------------------------------------------------------------------------------------------ inside


def _window(drawn: Sequence[Curve], view: View) -> tuple[float, float]:
    start, end = extent(drawn)
    start = start if view.start is None else view.start
    end = end if view.end is None else view.end
    return (start, end) if end > start else (start - 0.5, start + 0.5)


def _range(reduced: Sequence[Reduced], log: bool) -> tuple[float, float]:
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


def _paint(grid: braille.Canvas, item: Reduced, scale: Any, bands: bool) -> None:
    colour = item.curve.colour
    top, bottom = rows_of(scale, item.raw.high), rows_of(scale, item.raw.low)
    if item.soft is None:
        braille.draw(grid, top, bottom, colour)
        return
    (braille.draw_band if bands else braille.draw_edges)(grid, top, bottom, colour)
    braille.draw(grid, rows_of(scale, item.soft.high), rows_of(scale, item.soft.low), colour)


def _plot(
    grid: braille.Canvas,
    scale: Any,
    drawn: Sequence[Curve],
    reduced: Sequence[Reduced],
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


def _beyond(item: Reduced, scale: Any, height: int) -> list[tuple[int, str, list[int]]]:
    """Columns of dots that reach beyond the y axis: (row of text, arrow, columns)."""
    found = []
    highest, lowest = float(np.fmax.reduce(item.raw.high)), float(np.fmin.reduce(item.raw.low))
    with np.errstate(invalid="ignore"):
        if math.isfinite(highest) and scale.pixel(highest) < 0:
            above = rows_of(scale, item.raw.high) < 0
            found.append((0, "↑", np.flatnonzero(above).tolist()))
        if math.isfinite(lowest) and scale.pixel(lowest) >= height * braille.DOTS_Y:
            below = rows_of(scale, item.raw.low) >= height * braille.DOTS_Y
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


def _ends(reduced: Sequence[Reduced], scale: Any, height: int) -> dict[int, tuple[str, str]]:
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
