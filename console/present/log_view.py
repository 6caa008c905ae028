"""The Log tab as lines: a status line, rows with their gutter, the map at the right edge, and what
happened after the end. Pure: what the log engine gave goes in; style names come out."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from traindeck.backends.base import State
from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean, clip_line, fit, fit_line, line_width
from .glyphs import BEST, Glyphs
from .numbers import size as bytes_text
from .sentences import exit_words

if TYPE_CHECKING:
    from traindeck.console.logs.findings import Finding
    from traindeck.console.logs.neutral import Style
    from traindeck.console.logs.search import Pattern
    from traindeck.console.logs.window import Row
    from traindeck.console.runs.log_session import LogShown

TIME = 9
"""Cells of the gutter's time, a space included; left out below NARROW."""
NARROW = 70
BAR = 2
LETTERS = "abc"

_ANSI = {
    1: "failed", 2: "running", 3: "warn", 4: "accent", 5: "stale", 6: "queued",
    9: "failed", 10: "running", 11: "warn", 12: "accent", 13: "stale", 14: "queued",
}  # fmt: skip


def text_cells(cells: int) -> int:
    """Cells for the text of a line in a tab of this width."""
    return max(10, cells - _gutter(cells) - 2)


def text_rows(rows: int) -> int:
    """Rows for lines of the log in a tab of this height."""
    return max(1, rows - 1)


def _gutter(cells: int) -> int:
    return (TIME if cells >= NARROW else 0) + BAR


def log_lines(
    shown: LogShown,
    run: RunRecord,
    cells: int,
    rows: int,
    *,
    glyphs: Glyphs = BEST,
    asking: Line | None = None,
) -> list[Line]:
    """The whole tab, `rows` lines.

    Args:
        asking: What stands in the status line while something is typed.
    """
    lines = [asking if asking is not None else status(shown, cells)]
    if shown.problem:
        return [*lines, (), (Span(f" {glyphs.warning} ", "warn"), Span(clean(shown.problem)))]
    body = text_rows(rows)
    if not shown.window.rows:
        return [*lines, (), *_nothing(run, shown)]
    last_time = ""
    made: list[Line] = []
    for row in shown.window.rows[:body]:
        line, last_time = _row(row, cells, last_time, glyphs)
        made.append(line)
    if shown.window.at_end and shown.ended:
        made += after_end(shown.finding, run, cells, glyphs)[: max(0, body - len(made))]
    made += [()] * (body - len(made))
    edge = [_edge(shown, number, glyphs) for number in range(body)]
    return [
        *lines,
        *((*fit_line(line, cells - 1), mark) for line, mark in zip(made, edge, strict=True)),
    ]


def after_rows(finding: Finding | None, run: RunRecord, cells: int) -> int:
    """Rows that `after_end` takes."""
    return len(after_end(finding, run, cells))


def status(shown: LogShown, cells: int) -> Line:
    """The line above the log: search, filter, first error; where one is."""
    left: list[Line] = []
    if shown.pattern is not None:
        left.append(_searching(shown))
    if shown.filter is not None:
        counting = _percent(shown) if shown.pattern is None else ()
        left.append((Span("&", "accent"), Span(_words(shown.filter), "strong"), *counting))
    if shown.first_error_line is not None:
        left.append(
            (Span("first error ", "muted"), Span(f"line {shown.first_error_line:,}", "failed"))
        )
    if shown.following:
        left.append((Span("following", "running"),))
    if shown.wrap:
        left.append((Span("wrapped", "muted"),))
    right = _where(shown)
    room = cells - line_width(right) - 3
    spans: list[Span] = [Span(" ")]
    for part in left:
        if line_width(spans) + line_width(part) + 3 > room:
            break
        if len(spans) > 1:
            spans.append(Span("   "))
        spans.extend(part)
    gap = max(1, cells - line_width(spans) - line_width(right) - 1)
    return clip_line((*spans, Span(" " * gap), *right, Span(" ")), cells)


def _searching(shown: LogShown) -> Line:
    assert shown.pattern is not None
    words = (Span("/", "accent"), Span(_words(shown.pattern), "strong"), Span(" "))
    number = f"{shown.hit:,} of " if shown.hit is not None else ""
    count = f"{number}{shown.hits:,}" if shown.hits or shown.counting is not None else "no hits"
    return (*words, Span(count, "text"), *_percent(shown))


def _percent(shown: LogShown) -> Line:
    if shown.counting is None:
        return ()
    return (Span(f" · counting {shown.counting:.0%} · esc stops", "muted"),)


def _words(pattern: Pattern) -> str:
    kind = ("  regex" if pattern.regex else "") + ("  any case" if pattern.ignore_case else "")
    return clean(pattern.text) + kind


def _where(shown: LogShown) -> Line:
    window = shown.window
    if not window.rows:
        return ()
    spans: list[Span] = []
    if shown.first is not None and shown.last is not None:
        total = f" of {shown.lines:,}" if shown.lines is not None else ""
        spans += [
            Span("line ", "muted"),
            Span(f"{shown.first:,}–{shown.last:,}", "text"),
            Span(total, "muted"),
            Span(" · ", "muted"),
        ]
    spans += [
        Span(bytes_text(window.size), "muted"),
        Span(" · ", "muted"),
        Span(f"{window.percent} %", "text"),
    ]
    return tuple(spans)


def _nothing(run: RunRecord, shown: LogShown) -> list[Line]:
    if shown.filter is not None:
        words = "no line matches" if not shown.window.pending else "looking for lines that match"
    elif run.state in (State.NEW, State.QUEUED):
        words = f"it has not started. {run.reason}"
    elif run.active:
        words = "it has printed nothing yet"
    else:
        words = "it printed nothing"
    return [(Span("  " + clean(words), "muted"),)]


