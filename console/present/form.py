"""A form as lines: its sections, a row's head, the field's box. Launch and Settings are forms."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from .cells import Line, Span, clean, clip, fit, fit_line, pad, take, width
from .glyphs import BEST, Glyphs
from .launch_fields import VALUE, Entry, Section

TALL = 30
"""From this many rows on there is room between the questions."""


@dataclass(frozen=True, slots=True)
class Caret:
    """Where one types: the text of the focused field as it stands, and the place in it."""

    text: str = ""
    at: int = 0


def form_lines(
    form: Sequence[Section],
    focus: str,
    rows: Callable[[Entry, bool], Sequence[Line]],
    cells: int,
    *,
    airy: bool,
    glyphs: Glyphs,
) -> tuple[list[Line], int]:
    """All lines of a form, and which of them is the focused entry's first.

    Args:
        focus: Key of the focused entry.
        rows: Gives an entry's lines; whether it is focused goes in.
        airy: Leave a row between sections.
    """
    lines: list[Line] = []
    at = 0
    for section in form:
        if lines and airy:
            lines.append(())
        here = any(entry.key == focus for entry in section.entries)
        lines.append(_title(section, here, cells, glyphs))
        for entry in section.entries:
            if entry.key == focus:
                at = len(lines)
            lines += rows(entry, entry.key == focus)
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


def box_spans(
    entry: Entry, focused: bool, caret: Caret | None, box: int, glyphs: Glyphs
) -> list[Span]:
    """The field: what is typed, or the value and whether there is a choice to unfold."""
    if caret is not None:
        return _typing_spans(caret, entry, box)
    ink = "strong" if entry.changed or focused else "muted" if entry.idle else "text"
    ground = f" @{'bg' if focused else 'raised'}"
    fold = f" {glyphs.unfolded}" if entry.choices else ""
    text = clip(clean(entry.text), box - 2 - width(fold), "end" if entry.wide else "start")
    rest = pad(fold, box - 1 - width(text))
    return [Span(f" {text}", f"{ink}{ground}"), Span(rest, f"muted{ground}")]


def _typing_spans(caret: Caret, entry: Entry, box: int) -> list[Span]:
    """The text with its block cursor, the part of it that fits around the cursor."""
    text, at = caret.text, caret.at
    before, under, after = text[:at], text[at : at + 1] or " ", text[at + 1 :]
    before, under, after = clean(before), clean(under) or " ", clean(after)
    room = box - 2
    used = width(under)
    left = before
    while width(left) > room - used:
        left = left[max(1, width(left) - (room - used)) :]
    right = take(after, room - used - width(left))
    spans = [
        Span(" ", "strong @bg"),
        Span(left, "strong @bg"),
        Span(under, "on_accent @accent"),
        Span(right, "strong @bg"),
    ]
    if not text and entry.default:
        spans.append(Span(clip(clean(entry.default), room - used, "end"), "faint @bg"))
    return list(fit_line(spans, box, "strong @bg"))


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
    """Text over lines by cells; words longer than a line are broken."""
    cells = max(8, cells)
    if text.isascii():
        return textwrap.wrap(text, cells, break_on_hyphens=False)
    lines: list[str] = []
    line = ""
    for word in text.split():
        while width(word) > cells:
            part = take(word, cells - width(line) - 1 if line else cells)
            line, word = (f"{line} {part}" if line else part), word[len(part) :]
            lines.append(line)
            line = ""
        if width(line) + 1 + width(word) > cells:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}" if line else word
    return [*lines, line] if line else lines
