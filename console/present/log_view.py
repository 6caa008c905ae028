"""The Log tab as lines: a status line, rows with their gutter, the map at the right edge, and what
happened after the end. Pure: what the log engine gave goes in; style names come out.

Quiet is the rule here: lines that only repeat the shape of their neighbour are muted, library
frames faint, so that what is different and what is wrong stand out without a colour for each.
"""

from __future__ import annotations

import re
import textwrap
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from traindeck.backends.data import dataclass
from traindeck.backends.states import Reach, State
from traindeck.console.runs.retrying import can_retry
from traindeck.console.store.records import LOG_REMOVED, RunRecord

from .ages import age, next_try
from .cells import Line, Span, clean, clip, clip_line, fit, fit_line, line_width, take, width
from .glyphs import BEST, Glyphs
from .log_colors import styled
from .numbers import size as bytes_text
from .sentences import exit_words, fitted

if TYPE_CHECKING:
    from traindeck.backends.base import LinkState
    from traindeck.console.logs.failures import Try
    from traindeck.console.logs.findings import Finding
    from traindeck.console.logs.rows import Row
    from traindeck.console.logs.search import Pattern
    from traindeck.console.runs.log_shown import LogShown

TIME = 9
"""Cells of the gutter's time, a space included."""
TIMED_FROM = 70
"""Cells from which on there is room for it."""
BAR = 2
EDGE = 2
"""Cells at the right: a blank one and the map."""
LETTERS = "abc"
LABEL = 15
BLOCK = 110
"""Cells that text after the end is kept within: a longer line is hard to read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a log belongs to.

    Attributes:
        run: The run it belongs to.
        path: The file of its directory, if it is not the run's log.
        attempt: Of which attempt it is.
        rank: Of which rank; `ranks` are all whose logs can be opened.
    """

    run: RunRecord
    path: str = ""
    attempt: int = 0
    rank: int = 0
    ranks: Sequence[int] = ()

    @property
    def current(self) -> bool:
        """Whether it is the log of the run's present attempt."""
        return not self.path and self.attempt == self.run.attempt


def text_cells(cells: int, *, timed: bool) -> int:
    """Cells for the text of a line in a tab of this width."""
    return max(10, cells - _gutter(cells, timed) - EDGE)


def _gutter(cells: int, timed: bool) -> int:
    return 1 + (TIME if timed and cells >= TIMED_FROM else 0) + BAR


# ---------------------------------------------------------------------------------- around the log


_SHORTER = (
    *("hint", "size", "error", "path", "search", "filter", "gap", "search", "filter"),
    *("error", "path", "search", "filter", "place", "search", "filter", "place", "place"),
)
"""Which clause of the status line is the next to be said shorter, until all of them fit. The filter
goes last: it explains why hardly anything is shown."""


def status(shown: LogShown, subject: Subject, cells: int) -> Line:
    """The line above the log: search, filter, first error; where one is. What does not fit is said
    in fewer words or left out whole; a number is never cut."""
    hint: Line = ()
    if cells >= 100 and shown.filter is None and not subject.path:
        hint = (Span("& ", "accent"), Span("filter ", "muted"), Span("none", "faint"))
    said = {
        "search": _searching(shown),
        "path": _path(subject),
        "hint": [hint, ()],
        "filter": _filtering(shown),
        "error": [()] if subject.path else _first_error(shown, subject),
        "place": _place(shown),
        "size": _size(shown, cells),
        "gap": [(Span("   "),), (Span("  "),)],
    }
    steps = iter(_SHORTER)
    while True:
        line = _joined({name: versions[0] for name, versions in said.items()}, shown, cells)
        step = next(steps, None)
        if line_width(line) <= cells - 1 or step is None:
            return clip_line(line, cells)
        if len(said[step]) > 1:
            del said[step][0]


def _joined(said: dict[str, Line], shown: LogShown, cells: int) -> Line:
    """The clauses, those of where one is at the right."""
    left: list[Span] = []
    for name in ("search", "path", "hint", "filter", "error"):
        if said[name]:
            left += [*(said["gap"] if left else (Span(" "),)), *said[name]]
    right: list[Span] = []
    if shown.window.rows:
        for name in ("place", "size"):
            right += [*said[name], Span(" · ", "muted")] if said[name] else []
        right.append(Span(f"{shown.window.percent:>3} %", "text"))
    least = line_width(said["gap"]) if left and right else 1
    gap = max(least, cells - line_width(left) - line_width(right) - 1)
    return (*left, Span(" " * gap), *right)


