"""What `metrics` prints: the series of a run in a table."""

from __future__ import annotations

from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean, fit, width
from .glyphs import BEST, Glyphs
from .numbers import figure
from .runs_detail import ordered_metrics
from .runs_table import spark

SPARK = 20
WIDEST = 32


def metric_lines(run: RunRecord, looked_for: str, glyphs: Glyphs = BEST) -> list[Line]:
    """One line a metric, the main one first; a sentence if there is none."""
    shown = [m for m in ordered_metrics(run) if not m.key.startswith("__")]
    named = {m.key: clean(m.key) for m in shown}
    if not shown:
        return [(Span(looked_for, "muted"),)]
    name = min(WIDEST, max(6, *map(width, named.values())))
    heads = ("LAST", "AT", "MIN", "AT", "MAX", "AT", "POINTS")
    cells = (9, 9, 9, 9, 9, 9, 8)
    lines: list[Line] = [
        (
            Span(fit("METRIC", name), "muted"),
            *(Span(" " + fit(h, c, "right"), "muted") for h, c in zip(heads, cells, strict=True)),
            Span("  SOURCE       LAST HALF", "muted"),
        )
    ]
    for m in shown:
        values = (m.last, m.last_step, m.min, m.min_step, m.max, m.max_step, m.count)
        lines.append(
            (
                Span(fit(named[m.key], name), "strong" if m.key == run.main else "text"),
                *(
                    Span(" " + fit(figure(v), c, "right"), "text" if i % 2 == 0 else "muted")
                    for i, (v, c) in enumerate(zip(values, cells, strict=True))
                ),
                Span("  " + fit(m.source, 12), "muted"),
                Span(" " + spark(m.spark, SPARK, glyphs), "s1"),
                Span(f" {m.nonfinite} not finite" if m.nonfinite else "", "warn"),
            )
        )
    return lines
