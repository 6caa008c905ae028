"""The small chart of the pane below the list: the main metric and its evaluation, on one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean, clip_line
from .glyphs import BEST, Glyphs
from .numbers import figure


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


def draw(curves: Sequence[CurveData], cells: int, rows: int, glyphs: Glyphs = BEST) -> list[Line]:
    """The chart as `rows` lines of at most `cells`, without its legend. Needs numpy."""
    from traindeck.console.metrics.reduce import arrays

    from .chart import chart
    from .curves import Curve, View

    drawn = []
    for number, curve in enumerate(curves):
        x, y = arrays(curve.steps, curve.values)
        drawn.append(Curve(curve.key, x, y, number))
    focus = curves[0].key if curves else ""
    made = chart(drawn, View(focus=focus), cells, rows + 1, glyphs=glyphs)
    return [clip_line(line, cells) for line in made.lines[1:]]