def _searching(shown: LogShown) -> list[Line]:
    if shown.pattern is None:
        return [()]
    plus = "+" if shown.counting is not None or shown.stopped else ""
    hits, number = f"{shown.hits:,}{plus}", shown.hit
    found: Line
    short: Line
    if not shown.hits and not plus:
        found = short = (Span("no hit", "muted"),)
    elif number is None:
        found = short = (Span(hits, "strong"), Span(" hits" if hits != "1" else " hit", "muted"))
    else:
        found = (Span(f"{number:,}", "strong"), Span(" of ", "muted"), Span(hits, "strong"))
        short = (Span(f"{number:,}", "strong"), Span("/", "muted"), Span(hits, "strong"))
    sign = Span("/", "accent bold")
    return [
        *((sign, *_pattern(shown.pattern, most), Span("   "), *found) for most in (40, 24)),
        (sign, *_pattern(shown.pattern, 24, kinds=False), Span("   "), *found),
        *((sign, *_pattern(shown.pattern, n, kinds=False), Span("  "), *short) for n in (12, 6)),
    ]


def _filtering(shown: LogShown) -> list[Line]:
    if shown.filter is None:
        return [()]
    plus = "+" if shown.counting is not None and shown.pattern is None else ""
    words = f"  {shown.matched:,}{plus} hit" + ("" if shown.matched == 1 else "s")
    sign, found = Span("& ", "accent"), Span(words, "muted")
    return [
        (sign, *_pattern(shown.filter, 40), found),
        (sign, *_pattern(shown.filter, 24, kinds=False), found),
        (sign, *_pattern(shown.filter, 12, kinds=False), found),
        *((sign, *_pattern(shown.filter, most, kinds=False)) for most in (12, 6)),
    ]


def _pattern(pattern: Pattern, most: int, *, kinds: bool = True) -> Line:
    words = (("regex", pattern.regex), ("any case", pattern.ignore_case))
    said = ", ".join(word for word, on in words if on and kinds)
    shown = (Span(clip(clean(pattern.text), most), "strong bold"),)
    return (*shown, Span(f" {said}", "muted")) if said else shown


def _path(subject: Subject) -> list[Line]:
    if not subject.path:
        return [()]
    path = clean(subject.path)
    return [*((Span(clip(path, most, "end"), "strong"),) for most in (40, 20)), ()]


def _first_error(shown: LogShown, subject: Subject) -> list[Line]:
    if shown.first_error is None:
        if shown.surveyed < 1 and not shown.grown:
            return [()]
        if why := _unwritten(shown, subject):
            return [*(fitted(why, cells) for cells in (60, 40, 24)), ()]
        if shown.not_finite is not None:
            at = f"line {shown.not_finite_line:,}" if shown.not_finite_line else "found"
            return [(Span("first NaN ", "muted"), Span(at, "warn")), ()]
        if shown.unread:
            return [(Span("too large to be read through from here", "muted"),), ()]
        return [(Span("no error", "muted"),), ()] if shown.window.size else [()]
    place = f"line {shown.first_error_line:,}" if shown.first_error_line else "found"
    found = Span(place, "failed")
    return [(Span("first error ", "muted"), found), (Span("error ", "muted"), found), ()]


def _unwritten(shown: LogShown, subject: Subject) -> list[Line]:
    """Why a run failed whose log has no error: it was killed, or its program was not there."""
    run = subject.run
    if not (shown.over and subject.current and run.state in (State.FAILED, State.LOST)):
        return []
    clauses = shown.finding.clauses if shown.finding is not None else run.reason.split(" · ")
    return [(Span(clean(clause), "failed"),) for clause in clauses if clause]


def _place(shown: LogShown) -> list[Line]:
    if shown.first is None or shown.last is None:
        return [()]
    lines = Span(f"{shown.first:,}–{shown.last:,}", "text")
    of: Line = ()
    if shown.lines is not None:
        of = (Span(" of ", "muted"), Span(f"{shown.lines:,}", "text"))
    return [(Span("line ", "muted"), lines, *of), (lines, *of), (lines,), ()]


