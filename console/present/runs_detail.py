"""The pane below the table: the selected run in a few lines, so that "is it fine?" needs no key.

Pure: the curve and the log's end come in as lines. Three shapes: curve, figures and log side by
side; curve and figures; or, in a small terminal, three lines of text.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence

from traindeck.backends.data import dataclass
from traindeck.backends.states import State
from traindeck.console.store.records import MetricSummary, RunRecord

from .ages import age, spoken
from .cells import Line, Span, clean, clip, distinct, fit_line, line_width, pad, width
from .glyphs import BEST, Glyphs
from .numbers import aligned, figure, share_of, size, step_of
from .runs_table import own, tags, where
from .sentences import exit_words, explain, fitted, last_report, ran, unwritten
from .states import mark

FULL = 8
"""Rows from which on there is room for a curve."""

_NOW_CELLS = 31
_LABEL = 14
_BEFORE, _AFTER = 7, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Pane:
    """What the pane shows beside the run itself.

    Attributes:
        curve: Lines of the chart, as `curve_size` asked for; None if there is none (yet).
        legend: Line above the chart.
        log: The last lines of the log, oldest first, as text that may hold anything.
        no_log: Why there is no log.
        note: What is said in place of curve or log while there is none (`reading…`).
    """

    curve: Sequence[Line] | None = None
    legend: Line = ()
    log: Sequence[str] = ()
    no_log: str = ""
    note: str = ""


def curve_size(cells: int, rows: int) -> tuple[int, int] | None:
    """Cells and rows for the chart in a pane of this size; None if there is no room for one."""
    if rows < FULL or cells < 76:
        return None
    return _left_cells(cells), rows - 2


def _left_cells(cells: int) -> int:
    return cells - _NOW_CELLS - 4 if cells < 100 else min(cells * 12 // 25, 110)


def detail(
    run: RunRecord, now: float, cells: int, rows: int, pane: Pane, glyphs: Glyphs = BEST
) -> list[Line]:
    """The pane as exactly `rows` lines of exactly `cells`."""
    if rows <= 0:
        return []
    lines = [title(run, cells, glyphs)]
    if curve_size(cells, rows) is None:
        lines += _small(run, now, cells, rows - 1, pane, glyphs)
    else:
        lines += _wide(run, now, cells, rows - 1, pane, glyphs)
    lines += [()] * (rows - len(lines))
    return [fit_line(line, cells) for line in lines[:rows]]


def title(run: RunRecord, cells: int, glyphs: Glyphs = BEST) -> Line:
    """The rule above the pane: name on the left, identity on the right."""
    facts = [run.id, where(run)]
    if run.host and run.host != run.backend:
        facts.append(clean(run.host))
    if run.native_id and run.native_id != run.id and not run.native_id.startswith(run.id):
        facts.append(f"job {clean(run.native_id)}")
    if run.pid and run.active:
        facts.append(f"pid {run.pid}")
    if run.attempt:
        facts.append(f"attempt {run.attempt}")
    if run.archived:
        facts.insert(1, "archived")
    name = clip(clean(run.name or run.id), max(1, cells // 2), "both")
    right = " · ".join(fact for fact in facts if fact)
    while len(facts) > 1 and width(name) + width(right) + 8 > cells:
        facts.pop()
        right = " · ".join(facts)
    rule = cells - 1 - width(name) - width(right) - 3
    return (
        Span(" "),
        Span(name, "muted bold"),
        Span(" " + glyphs.rule * max(0, rule) + " ", "rule"),
        Span(right, "muted"),
    )


# ------------------------------------------------------------------------------------------- wide


def _wide(
    run: RunRecord, now: float, cells: int, rows: int, pane: Pane, glyphs: Glyphs
) -> list[Line]:
    left_cells = _left_cells(cells)
    left = _curve(pane, left_cells, rows) or _facts(run, now, left_cells, rows)
    middle = _figures(run, now, rows)
    log_x = left_cells + 3 + _NOW_CELLS + 1
    right = _log(run, pane, cells - log_x - 1, rows) if cells - log_x > 16 else []
    lines: list[Line] = []
    for number in range(rows):
        line = fit_line(left[number] if number < len(left) else (), left_cells + 3)
        line += fit_line(middle[number] if number < len(middle) else (), _NOW_CELLS + 1)
        lines.append((*line, *(right[number] if number < len(right) else ())))
    return lines


def _curve(pane: Pane, cells: int, rows: int) -> list[Line]:
    if pane.curve is None:
        return []
    return [(Span(" "), *pane.legend), *pane.curve][:rows]


def _figures(run: RunRecord, now: float, rows: int) -> list[Line]:
    """NOW: the newest value of everything a run reports."""
    head = "NOW" if run.active else "LAST"
    seen = last_report(run)
    if not run.active and run.ended:
        old = f"ended {age(now - run.ended, coarse=True)} ago"
    else:
        old = f"{age(now - seen)} old" if seen else "nothing reported yet"
    stale = run.unknown
    lines: list[Line] = [
        (Span(head, "muted bold"), Span("  "), Span(old, "stale" if stale else "faint"))
    ]
    values = _values(run)[: rows - 1]
    names = distinct((clean(label) for label, _, _ in values), _LABEL - 1)
    for label, value, tail in values:
        shown = aligned(value, _BEFORE, _AFTER) if not isinstance(value, str) else value
        # The tail follows the figure at once: the empty places behind the point are its room.
        room = _NOW_CELLS - _LABEL
        cut = shown.rstrip() if tail else shown
        lines.append(
            (
                Span(pad(names[clean(label)], _LABEL), "muted"),
                Span(clip(cut, room), "stale" if stale else "text"),
                Span(tail, "muted"),
            )
        )
    return lines


def ordered_metrics(run: RunRecord) -> list[MetricSummary]:
    """A run's metrics, the main one first, its evaluation next, the rest by name."""

    def rank(summary: MetricSummary) -> tuple[int, str]:
        key = summary.key.lower()
        if summary.key == run.main:
            return 0, key
        return (1 if key.startswith(("eval", "val", "test")) else 2), key

    return sorted(run.metrics.values(), key=rank)


