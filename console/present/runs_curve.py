"""The small chart of the pane below the list: one or two falling lines, with their own scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean
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