def _size(shown: LogShown, cells: int) -> list[Line]:
    size = (Span(bytes_text(shown.window.size), "muted"),)
    return [size, ()] if cells >= 76 else [()]


def choices(shown: LogShown, subject: Subject) -> list[Line]:
    """What was chosen, for the right of the line of tabs, what is worth knowing most first."""
    parts: list[Line] = []
    if len(subject.ranks) > 1 and not subject.path:
        of = Span(f" of {len(subject.ranks):,}", "muted")
        parts.append((Span("rank ", "muted"), Span(f"{subject.rank:,}", "text"), of))
    if subject.run.attempt and not subject.path:
        parts.append((Span("attempt ", "muted"), Span(f"{subject.attempt}", "text")))
    if shown.left:
        parts.append((Span("from column ", "muted"), Span(f"{shown.left + 1}", "text")))
    parts.append(_choice("wrap", shown.wrap))
    if shown.over and not subject.path:
        parts.append((Span("ended", "faint"),))
    elif not shown.over:
        parts.append(_choice("follow", shown.following))
    return parts


def _choice(label: str, on: bool) -> Line:
    value = Span("on", "accent") if on else Span("off", "faint")
    return (Span(f"{label} ", "muted"), value)


def footing(shown: LogShown, glyphs: Glyphs, doing: str = "", now: float = 0.0) -> Line:
    """The left of the footer: what is going on, or where the search stands.

    Args:
        doing: A request that takes longer than a moment.
    """
    if shown.link.state is not Reach.OK:
        return _silent(shown.link, now, glyphs)
    if shown.counting is not None and not shown.brief:
        return _busy("counting hits", shown.counting, glyphs)
    if shown.broken:
        return (Span(f"{glyphs.warning} ", "warn"), Span(clean(shown.broken)))
    if doing:
        return (Span(f"{glyphs.starting} ", "accent"), Span(doing), Span(" · esc stops", "muted"))
    if shown.aside:
        return (Span("esc ", "accent"), Span("back to the filter", "muted"))
    if shown.pattern is not None and shown.hit is not None:
        return (Span("hit ", "muted"), Span(f"{shown.hit:,}/{shown.hits:,}", "accent bold"))
    if shown.surveyed < 1 and shown.window.size and not shown.brief:
        return (
            Span(f"{glyphs.starting} ", "accent"),
            Span("reading ", "muted"),
            Span(f"{int(shown.surveyed * 100)} %", "text"),
        )
    if shown.following:
        return (Span("following", "muted"),)
    return ()


def _silent(link: LinkState, now: float, glyphs: Glyphs) -> Line:
    """That what is shown may be old, how old, when that may change, and why."""
    line = [Span(f"{glyphs.queued} {age(now - link.since)}", "stale")]
    for words, style in ((next_try(link.next_try, now), "text"), (clean(link.why), "muted")):
        if words:
            line += [Span(" · ", "faint"), Span(words, style)]
    return tuple(line)


def _busy(words: str, share: float, glyphs: Glyphs) -> Line:
    return (
        Span(f"{glyphs.starting} ", "accent"),
        Span(f"{words} ", "text"),
        Span(f"{int(share * 100)} %", "strong"),
        Span(" · esc stops", "muted"),
    )


# -------------------------------------------------------------------------------------- the log


def body(
    shown: LogShown,
    subject: Subject,
    cells: int,
    rows: int,
    *,
    glyphs: Glyphs = BEST,
) -> list[Line]:
    """The log itself, exactly `rows` lines of exactly `cells`."""
    if subject.run.archived and not subject.path:  # its folder is gone, and that is no problem
        made = _nothing(subject, shown)
    elif shown.problem:
        made = _problem(shown.problem, cells, glyphs)
    elif not shown.window.rows:
        made = _nothing(subject, shown)
    else:
        made = _rows(shown, cells, glyphs)[:rows]
        if shown.window.at_end:
            made += after_end(shown, subject, cells, glyphs)[: rows - len(made)]
    made = [*made[:rows], *([()] * (rows - len(made)))]
    edge = _edge(shown, rows, glyphs)
    return [(*fit_line(line, cells - 1), mark) for line, mark in zip(made, edge, strict=True)]


