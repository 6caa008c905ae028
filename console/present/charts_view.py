"""The Charts tab as lines: the tree of metrics, the read-out at the cursor, and up to four charts
on one x axis. Pure: what is drawn, how, and the size go in."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field, replace

from traindeck.backends.data import dataclass
from traindeck.console.metrics.reduce import formula
from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean, distinct, fit, fit_line, line_width, pad, width
from .chart import Chart, chart
from .chart_axis import moment
from .charts_size import TREE, WIDE
from .curves import Curve, Mark, View, at_cursor, extent, smooths
from .glyphs import BEST, Glyphs
from .metric_tree import SYSTEM, Node, lined_up, shown_value, tree_cells, tree_lines
from .numbers import figure
from .sentences import fitted

ROOMY = 30
"""Rows from which on a blank one stands between sections."""
MOST = 4
"""Charts on the screen at once."""
NAME = 12
"""Cells of a name in the read-out beside the charts."""
READ_OUT = 3
"""Rows that the read-out at the cursor may take below the charts of a narrow terminal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What the tab shows now.

    Attributes:
        rows, cursor, folded: The tree.
        drawn: Metric -> curve, in the order they were chosen.
        view: Window, cursor and the like, shared by all charts.
        checkpoints: x of checkpoints; alerts: (x, what) pairs; seams: x of resumes.
        tree: In a narrow terminal: whether the tree is shown instead of the charts.
        held: Newer points do not come into sight though there may be some.
        note: In place of charts while there are none.
        part: Of what part of a log they are, if not of all of it.
    """

    rows: Sequence[Node] = ()
    cursor: int = 0
    folded: frozenset[str] = frozenset()
    drawn: Mapping[str, Curve] = field(default_factory=dict)
    view: View = field(default_factory=View)
    checkpoints: Sequence[float] = ()
    alerts: Sequence[tuple[float, str]] = ()
    seams: Sequence[float] = ()
    tree: bool = False
    note: str = ""
    part: str = ""
    held: bool = False
    started: float | None = None


def charts_lines(
    run: RunRecord,
    shown: Shown,
    cells: int,
    rows: int,
    *,
    bands: bool = True,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The whole tab."""
    gap = 1 if rows >= ROOMY else 0
    if gap:
        return [(), *_tab(run, shown, cells, rows - 1, gap, bands, glyphs)]
    return _tab(run, shown, cells, rows, gap, bands, glyphs)


def _tab(
    run: RunRecord, shown: Shown, cells: int, rows: int, gap: int, bands: bool, glyphs: Glyphs
) -> list[Line]:
    if cells < WIDE:
        if shown.tree:
            return _side(run, shown, cells, rows, glyphs)
        at = _read_out_rows(shown, cells, glyphs)
        return _charts(run, shown, cells, rows, gap, bands, glyphs, foot=at)
    tree = tree_cells(shown.rows, cells)
    left = _side(run, shown, tree, rows, glyphs)
    right = _charts(run, shown, cells - tree - 2, rows, gap, bands, glyphs)
    return [
        (*fit_line(a, tree), Span("  "), *b)
        for a, b in zip(_filled(left, rows), _filled(right, rows), strict=True)
    ]


def _filled(lines: Sequence[Line], rows: int) -> list[Line]:
    return [*lines[:rows], *[()] * (rows - len(lines))]


def _side(run: RunRecord, shown: Shown, cells: int, rows: int, glyphs: Glyphs) -> list[Line]:
    below = [*_read_out(shown, cells, glyphs), *_marks(shown, cells, glyphs)]
    below = below[: max(0, rows - 8)]
    room = max(4, rows - len(below))
    colours = {key: curve.colour for key, curve in shown.drawn.items()}
    tree = tree_lines(
        run, shown.rows, colours, shown.cursor, cells, room, folded=shown.folded, glyphs=glyphs
    )
    return [*tree, *[()] * (room - len(tree)), *below]


def _read_out(shown: Shown, cells: int, glyphs: Glyphs) -> list[Line]:
    view = shown.view
    if view.cursor is None or not shown.drawn:
        return []
    where = Span(f" {_where(view.cursor, view)}", "accent bold")
    lines: list[Line] = [(), _rule("AT CURSOR", cells, glyphs), (where,)]
    # A narrow terminal gives all its cells; a name needs no more than the longest has.
    room = NAME + max(0, cells - TREE)
    names = distinct((clean(curve.key) for curve in shown.drawn.values()), room)
    room = max(NAME, *map(width, names.values()))
    for curve, x, value, soft in at_cursor(list(shown.drawn.values()), view):
        name = (
            Span(f" {glyphs.meter} ", f"s{curve.colour + 1}"),
            Span(pad(names[clean(curve.key)], room), "text"),
        )
        raw = f" raw {shown_value(curve.key, value)}" if _differ(soft, value) else ""
        line = (*name, *_value(curve.key, soft), Span(raw + _away(x, view), "muted"))
        if line_width(line) > cells:  # the smoothed value goes first
            line = (*name, *_value(curve.key, value), Span(_away(x, view), "muted"))
        lines.append(line)
    return lines


