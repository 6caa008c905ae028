"""The Launch screen as lines: the form with its focused field, the help below it, the plan. Pure.

The plan's lines are those of `--dry-run`, made by the same function from the same object.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from traindeck.backends.base import Plan
from traindeck.backends.data import dataclass
from traindeck.backends.states import Reach

from .caret import Caret
from .cells import Line, Span, clean, clip, fit, fit_line, line_width, width
from .form import (
    OPEN,
    OPEN_LOW,
    box_spans,
    form_lines,
    row_head,
    typing_rows,
    wrapped,
)
from .glyphs import BEST, Glyphs
from .launch_fields import PLACE, VALUE, Entry, Place, Section, flat
from .numbers import plural
from .plan_view import of_array, plan_lines

LABEL_AT, LABEL = 3, 15


# ----------------------------------------------------------------------------------------- the form


def launch_form(
    form: Sequence[Section],
    focus: str,
    caret: Caret | None,
    places: Sequence[Place],
    cells: int,
    *,
    airy: bool,
    line: int = 0,
    glyphs: Glyphs = BEST,
) -> tuple[list[Line], range]:
    """All lines of the form, and which of them are the focused field's.

    Args:
        focus: Key of the focused field.
        caret: The text being typed; None if the focused field is chosen, not typed.
        airy: Leave a row between questions.
        line: Which of the places the cursor is on, if they have the focus.
    """

    def rows(entry: Entry, focused: bool) -> Sequence[Line]:
        if entry.key == PLACE:
            return _places(entry, places, line if focused else None, cells, glyphs)
        if not focused or caret is None:
            return [_row(entry, focused, cells, glyphs)]
        head = row_head(entry, focused, LABEL, glyphs)
        box, widest = field_cells(entry, cells), field_cells(replace(entry, wide=True), cells)
        most = OPEN if airy else OPEN_LOW
        first, *more = typing_rows(head, caret, entry, box, widest, most, glyphs)
        first += _hint(entry, focused, cells - line_width(first), glyphs)
        return [fit_line(spans, cells, "text @select") for spans in (first, *more)]

    return form_lines(form, focus, rows, cells, airy=airy, glyphs=glyphs)


def field_cells(entry: Entry, cells: int) -> int:
    """Cells of a field's box in a form of this width."""
    start = LABEL_AT + LABEL + 1
    if entry.wide and not entry.idle:  # beside an idle one stands that it is
        return cells - start - 1
    return max(14, min(28, (cells - start) * 2 // 5))


def _row(entry: Entry, focused: bool, cells: int, glyphs: Glyphs) -> Line:
    ground = " @select" if focused else ""
    spans = row_head(entry, focused, LABEL, glyphs)
    spans += box_spans(entry, focused, field_cells(entry, cells), glyphs)
    spans += _hint(entry, focused, cells - line_width(spans), glyphs)
    return fit_line(spans, cells, f"text{ground}")


def _hint(entry: Entry, focused: bool, room: int, glyphs: Glyphs) -> list[Span]:
    """What stands beside a field that leaves room for it."""
    if room < 4:
        return []
    wrong = f"{glyphs.failed} " if entry.problem else ""
    hint = _whole_words(clean(entry.hint), room - 3 - width(wrong))
    hint = hint or ("needed" if entry.problem else "")
    ground = " @select" if focused else ""
    return [Span(f"  {wrong}{hint}", f"{'failed' if wrong else 'faint'}{ground}")]


def _whole_words(hint: str, cells: int) -> str:
    """A hint without the words that do not fit: a bound is never cut in half."""
    words = hint.split(" ")
    while words and (width(" ".join(words)) > cells or words[-1] in ("or", "of", "…")):
        words.pop()
    return " ".join(words).rstrip(",")


def _places(
    entry: Entry, places: Sequence[Place], line: int | None, cells: int, glyphs: Glyphs
) -> list[Line]:
    lines: list[Line] = []
    names = max((width(clean(place.name)) for place in places), default=0)
    for number, place in enumerate(places):
        chosen = place.name == entry.text
        here = number == line
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


# ----------------------------------------------------------------------------------------- the plan


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanState:
    """What the plan pane shows.

    Attributes:
        plan: The newest plan there was.
        array: The plans of all tasks, if that is the first of a job array's.
        current: It is the plan of what the form says now.
        waiting: The next one is being made.
        problems: (field's label, sentence) of what is wrong.
        refused: Why the place did not take the launch, or did not answer.
        blank: Nothing was typed yet: what is missing is no mistake.
    """

    plan: Plan | None = None
    array: tuple[Plan, ...] = ()
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
    body = plan_body(state, inner, whole=False)
    if len(body) > room:
        left = len(body) - room + 1
        body = [*body[: room - 1], (Span(f"{plural(left, 'more line')}: ctrl+o", "faint"),)]
    quiet = Span("  nothing is started yet", "muted")
    lines: list[Line] = [(), _plan_head(state, inner, glyphs, quiet), (), *body, (), *tail]
    return [((Span("  "), *line) if line else ()) for line in lines[:rows]]


def plan_pages(state: PlanState, cells: int, glyphs: Glyphs = BEST) -> list[Line]:
    """The whole plan, for a view of its own."""
    inner = cells - 4
    # The warnings themselves stand below the fold.
    way = "" if obstacle(state) else " · ctrl+g launches"
    back = "" if state.array else " · esc back"  # how many they are is worth more
    loud = Span(f"  not launched yet{way}{back}", "warn bold")
    head = _plan_head(state, inner, glyphs, loud, warned(state, glyphs))
    lines = [head, (), *plan_body(state, inner, whole=True), ()]
    return [(Span("  "), *line) if line else () for line in [*lines, *_tail(state, inner, glyphs)]]


def _plan_head(
    state: PlanState, cells: int, glyphs: Glyphs, fresh: Span, warning: str = ""
) -> Line:
    left = [Span("PLAN", "strong bold")]
    if state.array:
        left.append(Span(f"  {plural(len(state.array), 'run')}", "text"))
    if state.plan is not None and not state.current and not state.waiting:
        left.append(Span("  as before the last change", "stale"))
    else:
        left.append(fresh)
    right: Line = ()
    if state.waiting:
        right = (Span(glyphs.ellipsis, "muted"),)
    elif state.current:
        good = (Span("up to date ", "muted"), Span(glyphs.done, "good"))
        right = (Span(warning, "warn"),) if warning else good
    gap = max(1, cells - line_width(left) - line_width(right))
    return (*left, Span(" " * gap), *right)


def warned(state: PlanState, glyphs: Glyphs = BEST) -> str:
    """How many warnings a plan has; "" for none."""
    count = len(state.plan.warnings) if state.plan is not None else 0
    return f"{glyphs.warning} {plural(count, 'warning')}" if count else ""


def plan_body(state: PlanState, cells: int, *, whole: bool) -> list[Line]:
    """The plan's lines in columns: what, and wrapped beside it the text."""
    if state.plan is None:
        words = "The plan appears here as soon as the form is whole: the exact command, files, "
        words += "variables, and what to know before it starts."
        return [(Span(part, "muted"),) for part in wrapped(words, cells)]
    quiet = not state.current and not state.waiting
    lines: list[Line] = []
    last = ""
    for label, text in plan_lines(state.plan, whole=whole):
        if label in ("warning", "digest") and not whole:
            continue
        style = "warn" if label == "warning" else "muted" if quiet else "text"
        wraps = whole or label in ("command", "run")
        parts = wrapped(clean(text), cells - 10)
        if not wraps:
            keep = "end" if label in ("in", "python") else "start"
            parts = [clip(clean(text), cells - 10, keep)]
        elif not whole and len(parts) > 5:
            parts = [*parts[:4], clip(" ".join(parts[4:]), cells - 10)]
        for number, part in enumerate(parts or [""]):
            head = label if number == 0 and label != last else ""
            lines.append((Span(fit(head, 10), "muted"), Span(part, style)))
        last = label or last
    if state.array:
        lines += [(), (Span(of_array(len(state.array)), "muted"),)]
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


def below_form(state: PlanState, cells: int, rows: int, glyphs: Glyphs = BEST) -> list[Line]:
    """What is wrong with the whole, and so stands beside no field: where no plan is beside the form
    it is said below it."""
    if state.blank:
        return []
    said = [text for text in (state.refused, *(t for key, t in state.problems if not key)) if text]
    if not said or rows < 1:
        return []
    parts = wrapped(clean(said[0]), cells - 3)
    if len(parts) > rows:
        parts = [*parts[: rows - 1], clip(" ".join(parts[rows - 1 :]), cells - 3)]
    heads = [f" {glyphs.failed} ", *["   "] * len(parts)]
    return [
        (Span(head, "failed"), Span(part, "text")) for head, part in zip(heads, parts, strict=False)
    ]


def _marked(sign: str, text: str, style: str, cells: int) -> list[Line]:
    parts = wrapped(clean(text), cells - 2)
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
        name = clip(clean(state.plan.spec.name), 24)
        what = plural(len(state.array), "run") if state.array else name
        what = f" launch {what} on {clean(state.plan.backend)} "
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
