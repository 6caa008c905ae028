"""A form as lines: its sections, a row's head, the field's box. Launch and Settings are forms."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from itertools import pairwise

from .caret import Caret
from .cells import Line, Span, clean, clip, fit, fit_line, line_width, pad, take, width
from .glyphs import BEST, Glyphs
from .launch_fields import VALUE, Entry, Section

TALL = 30
"""From this many rows on there is room between the questions."""


def form_lines(
    form: Sequence[Section],
    focus: str,
    rows: Callable[[Entry, bool], Sequence[Line]],
    cells: int,
    *,
    airy: bool,
    glyphs: Glyphs,
) -> tuple[list[Line], range]:
    """All lines of a form, and which of them are the focused entry's.

    Args:
        focus: Key of the focused entry.
        rows: Gives an entry's lines; whether it is focused goes in.
        airy: Leave a row between sections.
    """
    lines: list[Line] = []
    at = range(1)
    for section in form:
        if lines and airy:
            lines.append(())
        here = any(entry.key == focus for entry in section.entries)
        lines.append(_title(section, here, cells, glyphs))
        for entry in section.entries:
            own = rows(entry, entry.key == focus)
            if entry.key == focus:
                at = range(len(lines), len(lines) + len(own))
            lines += own
    return lines, at


def _title(section: Section, here: bool, cells: int, glyphs: Glyphs) -> Line:
    note = f" {section.note} " if section.note else " "
    room = max(0, cells - 2 - width(section.title) - width(note))
    return (
        Span(glyphs.cursor if here else " ", "accent"),
        Span(section.title, "accent bold" if here else "muted bold"),
        Span(" " + glyphs.rule * room, "accent" if here else "rule"),
        Span(note, "muted"),
    )


def row_head(entry: Entry, focused: bool, label: int, glyphs: Glyphs) -> list[Span]:
    """Cursor, mark (changed, wrong) and label of a row; `label` is the label's width in cells."""
    ground = " @select" if focused else ""
    sign = glyphs.failed if entry.problem else "•" if entry.changed else " "
    return [
        Span(glyphs.cursor if focused else " ", f"accent{ground}"),
        Span(f"{sign} ", f"{'failed' if entry.problem else 'accent'}{ground}"),
        Span(fit(clean(entry.label), label), f"{'text' if focused else 'muted'}{ground}"),
        Span(" ", f"text{ground}"),
    ]


def box_spans(entry: Entry, focused: bool, box: int, glyphs: Glyphs) -> list[Span]:
    """The field while nothing is typed in it: the value, and whether there is a choice to
    unfold."""
    ink = "strong" if entry.changed or focused else "muted" if entry.idle else "text"
    ground = f" @{'bg' if focused else 'raised'}"
    fold = f" {glyphs.unfolded}" if entry.choices else ""
    text = clip(clean(entry.text), box - 2 - width(fold), "end" if entry.wide else "start")
    rest = pad(fold, box - 1 - width(text))
    return [Span(f" {text}", f"{ink}{ground}"), Span(rest, f"muted{ground}")]