def _value(key: str, value: float) -> Line:
    """On its decimal point, which the names beside it leave room for."""
    number, unit = lined_up(key, value)
    return (Span(number, "strong"), Span(unit, "muted"))


def _read_out_rows(shown: Shown, cells: int, glyphs: Glyphs) -> list[Line]:
    """The read-out where there is no room beside the charts. It takes as few rows from them as it
    can: if one does not hold all, the smoothed values go first, and that is said."""
    view = shown.view
    if view.cursor is None or not shown.drawn:
        return []
    head = Span(f" {_where(view.cursor, view)}", "accent bold")
    full: list[Line] = []
    short: list[Line] = []
    names = distinct((clean(curve.key) for curve in shown.drawn.values()), 20)
    for curve, x, value, soft in at_cursor(list(shown.drawn.values()), view):
        name = (
            Span(f"  {glyphs.meter} ", f"s{curve.colour + 1}"),
            Span(f"{names[clean(curve.key)]} ", "text"),
        )
        raw, away = shown_value(curve.key, value), Span(_away(x, view), "muted")
        short.append((*name, Span(raw, "strong"), away))
        shown_soft = Span(shown_value(curve.key, soft), "strong")
        full.append((*name, shown_soft, Span(f" raw {raw}", "muted"), away))
        if not _differ(soft, value):
            full[-1] = short[-1]
    lines = _wrapped((head,), full, cells - 1)
    if len(lines) == 1:
        return lines
    said = (head,) if full == short else (head, Span(" raw", "muted"))
    return _wrapped(said, short, cells - 1)[:READ_OUT]


def _wrapped(head: Line, parts: Sequence[Line], cells: int) -> list[Line]:
    """Parts one after the other, on as many rows as they need."""
    lines: list[Line] = [head]
    for part in parts:
        if line_width(lines[-1]) + line_width(part) > cells:
            lines.append(())
        lines[-1] = (*lines[-1], *part)
    return lines


def _differ(soft: float, value: float) -> bool:
    """Whether a smoothed value says something else than the value; NaN says what NaN says."""
    return soft != value and not (math.isnan(soft) and math.isnan(value))


def _away(x: float, view: View) -> str:
    """The place of a point that lies beside the cursor."""
    aside = view.cursor is not None and _x(x, view) != _x(view.cursor, view)
    return f" @ {_x(x, view)}" if aside else ""


def _x(x: float, view: View) -> str:
    """A place on the x axis in words."""
    if view.axis == "epoch":
        return figure(x, 3)
    return moment(x) if view.axis == "time" else figure(round(x))


def _where(x: float, view: View) -> str:
    """Where the cursor is. Time counts from the start of the last attempt."""
    if view.axis != "time":
        return f"{view.axis} {_x(x, view)}"
    return f"{_x(x, view)} in" if x > -1 else f"{moment(-x)} before this attempt"


def _marks(shown: Shown, cells: int, glyphs: Glyphs) -> list[Line]:
    if not (shown.checkpoints or shown.alerts):
        return []
    lines: list[Line] = [(), _rule("MARKS", cells, glyphs)]
    for x, text in list(shown.alerts)[-3:]:
        lines.append(
            (
                Span(f" {glyphs.warning} ", "warn"),
                Span(fit(_x(x, shown.view), 8, "right")),
                Span(" " + clean(text), "muted"),
            )
        )
    for x in list(shown.checkpoints)[-2:][::-1]:
        lines.append(
            (
                Span(" ◆ " if glyphs.name == "best" else " + ", "muted"),
                Span(fit(_x(x, shown.view), 8, "right")),
                Span(" checkpoint", "muted"),
            )
        )
    return lines


def _rule(title: str, cells: int, glyphs: Glyphs) -> Line:
    rest = max(0, cells - len(title) - 2)
    return (Span(f" {title} ", "muted bold"), Span(glyphs.rule * rest, "rule"))


def choices(view: View, drawn: Iterable[Curve]) -> Line:
    """How one looks at the charts, for the line of the tabs."""
    pairs = [
        ("x", view.axis),
        ("smooth", formula(view.smoothing) if smooths(drawn, view) else "off"),
        ("y", "log" if view.log else "linear"),
    ]
    spans: list[Span] = []
    for name, value in pairs:
        spans += [Span("   " if spans else ""), Span(f"{name} ", "muted"), Span(value, "text")]
    return tuple(spans)