def _values(run: RunRecord) -> list[tuple[str, float | int | str | None, str]]:
    rows: list[tuple[str, float | int | str | None, str]] = []
    progress = run.progress
    if progress.step is not None:
        total = f" / {figure(progress.total)}" if progress.total else ""
        rows.append(
            ("step", step_of(run).rjust(_BEFORE) if run.read_in_part else progress.step, total)
        )
    elif progress.fraction is not None:
        rows.append(("done", share_of(run).rjust(_BEFORE + 2), ""))
    for summary in ordered_metrics(run):
        if summary.key in ("step", "global_step") or summary.key.startswith(("system/", "__")):
            continue
        if own(run, summary) is None:
            continue
        value = summary.last
        if value is not None and math.isfinite(value) and value == int(value) and abs(value) < 1e9:
            value = int(value)
        rows.append((summary.key, value, ""))
    if run.log_bytes is not None:
        rows.append(("log", size(run.log_bytes).rjust(_BEFORE + 3), ""))
    return rows


def _log(run: RunRecord, pane: Pane, cells: int, rows: int) -> list[Line]:
    head: Line = (Span("LOG", "muted bold"),)
    shown = [clean(line) for line in pane.log[-(rows - 1) :]] if rows > 1 else []
    if not shown:
        note = pane.note or unwritten(run, pane.no_log)
        parts = textwrap.wrap(note, max(8, cells)) or [note]
        return [head, *((Span(part, "faint"),) for part in parts[: max(1, rows - 1)])]
    lines = [(Span(clip(text, cells), "muted"),) for text in shown]
    lines[-1] = (Span(lines[-1][0].text, "text" if run.active else "muted"),)
    return [head, *lines]


def _facts(run: RunRecord, now: float, cells: int, rows: int) -> list[Line]:
    """What there is to say of a run without a curve: what it is and how it ended."""
    import shlex

    shown = mark(run)
    pairs: list[tuple[str, str, str]] = []
    state = "unknown" if run.unknown else shown.word
    spent = _spent(run, now)
    pairs.append(("state", f"{state}{spent}", shown.style))
    if run.reason:
        pairs.append(("reason", clean(run.reason[:2000]), "text"))
    numbers = exit_words(run)
    if numbers and run.state is State.FAILED:
        pairs.append(("ended with", numbers, "text"))
    if run.argv:
        pairs.append(("command", clean(shlex.join(run.argv)[:2000]), "text"))
    if run.cwd:
        pairs.append(("folder", clip(clean(run.cwd), max(8, cells - 14), "end"), "muted"))
    if run.tags:
        pairs.append(("tags", tags(run), "muted"))
    if run.note:
        pairs.append(("note", clean(run.note[:2000]), "text"))
    lines: list[Line] = []
    for label, value, style in pairs:
        wrapped = textwrap.wrap(value, max(10, cells - 14)) or [""]
        if len(wrapped) > 3:
            wrapped = [*wrapped[:2], clip(" ".join(wrapped[2:]), cells - 14)]
        for number, part in enumerate(wrapped):
            name = label if number == 0 else ""
            lines.append((Span(f" {name:<{_LABEL}}", "muted"), Span(clip(part, cells - 13), style)))
    return lines[:rows]


def _spent(run: RunRecord, now: float) -> str:
    if run.started is None:
        return ""
    if run.ended is not None:
        return (
            f" after {spoken(run.ended - run.started, exact=True)}, {spoken(now - run.ended)} ago"
        )
    if run.state is State.STOPPING:
        return ""  # how long it has been is not known; how long it has run is said elsewhere
    if run.active:
        return f" for {spoken(now - run.started)}"
    return f" after {ran(run)}" if ran(run) else ""


# ------------------------------------------------------------------------------------------ small


def _small(
    run: RunRecord, now: float, cells: int, rows: int, pane: Pane, glyphs: Glyphs
) -> list[Line]:
    """Why it ended or waits, figures in running text, then the last line of the log."""
    words: list[Line] = []
    for label, value, tail in _values(run):
        if label == "log":
            continue
        text = value.strip() if isinstance(value, str) else figure(value)
        strong = "strong bold" if label == run.main else "text"
        words.append(
            (
                Span(f"{clean(label)} ", "muted"),
                Span(text, strong),
                Span(tail.replace(" / ", "/") if label == "step" else "", "muted"),
            )
        )
    lines: list[Line] = []
    line: list[Span] = [Span(" ")]
    for word in words:
        if line_width(line) + line_width(word) + 2 > cells:
            lines.append(tuple(line))
            line = [Span(" ")]
        line += [Span(" " if len(line) == 1 else "  "), *word]
    if len(line) > 1:
        lines.append(tuple(line))
    if not lines:
        lines = [(Span(" "), *fact) for fact in _facts(run, now, cells - 2, rows - 1)]
    elif not run.active and (why := explain(run, now, glyphs)):
        lines.insert(0, (Span("  "), *fitted(why, cells - 3)))
    lines = lines[: rows - 1]
    while len(lines) < rows - 1:
        lines.append(())
    last = clean(pane.log[-1]) if pane.log else (pane.note or unwritten(run, pane.no_log))
    lines.append((Span("  log ", "faint"), Span(clip(last, cells - 7), "muted")))
    return lines[-rows:] if rows > 0 else []
