"""What a chart says about itself: the curves' names, what was done to them, what was left out.

What was done is always said; it is put in fewer words before names give way.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from traindeck.console.metrics.reduce import formula

from . import braille
from .cells import Line, Span, clean, clip, fit_line, line_width, pad, width
from .curves import LETTERS, Curve, Reduced, View, smooths
from .glyphs import Glyphs
from .numbers import plural

SHORT = 8
"""Cells that a series' name is shortened to at most."""

Forms = tuple[str, ...]
"""A clause of a title, in fewer words from one to the next."""


def title_line(
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
    if smooths(drawn, view):
        name = formula(view.smoothing)
        how.append((f"{name} over band min–max", f"{name} over band", name))
    elif view.smoothing:
        how.append((f"as logged: fewer than {view.sparse} points", "as logged"))
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


def clipped(reduced: Sequence[Reduced], glyphs: Glyphs) -> list[Forms]:
    """In how many columns something is not a finite number."""
    strange = sum(int(np.sum(item.raw.strange)) for item in reduced)
    if not strange:
        return []
    whole = f"not finite in {plural(strange, 'column')}"
    return [(whole, whole, f"{glyphs.warning} {strange:,}")]


def hidden(drawn: Sequence[Curve], view: View) -> list[Forms]:
    """How many points a logarithmic axis has no place for."""
    many = sum(int(np.sum(curve.y <= 0)) for curve in drawn) if view.log else 0
    whole = f"{many:,} not above 0 left out"
    return [(whole, f"{many:,} not above 0")] if many else []


def notes(drawn: Sequence[Curve], shown: int, wide: int) -> tuple[str, ...]:
    """What was reduced, in clauses, the most important first."""
    total = sum(curve.x.size for curve in drawn)
    parts = [f"{shown:,} of {total:,} points"]
    parts += [f"min–max in {wide * braille.DOTS_X} half-cells", "nothing interpolated"]
    return tuple(parts)


def outliers(
    reduced: Sequence[Reduced], low: float, high: float, start: float, end: float, glyphs: Glyphs
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