# ------------------------------------------------------------------------------------------- a row


def _row(row: Row, cells: int, last_time: str, glyphs: Glyphs) -> tuple[Line, str]:
    from traindeck.console.logs.severity import Severity

    spans: list[Span] = []
    if cells >= NARROW:
        moment = ""
        if row.time is not None:
            moment = time.strftime("%H:%M:%S", time.localtime(row.time))
        spans.append(Span(fit(moment if moment != last_time else "", TIME), "muted"))
        last_time = moment or last_time
    ground = ""
    bar = {Severity.ERROR: "failed", Severity.WARNING: "warn"}.get(row.severity, "rule")
    sign = glyphs.cursor if row.severity in (Severity.ERROR, Severity.WARNING) else _thin(glyphs)
    spans.append(Span(fit(sign, BAR), bar))
    fold = row.fold
    if fold is not None and not fold.open:
        spans.append(Span(f"{glyphs.folded} {clean(fold.text)}", "muted" + ground))
        return tuple(spans), last_time
    if row.updates > 1:
        spans.append(Span(f"{glyphs.ellipsis} {row.updates:,} updates, last: ", "faint"))
    spans += _text(row)
    if fold is not None and fold.open:
        note = f"{glyphs.unfolded} {clean(fold.text)} "
        gap = cells - 2 - line_width(spans) - line_width((Span(note),))
        if gap > 1:
            spans += [Span(" " * gap), Span(note, "muted")]
    return tuple(spans), last_time


def _thin(glyphs: Glyphs) -> str:
    return "|" if glyphs.name == "ascii" else "│"


def _text(row: Row) -> list[Span]:
    """The row's text, in its own colours or those of its role, hits marked."""
    base = {
        "header": "failed bold",
        "raised": "failed bold",
        "own": "strong",
        "library": "faint",
    }.get(str(row.role), "text")
    pieces = [(text, _styled(style) or base) for text, style in row.line.pieces() if text]
    if not row.marks:
        return [Span(text, style) for text, style in pieces]
    from .cells import char_width

    spans: list[Span] = []
    at = 0
    for text, style in pieces:
        run_text, run_style = "", ""
        for char in text:
            mark = next((m for m in row.marks if m.start <= at < m.end), None)
            wanted = style
            if mark is not None:
                wanted = "on_accent bold @accent" if mark.current else "on_match @match"
            if wanted != run_style and run_text:
                spans.append(Span(run_text, run_style))
                run_text = ""
            run_text, run_style = run_text + char, wanted
            at += char_width(char)
        if run_text:
            spans.append(Span(run_text, run_style))
    return spans


def _styled(style: Style) -> str:
    """Colours that a program chose, as the theme's: only the sixteen have names here."""
    words = []
    color = getattr(style, "fg", None)
    if isinstance(color, int) and color in _ANSI:
        words.append(_ANSI[color])
    elif getattr(style, "dim", False):
        words.append("muted")
    if getattr(style, "bold", False):
        words.append("bold")
    if getattr(style, "underline", False):
        words.append("underline")
    return " ".join(words)


def _edge(shown: LogShown, number: int, glyphs: Glyphs) -> Span:
    from traindeck.console.logs.severity import Severity

    found = shown.map[number] if number < len(shown.map) else Severity.NONE
    window = shown.window
    rows = max(1, len(shown.map))
    size = max(1, window.size)
    here = window.start * rows // size <= number <= max(0, window.end - 1) * rows // size
    sign = glyphs.cursor if glyphs.name == "ascii" else "▐"
    if number in shown.hit_rows:
        return Span(sign, "accent")
    if found is Severity.ERROR:
        return Span(sign, "failed")
    if found is Severity.WARNING:
        return Span(sign, "warn")
    return Span(sign if here else " ", "faint")


# ----------------------------------------------------------------------------------- after the end


def after_end(
    finding: Finding | None, run: RunRecord, cells: int, glyphs: Glyphs = BEST
) -> list[Line]:
    """What stands below the last line once the run is over."""
    margin = " " * (_gutter(cells) - BAR)
    rest = max(0, text_cells(cells) - 12)
    how = "" if run.state is State.SUCCEEDED else f" · {exit_words(run)}"
    lines: list[Line] = [
        (
            Span(margin + "  "),
            Span("end of log", "muted"),
            Span(f"{how} ", "muted"),
            Span("┈" * max(0, rest - len(how)) if glyphs.name == "best" else "", "grid"),
        )
    ]
    if finding is None:
        return lines
    bar = (Span(margin), Span(fit(glyphs.cursor, BAR), "warn"))
    words = finding.happened or finding.reason(text_cells(cells) - 16)
    wide = max(20, text_cells(cells) - 16)
    for number, text in enumerate(textwrap.wrap(clean(words), wide)[:3]):
        label = "What happened" if number == 0 else ""
        lines.append((*bar, Span(fit(label, 15), "strong bold"), Span(text, "text")))
    for number, attempt in enumerate(finding.tries[: len(LETTERS)]):
        label = "Try" if number == 0 else ""
        cost = f" ({clean(attempt.cost)})" if attempt.cost else ""
        lines.append(
            (
                *bar,
                Span(fit(label, 15), "strong bold"),
                Span(f"{LETTERS[number]} ", "accent"),
                Span(clean(attempt.text), "text"),
                Span(cost, "muted"),
            )
        )
    return lines


def question(label: str, text: str, hint: str, cells: int) -> Line:
    """The status line while something is typed."""
    shown = clean(text)
    spans: Sequence[Span] = (
        Span(" "),
        Span(label, "accent bold"),
        Span(" "),
        Span(shown, "strong"),
        Span(" ", "reverse"),
        Span(f"   {hint}", "muted"),
    )
    return clip_line(spans, cells)