def _problem(words: str, cells: int, glyphs: Glyphs) -> list[Line]:
    wrapped = textwrap.wrap(clean(words), max(20, cells - 6)) or [""]
    lines: list[Line] = [(), (Span(f"  {glyphs.warning} ", "warn"), Span(wrapped[0]))]
    return [*lines, *((Span(f"    {rest}"),) for rest in wrapped[1:4])]


def _nothing(subject: Subject, shown: LogShown) -> list[Line]:
    run = subject.run
    if run.archived and not subject.path:
        return [(), (Span(f"   {LOG_REMOVED}", "muted"),)]
    if shown.filter is not None:
        some = shown.window.pending or shown.matched
        words = "looking for lines with it" if some else "no line has it"
        return [(), (Span(f"   {words}", "muted"), Span("   esc shows all", "faint"))]
    if shown.why_none:
        words = clean(shown.why_none)
    elif subject.path:
        words = "the file is empty"
    elif run.state in (State.NEW, State.QUEUED):
        words = " · ".join(part for part in ("it has not started yet", clean(run.reason)) if part)
    elif run.active and subject.current:
        words = "nothing written yet"
    elif not subject.current or subject.rank:
        words = "it wrote nothing" if shown.window.identity else "it has no log"
    elif run.log_bytes:
        words = f"its log of {bytes_text(run.log_bytes)} is gone"
    else:
        words = f"it wrote nothing{_how(run)}"
    return [(), (Span(f"   {words}", "muted"),)]


def _rows(shown: LogShown, cells: int, glyphs: Glyphs) -> list[Line]:
    rows = shown.window.rows
    shapes = [_shape(row) for row in rows]
    timed = shown.timed and cells >= TIMED_FROM
    room = text_cells(cells, timed=shown.timed)
    aimed = any(row.target for row in rows)  # one row at most is where one is
    lines: list[Line] = []
    last = ""
    for number, row in enumerate(rows):
        shape = shapes[number]
        near = shapes[max(0, number - 1) : number] + shapes[number + 1 : number + 2]
        newest = number == len(rows) - 1 and shown.window.at_end and not shown.over
        quiet = shape != "" and shape in near and not newest
        here = row.target if aimed else row.current
        ground = " @select" if here else ""
        spans = [Span(glyphs.cursor if here else " ", f"accent{ground}")]
        if timed:
            moment = ""
            if row.time is not None:
                moment = time.strftime("%H:%M:%S", time.localtime(row.time))
            spans.append(Span(fit(moment if moment != last else "", TIME), f"muted{ground}"))
            last = moment or last
        spans += [_bar(row, glyphs, ground), *_content(row, room, quiet, glyphs, ground)]
        line = fit_line(spans, cells - EDGE + 1, f"text{ground}") if here else tuple(spans)
        lines.append(line)
    return lines


_VARYING = re.compile(r"[\d.,:+−-]*\d[\d.,:e+−-]*")


def _shape(row: Row) -> str:
    """A line without its figures: what a line that only reports again has in common with its
    neighbour. "" never counts as equal."""
    from traindeck.console.logs.severity import Severity

    if row.severity is not Severity.NONE or str(row.role) != "text" or row.updates > 1:
        return ""
    text = row.line.text[:200]
    return re.sub(r"\s+", " ", _VARYING.sub("0", text)) if _VARYING.search(text) else ""


def _bar(row: Row, glyphs: Glyphs, ground: str) -> Span:
    from traindeck.console.logs.severity import Severity

    if row.severity is Severity.NONE:
        return Span(fit("|" if glyphs.name == "ascii" else "│", BAR), f"rule{ground}")
    style = "failed" if row.severity is Severity.ERROR else "warn"
    return Span(fit(glyphs.cursor, BAR), f"{style}{ground}")


