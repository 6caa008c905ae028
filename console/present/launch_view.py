"""The Launch screen as lines: the form with its focused field, the help below it, the plan. Pure.

The plan's lines are those of `--dry-run`, made by the same function from the same object.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from traindeck.backends.base import Plan, Reach

from .cells import Line, Span, clean, clip, fit, fit_line, line_width, pad, take, width
from .glyphs import BEST, Glyphs
from .launch_fields import PLACE, VALUE, Entry, Place, Section, flat
from .numbers import plural
from .plan_view import plan_lines

LABEL_AT, LABEL = 3, 15
TALL = 30
"""From this many rows on there is room between the questions."""


@dataclass(frozen=True, slots=True)
class Caret:
    """Where one types: the text of the focused field as it stands, and the place in it."""

    text: str = ""
    at: int = 0


# ----------------------------------------------------------------------------------------- the form


def form_lines(
    form: Sequence[Section],
    focus: str,
    caret: Caret | None,
    places: Sequence[Place],
    cells: int,
    *,
    airy: bool,
    glyphs: Glyphs = BEST,
) -> tuple[list[Line], int]:
    """All lines of the form, and which of them is the focused field.

    Args:
        focus: Key of the focused field.
        caret: The text being typed; None if the focused field is chosen, not typed.
        airy: Leave a row between questions.
    """
    lines: list[Line] = []
    at = 0
    for section in form:
        if lines and airy:
            lines.append(())
        here = any(entry.key == focus for entry in section.entries)
        lines.append(_title(section, here, cells, glyphs))
        for entry in section.entries:
            focused = entry.key == focus
            if focused:
                at = len(lines)
            if entry.key == PLACE:
                lines += _places(entry, places, focused, cells, glyphs)
            else:
                lines.append(_row(entry, focused, caret if focused else None, cells, glyphs))
    return lines, at


def _title(section: Section, here: bool, cells: int, glyphs: Glyphs) -> Line:
    mark = Span(glyphs.cursor if here else " ", "accent")
    words = Span(section.title, "accent bold" if here else "muted bold")
    note = f" {section.note}" if section.note else ""
    room = max(0, cells - 2 - width(section.title) - width(note) - 1)
    rule = Span(" " + glyphs.rule * room, "accent" if here else "rule")
    return (mark, words, rule, Span(note, "muted"))


def field_cells(entry: Entry, cells: int) -> int:
    """Cells of a field's box in a form of this width."""
    start = LABEL_AT + LABEL + 1
    if entry.wide:
        return cells - start - 1
    return max(14, min(28, (cells - start) * 2 // 5))


def _row(entry: Entry, focused: bool, caret: Caret | None, cells: int, glyphs: Glyphs) -> Line:
    ground = " @select" if focused else ""
    sign = glyphs.failed if entry.problem else "•" if entry.changed else " "
    sign_style = "failed" if entry.problem else "accent"
    ink = "strong" if entry.changed or focused else "muted" if entry.idle else "text"
    box = field_cells(entry, cells)
    spans: list[Span] = [
        Span(glyphs.cursor if focused else " ", f"accent{ground}"),
        Span(f"{sign} ", f"{sign_style}{ground}"),
        Span(fit(clean(entry.label), LABEL), f"{'text' if focused else 'muted'}{ground}"),
        Span(" ", f"text{ground}"),
    ]
    if caret is not None:
        spans += typing_spans(caret, entry, box)
    else:
        fold = f" {glyphs.unfolded}" if entry.choices else ""
        text = clip(clean(entry.text), box - 2 - width(fold), "end" if entry.wide else "start")
        shown = Span(f" {text}", f"{ink} @{'bg' if focused else 'raised'}")
        rest = pad(fold, box - 1 - width(text))
        spans += [shown, Span(rest, f"muted @{'bg' if focused else 'raised'}")]
    if not entry.wide:
        wrong = f"{glyphs.failed} " if entry.problem else ""
        room = cells - line_width(spans) - 3 - width(wrong)
        hint = _whole_words(clean(entry.hint), room) or ("needed" if entry.problem else "")
        spans.append(Span(f"  {wrong}{hint}", f"{'failed' if wrong else 'faint'}{ground}"))
    return fit_line(spans, cells, f"text{ground}")


def _whole_words(hint: str, cells: int) -> str:
    """A hint without the words that do not fit: a bound is never cut in half."""
    words = hint.split(" ")
    while words and (width(" ".join(words)) > cells or words[-1] in ("or", "of", "…")):
        words.pop()
    return " ".join(words).rstrip(",")


def typing_spans(caret: Caret, entry: Entry, box: int) -> list[Span]:
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


def _places(
    entry: Entry, places: Sequence[Place], focused: bool, cells: int, glyphs: Glyphs
) -> list[Line]:
    lines: list[Line] = []
    names = max((width(clean(place.name)) for place in places), default=0)
    for place in places:
        chosen = place.name == entry.text
        here = focused and chosen
        ground = " @select" if here else ""
        down = place.reach is not Reach.OK
        note = place.note or ("not answering" if down else "")
        sign = f"{glyphs.queued} " if down else ""
        spans = [
            Span(glyphs.cursor if here else " ", f"accent{ground}"),
            Span("  ", f"text{ground}"),
            Span(f"({'•' if chosen else ' '})", f"{'accent' if chosen else 'muted'}{ground}"),
            Span(
                f" {fit(clean(place.name), min(20, names))}",
                f"{'text' if chosen else 'muted'}{ground}",
            ),
            Span(f"  {clean(place.kind)}", f"muted{ground}"),
            Span(f"  {sign}{clean(note)}", f"{'stale' if down else 'muted'}{ground}"),
        ]
        lines.append(fit_line(spans, cells, f"text{ground}"))
    return lines


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
        words = _wrap(f"{glyphs.failed} {clean(problem)}", inner)
        lines += [(Span("  "), Span(part, "failed")) for part in words[:2]]
    label = clean(entry.label)
    first, *more = _wrap(f"{label}  {entry.meaning}", inner) or [label]
    lines.append(
        (Span("  "), Span(first[: len(label)], "strong bold"), Span(first[len(label) :], "muted"))
    )
    lines += [(Span("  "), Span(part, "muted")) for part in more]
    clauses = []
    if entry.choices:
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


# ----------------------------------------------------------------------------------------- the plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """What the plan pane shows.

    Attributes:
        plan: The newest plan there was.
        current: It is the plan of what the form says now.
        waiting: The next one is being made.
        problems: (field's label, sentence) of what is wrong.
        refused: Why the place did not take the launch, or did not answer.
        blank: Nothing was typed yet: what is missing is no mistake.
    """

    plan: Plan | None = None
    current: bool = False
    waiting: bool = False
    problems: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    refused: str = ""
    blank: bool = False


def plan_pane(state: PlanState, cells: int, rows: int, glyphs: Glyphs = BEST) -> list[Line]:
    """The plan beside the form, cut to the rows there are; warnings and problems always show."""
    inner = cells - 4
    tail = _tail(state, inner, glyphs)
    room = rows - len(tail) - 4
    body = plan_body(state, inner, every_file=False)
    if len(body) > room:
        left = len(body) - room + 1
        body = [*body[: room - 1], (Span(f"{plural(left, 'more line')}: ctrl+o", "faint"),)]
    lines: list[Line] = [(), _plan_head(state, inner, glyphs), (), *body, (), *tail]
    return [((Span("  "), *line) if line else ()) for line in lines[:rows]]


def plan_pages(state: PlanState, cells: int, glyphs: Glyphs = BEST) -> list[Line]:
    """The whole plan, for a view of its own."""
    inner = cells - 4
    lines = [_plan_head(state, inner, glyphs), (), *plan_body(state, inner, every_file=True), ()]
    return [(Span("  "), *line) if line else () for line in [*lines, *_tail(state, inner, glyphs)]]


def _plan_head(state: PlanState, cells: int, glyphs: Glyphs) -> Line:
    left = [Span("PLAN", "strong bold")]
    if state.plan is not None and not state.current and not state.waiting:
        left.append(Span("  as before the last change", "stale"))
    else:
        left.append(Span("  nothing is started yet", "muted"))
    right: Line = ()
    if state.waiting:
        right = (Span(glyphs.ellipsis, "muted"),)
    elif state.current:
        right = (Span("up to date ", "muted"), Span(glyphs.done, "good"))
    gap = max(1, cells - line_width(left) - line_width(right))
    return (*left, Span(" " * gap), *right)


def plan_body(state: PlanState, cells: int, *, every_file: bool) -> list[Line]:
    """The plan's lines in columns: what, and wrapped beside it the text."""
    if state.plan is None:
        words = "The plan appears here as soon as the form is whole: the exact command, files, "
        words += "variables, and what to know before it starts."
        return [(Span(part, "muted"),) for part in _wrap(words, cells)]
    quiet = not state.current and not state.waiting
    lines: list[Line] = []
    last = ""
    for label, text in plan_lines(state.plan, every_file=every_file):
        if label in ("warning", "digest") and not every_file:
            continue
        style = "warn" if label == "warning" else "muted" if quiet else "text"
        whole = every_file or label in ("command", "run")
        parts = _wrap(clean(text), cells - 10)
        if not whole:
            keep = "end" if label in ("in", "python") else "start"
            parts = [clip(clean(text), cells - 10, keep)]
        elif not every_file and len(parts) > 5:
            parts = [*parts[:4], clip(" ".join(parts[4:]), cells - 10)]
        for number, part in enumerate(parts or [""]):
            head = label if number == 0 and label != last else ""
            lines.append((Span(fit(head, 10), "muted"), Span(part, style)))
        last = label or last
    return lines


def _tail(state: PlanState, cells: int, glyphs: Glyphs) -> list[Line]:
    lines: list[Line] = []
    if state.refused:
        lines += _marked(glyphs.failed, state.refused, "failed", cells)
    for label, text in state.problems if not state.blank else ():
        words = text if text.startswith(label) or not label else f"{label}: {text}"
        lines += _marked(glyphs.failed, words, "failed", cells)
    for text in (*(state.plan.warnings if state.plan and state.current else ()), *state.notes):
        lines += _marked(glyphs.warning, text, "warn", cells)
    if lines:
        lines.append(())
    lines.append(launch_line(state, cells, glyphs))
    return lines


def _marked(sign: str, text: str, style: str, cells: int) -> list[Line]:
    parts = _wrap(clean(text), cells - 2)
    return [
        (Span(f"{sign} " if number == 0 else "  ", style), Span(part, "text"))
        for number, part in enumerate(parts[:3])
    ]


def launch_line(state: PlanState, cells: int, glyphs: Glyphs = BEST) -> Line:
    """The button: what ctrl+g does now, or why it does nothing."""
    why = obstacle(state)
    left: Line = ()
    right: Line
    if why:
        left = (Span("" if state.blank else f"{glyphs.failed} ", "muted"), Span(why, "muted"))
        right = (Span("ctrl+g launch", "faint"),)
    else:
        assert state.plan is not None
        what = f" launch {clip(clean(state.plan.spec.name), 24)} on {clean(state.plan.backend)} "
        right = (Span(" ctrl+g", "on_accent @accent bold"), Span(what, "on_accent @accent"))
    gap = max(1, cells - line_width(left) - line_width(right))
    return (*left, Span(" " * gap), *right)


def obstacle(state: PlanState) -> str:
    """Why nothing can be launched now; "" if it can."""
    if state.blank:
        return "what is to run?"
    if state.problems:
        named = [label for label, _ in state.problems if label]
        if not named:
            return "it cannot be launched like this"
        return f"fix {plural(len(named), 'field')} to launch"
    if state.waiting:
        return "the plan is being made"
    if state.plan is None or not state.current:
        return "there is no plan yet"
    return ""


def problem_labels(
    form: Sequence[Section], problems: Sequence[tuple[str, str]]
) -> tuple[tuple[str, str], ...]:
    """Problems by the labels of their fields; those of the whole stand under ""."""
    labels = {entry.key.removeprefix(VALUE): entry.label for entry in flat(form)}
    return tuple((labels.get(key, key), text.removeprefix(f"{key}: ")) for key, text in problems)


def _wrap(text: str, cells: int) -> list[str]:
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
