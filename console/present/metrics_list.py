"""What `metrics` prints: the series of a run in a table.

On a terminal it is fitted to the width: columns are dropped as a whole, the less telling first, and
no number is ever cut. Piped, everything is there, and no bars are.
"""

from __future__ import annotations

from collections.abc import Sequence

from traindeck.backends.data import dataclass
from traindeck.console.store.records import MetricSummary, RunRecord

from .cells import Line, Span, clean, clip_line, distinct, fit, pad, width
from .glyphs import BEST, Glyphs
from .metric_tree import shown_value
from .numbers import figure
from .runs_detail import ordered_metrics
from .runs_table import spark

SPARK = (6, 20)
"""Cells of a curve, at least and at most."""

NAME = (16, 32)
"""Cells of a name that must be cut: what the columns leave it, and the most it takes of them."""

GAP = 2

_DROP = ("max_step", "source", "max", "min_step", "last_step", "count", "min")
"""Dropped first to last, after the curve, when there is no room."""


@dataclass(frozen=True, slots=True)
class _Column:
    key: str
    head: str
    texts: tuple[str, ...]
    style: str = "text"
    align: str = "right"

    @property
    def cells(self) -> int:
        return max(map(width, (self.head, *self.texts)))


def metric_lines(
    run: RunRecord, looked_for: str, *, width: int | None = None, glyphs: Glyphs = BEST
) -> list[Line]:
    """One line a metric, the main one first; a sentence if there is none.

    Args:
        width: Columns of the terminal; None when piped.
    """
    shown = [m for m in ordered_metrics(run) if not m.key.startswith("__")]
    if not shown:
        return [(Span(looked_for, "muted"),)]
    names = [clean(m.key) for m in shown]
    columns = _columns(shown)
    name, curve = _fitted(names, columns, width)
    head = [Span(fit("METRIC", name), "muted")]
    head += [Span(" " * GAP + fit(c.head, c.cells, c.align), "muted") for c in columns]
    if curve:
        head.append(Span(" " * GAP + "LAST HALF"[:curve], "muted"))
    lines: list[Line] = [tuple(head)]
    short = distinct(names, name)
    for row, m in enumerate(shown):
        line = [Span(pad(short[names[row]], name), "strong" if m.key == run.main else "text")]
        line += [Span(" " * GAP + fit(c.texts[row], c.cells, c.align), c.style) for c in columns]
        if curve:
            line.append(Span(" " * GAP + spark(m.spark, curve, glyphs), "s1"))
        lines.append(tuple(line))
    return [clip_line(line, width) for line in lines] if width else lines


def _columns(shown: Sequence[MetricSummary]) -> list[_Column]:
    def figures(key: str) -> tuple[str, ...]:
        return tuple(figure(getattr(m, key)) for m in shown)

    def values(key: str) -> tuple[str, ...]:
        return tuple(shown_value(m.key, getattr(m, key)) for m in shown)

    columns = [
        _Column("last", "LAST", values("last")),
        _Column("last_step", "AT", figures("last_step"), "muted"),
        _Column("min", "MIN", values("min")),
        _Column("min_step", "AT", figures("min_step"), "muted"),
        _Column("max", "MAX", values("max")),
        _Column("max_step", "AT", figures("max_step"), "muted"),
        _Column("count", "POINTS", figures("count")),
        _Column("source", "SOURCE", tuple(clean(m.source) for m in shown), "muted", "left"),
    ]
    if any(m.nonfinite for m in shown):
        texts = tuple(figure(m.nonfinite) if m.nonfinite else "" for m in shown)
        columns.append(_Column("nonfinite", "NOT FINITE", texts, "warn"))
    return columns


def _fitted(names: Sequence[str], columns: list[_Column], room: int | None) -> tuple[int, int]:
    """Take out of `columns` what has no room. Returns the cells of the names and of the curve."""
    widest = max(6, *map(width, names))
    if room is None:
        return widest, 0
    least = min(widest, NAME[0])
    for key in _DROP:
        if least + _taken(columns) <= room:
            break
        columns[:] = [column for column in columns if column.key != key]
    left = room - _taken(columns)
    name = max(6, min(widest, NAME[1], left))
    curve = min(SPARK[1], left - name - GAP)
    return name, curve if curve >= SPARK[0] else 0


def _taken(columns: Sequence[_Column]) -> int:
    return sum(GAP + column.cells for column in columns)