def _content(row: Row, room: int, quiet: bool, glyphs: Glyphs, ground: str) -> list[Span]:
    fold = row.fold
    if fold is not None and not fold.open and str(row.role) == "library":
        words = clip(f"  {glyphs.folded} {clean(fold.text)}", room)
        return [Span(words, f"faint{ground}")]
    spans: list[Span] = []
    if row.updates > 1:
        spans.append(Span(_updates(row, glyphs, wide=room > 60), f"faint{ground}"))
    spans += _text(row, quiet, ground)
    note = _fold_note(row, glyphs, ground)
    note_cells = line_width(note)
    if note and line_width(spans) + note_cells + 2 > room:
        spans = _start(spans, max(10, room - note_cells - 2))
    if line_width(spans) > room or row.more:
        spans = [*_start(spans, room - 1), Span(glyphs.ellipsis, f"faint{ground}")]
    if note:
        gap = room - line_width(spans) - note_cells
        spans += [Span(" " * max(1, gap), f"text{ground}"), *note]
    return spans


def _updates(row: Row, glyphs: Glyphs, *, wide: bool) -> str:
    """What stands before a progress bar: which of its states it shows."""
    if row.state is not None:
        place = f"{row.state:,} of {row.updates:,}"
        return f"{glyphs.ellipsis} update {place}: " if wide else f"{place}: "
    return f"{glyphs.ellipsis} {row.updates:,} updates, last: " if wide else f"{row.updates:,}× "


def _start(spans: Sequence[Span], cells: int) -> list[Span]:
    """As much of the beginning as there is room for."""
    kept: list[Span] = []
    for span in spans:
        part = take(span.text, cells)
        kept.append(Span(part, span.style))
        cells -= width(part)
        if len(part) < len(span.text):
            break
    return kept


def _fold_note(row: Row, glyphs: Glyphs, ground: str) -> Line:
    """What stands at the right of a traceback's first line."""
    fold = row.fold
    if fold is None or str(row.role) != "header":
        return ()
    if fold.open:
        return (Span(f"{glyphs.unfolded} {clean(fold.text)}", f"muted{ground}"),)
    words = f"{glyphs.folded} {clean(fold.text)} · {fold.lines} lines"
    return (Span(words, f"muted{ground}"),)


_ROLES = {"header": "failed bold", "raised": "strong", "library": "faint"}


def _text(row: Row, quiet: bool, ground: str) -> list[Span]:
    """The row's text, in its own colours or those of its role, hits marked."""
    role = str(row.role)
    base = "muted" if quiet else _ROLES.get(role, "text")
    if role == "own":
        base = "text" if row.line.text.lstrip().startswith("File ") else "strong"
    pieces = [(text, styled(style) or base) for text, style in row.line.pieces() if text]
    if role == "raised" and row.head:
        pieces = _with_kind(pieces)
    if not row.marks:
        return [Span(text, style + ground) for text, style in pieces]
    spans: list[Span] = []
    at = 0
    for text, style in pieces:
        end = at + width(text)
        cuts = sorted({at, end, *(c for m in row.marks for c in (m.start, m.end) if at < c < end)})
        for low, high in pairwise(cuts):
            part = take(text, high - low)
            text = text[len(part) :]
            mark = next((m for m in row.marks if m.start <= low < m.end), None)
            if mark is None:
                spans.append(Span(part, style + ground))
            else:
                look = "on_accent bold @accent" if mark.current else "on_match @match"
                spans.append(Span(part, look))
        at = end
    return spans