def seen(shown: Shown) -> Line:
    """What part of the run is drawn, for the footer."""
    drawn = list(shown.drawn.values())
    if not drawn:
        return ()
    start, end = extent(drawn)
    view = shown.view
    low = start if view.start is None else view.start
    high = end if view.end is None else view.end
    name = {"time": "elapsed", "epoch": "epoch"}.get(view.axis, "step")
    if name == "step" and math.ceil(low - 1e-6) <= math.floor(high + 1e-6):
        low, high = math.ceil(low - 1e-6), math.floor(high + 1e-6)  # those that can be seen
    part = (Span(f"{name} ", "muted"), Span(f"{_x(low, view)}–{_x(high, view)}", "text"))
    if shown.held:
        key = Span("f", "accent bold")
        return (
            Span("held at ", "muted"),
            *part,
            Span(" · ", "muted"),
            key,
            Span(" follows", "muted"),
        )
    if shown.part:
        return (*part, Span(" · ", "muted"), Span(shown.part, "warn"))
    return (*part, Span(f" · {len(drawn)} series", "muted"))


def groups(drawn: Mapping[str, Curve]) -> list[tuple[str, list[Curve]]]:
    """Curves by chart: the same quantity of training and evaluation together, the system's last,
    at most `MOST` charts (the rest join the last one)."""
    found: dict[str, list[Curve]] = {}
    for key, curve in drawn.items():
        name = SYSTEM if key.startswith(f"{SYSTEM}/") else key.rpartition("/")[2]
        if name == SYSTEM:
            name = key
        found.setdefault(name, []).append(curve)
    ordered = sorted(found.items(), key=lambda item: item[0].startswith(f"{SYSTEM}/"))
    if len(ordered) > MOST:
        rest = [curve for _, curves in ordered[MOST - 1 :] for curve in curves]
        ordered = [*ordered[: MOST - 1], ("others", rest)]
    return ordered


def _charts(
    run: RunRecord,
    shown: Shown,
    cells: int,
    rows: int,
    gap: int,
    bands: bool,
    glyphs: Glyphs,
    foot: Sequence[Line] = (),
) -> list[Line]:
    """Up to four charts above `foot`, or above what was reduced."""
    cells -= 1  # the margin at the right that every screen has
    parts = groups(shown.drawn)
    if not parts:
        said = clean(shown.note or "nothing is drawn: space in the tree draws a metric")
        wrapped = textwrap.wrap(said, max(20, min(cells - 3, 80)))
        return [(), *((Span(f" {text}", "muted"),) for text in wrapped)]
    everything = list(shown.drawn.values())
    start, end = extent(everything)
    view = shown.view
    if view.start is None or view.end is None:
        view = replace(view, start=start, end=end)
    marks = [
        *(Mark(x=x) for x in shown.checkpoints),
        *(Mark(x=x, kind="alert", text=t) for x, t in shown.alerts),
        *(Mark(x=x, kind="seam") for x in shown.seams),
    ]
    rows -= len(foot) or 1
    most = max(1, min(len(parts), (rows - 1) // (6 + gap)))
    hidden = sum(len(members) for _, members in parts[most:])
    parts = parts[:most]
    heights = _heights(rows - gap * (len(parts) - 1), len(parts))
    lines: list[Line] = []
    notes: list[Sequence[str]] = []
    for number, ((name, members), height) in enumerate(zip(parts, heights, strict=True)):
        last = number == len(parts) - 1
        made: Chart = chart(
            members,
            view,
            cells,
            height,
            title=name,
            marks=marks if number == 0 else [m for m in marks if m.kind == "seam"],
            axis_row=last,
            glyphs=glyphs,
            bands=bands,
        )
        lines += made.lines
        notes.append(made.notes)
        if gap and not last:
            lines.append(())
    if foot:
        return [*lines, *foot]
    clauses = [(Span(clause, "faint"),) for clause in notes[0]]
    read = {run.metrics[curve.key].source for curve in parts[0][1] if curve.key in run.metrics}
    if sources := sorted(_SOURCE_WORDS.get(source, clean(source)) for source in read if source):
        clauses.insert(1, (Span(f"read from {', '.join(sources)}", "faint"),))
    if hidden:
        clauses.insert(0, (Span(f"{hidden} more drawn: no room here", "warn"),))
    lines.append((Span(" " * 8), *fitted(clauses, cells - 8)))
    return lines


_SOURCE_WORDS = {"counted": "stdout (steps counted)"}


def _heights(rows: int, count: int) -> list[int]:
    """Rows of each chart: the first gets half, the rest share."""
    if count == 1:
        return [rows]
    first = max(6, rows // 2)
    rest, more = divmod(rows - first, count - 1)
    return [first, *(rest + (1 if n < more else 0) for n in range(count - 1))]
