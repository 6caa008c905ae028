"""The tree of a run's metrics beside its charts: what there is, its value now, what is drawn."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from traindeck.backends.data import dataclass
from traindeck.console.store.records import MetricSummary, RunRecord

from .cells import Line, Span, clean, distinct, fit, fit_line, pad, width
from .charts_size import TREE
from .glyphs import BEST, Glyphs
from .numbers import figure
from .numbers import size as bytes_text
from .runs_table import spark

SYSTEM = "system"
SPARK = 8
BEFORE, AFTER = 6, 6
"""Cells of a value before its decimal point, and from it on: `999,999`, `3.80 GB`, `9.62e−8`."""
VALUE = BEFORE + AFTER
FIGURES = VALUE + SPARK + 5
"""Cells of a row without its name."""


@dataclass(frozen=True, slots=True)
class Node:
    """A row of the tree: a group (`key` empty) or a metric."""

    label: str
    key: str = ""
    group: str = ""


def nodes(run: RunRecord, folded: Collection[str] = ()) -> list[Node]:
    """The rows: training metrics first, then evaluation, then other groups, the system last."""
    groups: dict[str, list[str]] = {}
    for key in run.metrics:
        if not key.startswith("__"):
            group = key.partition("/")[0] if "/" in key else "train"
            groups.setdefault(group, []).append(key)

    def order(group: str) -> tuple[int, str]:
        known = ("train", "eval", "test")
        place = known.index(group) if group in known else 8
        return (9 if group == SYSTEM else place, group)

    rows = []
    for group in sorted(groups, key=order):
        rows.append(Node(group, group=group))
        if group not in folded:
            keys = sorted(groups[group], key=lambda key: (key != run.main, "loss" not in key, key))
            rows += [Node(_short(key), key, group) for key in keys]
    return rows


def shown_value(key: str, value: float | None) -> str:
    """A value with the unit that its name tells."""
    return bytes_text(value) if key.endswith("_bytes") else figure(value)


def lined_up(key: str, value: float | None, before: int = BEFORE) -> tuple[str, str]:
    """(figure, unit) of a value, filled so that its decimal point, or its end if it has none, lies
    at cell `before`. It loses digits before it sticks out."""
    for digits in (4, 3, 2):
        text = figure(value, digits)
        if key.endswith("_bytes"):
            text = bytes_text(value)
        number, space, unit = text.partition(" ")
        point = min((at for sign in ".e" if (at := number.find(sign)) > 0), default=len(number))
        if point <= before and before - point + len(text) <= before + AFTER:
            return " " * (before - point) + number, space + unit
    return shown_value(key, value).rjust(before + AFTER), ""


def _short(key: str) -> str:
    return key.partition("/")[2] or key


def tree_cells(rows: Sequence[Node], cells: int) -> int:
    """Cells of the tree beside the charts: in a wide terminal as many as its names need, up to a
    third."""
    longest = max((width(clean(row.label)) for row in rows if row.key), default=0)
    return max(TREE, min(longest + FIGURES, cells // 3))


def tree_lines(
    run: RunRecord,
    rows: Sequence[Node],
    drawn: Mapping[str, int],
    cursor: int,
    cells: int,
    height: int,
    *,
    focused: bool = True,
    folded: Collection[str] = (),
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The visible part of the tree, `height` lines with a head.

    Args:
        drawn: Metric -> colour (0 to 7) of its curve.
        cursor: Row that is selected; it is kept in sight.
    """
    count = sum(1 for row in rows if row.key)
    edge = glyphs.cursor if focused else " "
    name = max(6, cells - FIGURES)
    names = distinct((clean(row.label) for row in rows if row.key), name)
    lines: list[Line] = [
        fit_line(
            (
                Span(f"{edge}", "accent"),
                Span("METRICS ", "accent bold" if focused else "muted bold"),
                Span(fit(str(count), name - 5), "muted"),
                # Over the first digit: the figures below stand on their points.
                Span(fit(" " * (BEFORE - 1) + "NOW", VALUE) + " TREND", "muted"),
            ),
            cells,
        )
    ]
    room = max(1, height - 1)
    top = min(max(0, cursor - room // 2), max(0, len(rows) - room))
    for number, row in enumerate(rows[top : top + room], top):
        here = number == cursor
        ground = (" @select" if focused else " @select_dim") if here else ""
        bar = Span(glyphs.cursor if here and focused else " ", f"accent{ground}")
        if not row.key:
            sign = glyphs.folded if row.group in folded else glyphs.unfolded
            line: Line = (bar, Span(f"{sign} {clean(row.label)}", f"text{ground}"))
        else:
            label = pad(names[clean(row.label)], name)
            line = (bar, *_metric(run.metrics[row.key], label, drawn, ground, glyphs))
        lines.append(fit_line(line, cells, f"text{ground}"))
    return lines


def _metric(
    summary: MetricSummary,
    name: str,
    drawn: Mapping[str, int],
    ground: str,
    glyphs: Glyphs,
) -> Line:
    colour = drawn.get(summary.key)
    style = "faint" if colour is None else f"s{colour + 1}"
    chip = glyphs.dot if colour is None else glyphs.meter
    value, unit = lined_up(summary.key, summary.last)
    return (
        Span(f" {chip} ", style + ground),
        Span(name, ("muted" if colour is None else "text") + ground),
        Span(value, ("muted" if colour is None else "strong") + ground),
        Span(pad(unit, VALUE - len(value)), "muted" + ground),
        Span(" " + spark(summary.spark, SPARK, glyphs), style + ground),
    )