def _with_kind(pieces: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """An exception's line: its type stands out, what it says is text."""
    (first, style), *rest = pieces
    match = re.match(r"[\w.]+(?=:|$)", first)
    if match is None:
        return list(pieces)
    kind = match.group()
    return [(kind, "failed bold"), (first[len(kind) :], style), *rest]


def _edge(shown: LogShown, rows: int, glyphs: Glyphs) -> list[Span]:
    """The map of the whole log: hits, errors, warnings, and which part is in sight."""
    from traindeck.console.logs.severity import Severity

    window, size = shown.window, max(1, shown.window.size)
    low = window.start * rows // size
    high = max(low, (window.end - 1) * rows // size)
    partly = bool(window.rows) and not shown.filtered and (high - low + 1 < rows)
    full = "#" if glyphs.name == "ascii" else "▐"
    thin = ":" if glyphs.name == "ascii" else "│"
    marks: list[Span] = []
    for number in range(rows):
        found = shown.map[number] if number < len(shown.map) else Severity.NONE
        here = partly and low <= number <= high
        if number in shown.hit_rows:
            marks.append(Span(full, "accent"))
        elif found is Severity.ERROR:
            marks.append(Span(full, "failed"))
        elif found is Severity.WARNING:
            marks.append(Span(full, "warn"))
        elif here:
            marks.append(Span(full, "muted"))
        else:
            marks.append(Span(thin if shown.map else " ", "grid"))
    return marks


# ---------------------------------------------------------------------------------- after the end


def after_end(shown: LogShown, subject: Subject, cells: int, glyphs: Glyphs = BEST) -> list[Line]:
    """What stands below the last line of all once nothing more is written."""
    if not shown.over or shown.filtered:
        return []
    gutter = _gutter(cells, shown.timed)
    margin = " " * (gutter - BAR)
    room = text_cells(cells, timed=shown.timed)
    words = "end of file" if subject.path else "end of log"
    if subject.current:
        words += _how(subject.run)
    sign = {"best": "┈", "plain": "-"}.get(glyphs.name, ".")
    rest = max(0, room - width(words) - 1)
    lines: list[Line] = [
        (Span(margin + " " * BAR), Span(f"{words} ", "muted"), Span(sign * rest, "grid"))
    ]
    finding = shown.finding
    if finding is None:
        return lines
    bar = (Span(margin), Span(fit(glyphs.cursor, BAR), "warn"))
    room = min(room, BLOCK)
    label = LABEL if room >= 60 else 6
    happened, tries = ("What happened", "Try") if label == LABEL else ("What", "Try")
    for number, line in enumerate(_happened(finding, room - label)):
        head = happened if number == 0 else ""
        lines.append((*bar, Span(fit(head, label), "strong bold"), *line))
    for number, line in enumerate(_tries(finding, subject, room - label)):
        head = tries if number == 0 else ""
        lines.append((*bar, Span(fit(head, label), "strong bold"), *line))
    return lines


def after_rows(shown: LogShown, subject: Subject, cells: int) -> int:
    """Rows that `after_end` takes."""
    return len(after_end(shown, subject, cells))


def _how(run: RunRecord) -> str:
    how = clean(run.reason) if run.state is State.TIMEOUT else exit_words(run)
    return f" · {how}" if how and run.state is not State.SUCCEEDED else ""


def _happened(finding: Finding, cells: int) -> list[Line]:
    """The sentences, in at most three rows; a finding without any gives its reason."""
    sentences = re.split(r"(?<=[.;])\s+", clean(finding.happened)) if finding.happened else []
    while sentences:
        wrapped = textwrap.wrap(" ".join(sentences), max(20, cells))
        if len(wrapped) <= 3:
            return [(Span(row),) for row in wrapped]
        sentences.pop()  # a sentence goes whole
    return [fitted([(Span(clean(clause)),) for clause in finding.said(cells)], cells)]


def startable(finding: Finding | None, run: RunRecord) -> dict[str, Try]:
    """Letter -> try that can be begun from here: those that only need other variables."""
    if finding is None or not can_retry(run):
        return {}
    found = [attempt for attempt in finding.tries[: len(LETTERS)] if attempt.env]
    return dict(zip(LETTERS, found, strict=False))


def _tries(finding: Finding, subject: Subject, cells: int) -> list[Line]:
    """The tries: as many in a row as fit, a letter before those that can be begun from here."""
    letters = {}
    if subject.current:
        letters = {t.text: letter for letter, t in startable(finding, subject.run).items()}
    lines: list[Line] = []
    line: list[Span] = []
    for attempt in finding.tries[: len(LETTERS)]:
        letter = letters.get(attempt.text)
        sign = Span(f"{letter} ", "accent bold") if letter else Span("· ", "muted")
        cost = f" ({clean(attempt.cost)})" if attempt.cost else ""
        text = clean(attempt.text)
        wide = 2 + width(text) + width(cost)
        if line and line_width(line) + 3 + wide > cells:
            lines.append(tuple(line))
            line = []
        if wide <= cells:
            line += [*([Span("   ")] if line else []), sign, Span(text), Span(cost, "muted")]
            continue
        # Too long for a row: what to do is never cut, what it costs is left out.
        wrapped = textwrap.wrap(text, max(10, cells - 2))[:3]
        lines += [
            (sign if not number else Span("  "), Span(row)) for number, row in enumerate(wrapped)
        ]
    if line:
        lines.append(tuple(line))
    return lines