def typing_rows(
    head: Sequence[Span], caret: Caret, entry: Entry, box: int, widest: int, most: int,
    glyphs: Glyphs,
) -> list[list[Span]]:  # fmt: skip
    """The row of a field being typed in. A text that does not fit its box takes the widest there
    can be, and then more rows below the label: of those, at most so many around the cursor."""
    if width(clean(caret.text)) > box - 3:
        box = widest
    rows, start = [], 0
    for part in folded(caret.text, box - 3):
        rows.append((start, start + len(part)))
        start += len(part)
    at = next((n for n, (_, end) in enumerate(rows) if caret.at < end), len(rows) - 1)
    top = max(0, min(at - most // 2, len(rows) - most))
    shown = rows[top : top + most]
    below = [Span(glyphs.cursor, "accent @select"), Span(" " * (line_width(head) - 1), "@select")]
    found = []
    for number, (start, end) in enumerate(shown):
        spans = _typing_spans(caret, start, end, box - 2, last=end == rows[-1][1])
        if not caret.text and entry.default:
            spans.append(Span(clip(clean(entry.default), box - 3, "end"), "faint @bg"))
        before = top > 0 and number == 0
        after = top + most < len(rows) and number == most - 1
        first = Span(glyphs.ellipsis, "faint @bg") if before else Span(" ", "strong @bg")
        line = [first, *fit_line(spans, box - 1 - after, "strong @bg")]
        if after:
            line.append(Span(glyphs.ellipsis, "faint @bg"))
        found.append([*(below if number else head), *line])
    return found


def _typing_spans(caret: Caret, start: int, end: int, room: int, *, last: bool) -> list[Span]:
    """A part of the text being typed, with what is selected, the block cursor, and what would
    complete it, if they are there."""
    text, at = caret.text, caret.at
    low, high = sorted((at, at if caret.mark is None else caret.mark))
    cuts = sorted({start, end, *(n for n in (low, high, at, at + 1) if start < n < end)})
    spans = []
    for first, stop in pairwise(cuts):
        style = "on_match @match" if low <= first < high else "strong @bg"
        part = clean(text[first:stop])
        if first == at:
            part, style = part or " ", "on_accent @accent"
        spans.append(Span(part, style))
    if last and at >= end:
        rest = clip(clean(caret.rest), room - line_width(spans)) or " "
        spans += [Span(rest[0], "on_accent @accent"), Span(rest[1:], "faint @bg")]
    return spans


def folded(text: str, cells: int) -> list[str]:
    """A text over lines of so many cells with nothing left out: a line ends with a space if there
    is one in its second half, else within a word."""
    cells, lines = max(4, cells), []
    while width(text) > cells:
        part = take(text, cells) or text[0]
        space = part.rfind(" ") + 1
        part = part[:space] if space > len(part) // 2 else part
        lines.append(part)
        text = text[len(part) :]
    return [*lines, text]


OPEN, OPEN_LOW = 6, 4
"""Rows that a long text being typed takes at most, in a tall form and in a low one."""


def window_over(count: int, at: range, rows: int, top: int) -> int:
    """`window` for an entry of several lines: all in sight, if there is room."""
    return window(count, at[0], rows, window(count, at[-1], rows, top))


def window(count: int, at: int, rows: int, top: int) -> int:
    """The first line to show so that line `at` is in sight, moving as little as can be."""
    margin = min(2, rows // 4)
    top = min(top, max(0, at - margin))
    top = max(top, min(count - rows, at + margin + 1 - rows))
    return max(0, min(top, count - rows))


def help_lines(entry: Entry, cells: int, rows: int, glyphs: Glyphs = BEST) -> list[Line]:
    """What the focused field means, what it takes, what it is now; its problem first."""
    inner = cells - 4
    lines: list[Line] = []
    if entry.problem:
        problem = entry.problem.removeprefix(f"{entry.key.removeprefix(VALUE)}: ")
        words = wrapped(f"{glyphs.failed} {clean(problem)}", inner)
        lines += [(Span("  "), Span(part, "failed")) for part in words[:2]]
    label = clean(entry.label)
    first, *more = wrapped(f"{label}  {entry.meaning}", inner) or [label]
    lines.append(
        (Span("  "), Span(first[: len(label)], "strong bold"), Span(first[len(label) :], "muted"))
    )
    lines += [(Span("  "), Span(part, "muted")) for part in more]
    clauses = []
    if len(entry.choices) > 1:
        clauses.append("space changes: " + " · ".join(entry.choices))
    elif entry.takes:
        clauses.append(entry.takes)
    if entry.suggest:
        clauses.append("try " + " ".join(entry.suggest))
    if entry.default:
        clauses.append(f"default {entry.default}")
    if entry.source:
        clauses.append(f"from {entry.source}")
    facts: list[str] = []
    for clause in clauses:
        if facts and width(f"{facts[-1]} · {clause}") <= inner:
            facts[-1] += f" · {clean(clause)}"
        else:
            facts.append(clean(clause))
    room = max(1, rows - len(lines))
    lines += [(Span("  "), Span(clip(fact, inner), "faint")) for fact in facts[:room]]
    return lines[:rows]


def wrapped(text: str, cells: int) -> list[str]:
    """Text over lines by cells; words longer than a line are broken, behind a sign that parts them
    if there is one."""
    cells = max(8, cells)
    if text.isascii() and all(len(word) <= cells for word in text.split()):
        return textwrap.wrap(text, cells, break_on_hyphens=False)
    lines: list[str] = []
    line = ""
    for word in text.split():
        while width(word) > cells:
            part = _parted(take(word, cells - width(line) - 1 if line else cells))
            line, word = (f"{line} {part}" if line else part), word[len(part) :]
            lines.append(line)
            line = ""
        if width(line) + 1 + width(word) > cells:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines


def _parted(piece: str) -> str:
    """The piece of a word up to its last `:` (a search path's), else `,` `/` or `=`, unless most of
    it would be left."""
    ends = (piece.rfind(sign) + 1 for sign in ":,/=")
    return piece[: next((end for end in ends if end > len(piece) // 2), len(piece))]
