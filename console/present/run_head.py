"""The two lines at the top of a run's screen: its name with its state, age and end; and the tabs.
Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from traindeck.backends.states import State
from traindeck.console.store.records import RunRecord

from .ages import age, spoken
from .cells import Line, Span, clean, clip, clip_line, fit_line, line_width
from .glyphs import BEST, Glyphs
from .numbers import percent
from .runs_table import run_age, where
from .sentences import exit_words, fitted, ran, time_left
from .states import mark


def head_line(run: RunRecord, cells: int, now: float, glyphs: Glyphs = BEST) -> Line:
    """`▌traindeck  Runs › NAME            ✗ failed   exit 1 · ran 12 min · gpu1 · 3h04 ago`."""
    brand = [Span(glyphs.cursor, "accent"), Span("traindeck", "strong bold"), Span("  ")]
    crumbs = [Span("Runs", "text"), Span(f" {glyphs.crumb} ", "muted")]
    state, *facts = state_words(run, now, glyphs)
    left = [*brand, *crumbs] if cells >= 72 else [brand[0], *crumbs]
    # The name comes before everything but the state.
    room = cells - line_width(left) - line_width(state) - 5
    name = Span(clip(clean(run.name or run.id), max(8, min(48, room)), "both"), "strong bold")
    left.append(name)
    room = cells - line_width(left) - line_width(state) - 6
    rest = fitted(facts, room) if facts and room > 3 else ()
    if line_width(rest) > room:
        rest = ()
    right: Line = (*state, Span("   "), *rest) if rest else state
    gap = max(1, cells - line_width(left) - line_width(right) - 1)
    return fit_line((*left, Span(" " * gap), *right, Span(" ")), cells)


def state_words(run: RunRecord, now: float, glyphs: Glyphs = BEST) -> list[Line]:
    """Clauses for the header, the most important first: the state, and then what to know of it."""
    sign = mark(run, now)
    word = f"{sign.glyph(glyphs)} {sign.word}"
    style = sign.style if run.state is State.SUCCEEDED else f"{sign.style} bold"
    clauses: list[Line] = [(Span(word, style),)]
    if run.unknown:
        seen = f"last seen {spoken(now - run.observed_at)} ago" if run.observed_at else "never seen"
        clauses.append((Span(seen, "stale"),))
    if run.active:
        spent = "waits" if run.state in (State.NEW, State.QUEUED) else "runs"
        clauses.append((Span(f"{spent} ", "muted"), Span(age(run_age(run, now)), "text")))
        if run.progress.fraction is not None:
            clauses.append((Span(percent(run.progress.fraction), "strong"),))
        if (left := time_left(run)) is not None and not run.unknown:
            clauses.append((Span(age(left), "text"), Span(" left", "muted")))
    else:
        how = exit_words(run)
        if how and run.state is not State.SUCCEEDED:
            clauses.append((Span(how, "text"),))
        if took := ran(run):
            clauses.append((Span("ran ", "muted"), Span(took, "text")))
        clauses.append((Span(age(run_age(run, now)), "text"), Span(" ago", "muted")))
    if run.archived:
        clauses.append((Span("archived", "muted"),))
    if run.attempt:
        clauses.append((Span("attempt ", "muted"), Span(f"{run.attempt}", "text")))
    clauses.append((Span(clean(where(run)), "muted"),))
    return clauses


def tab_line(
    tabs: Mapping[str, tuple[str, str]], shown: str, chosen: Sequence[Line], cells: int
) -> Line:
    """The tabs, the one in sight underlined; at the right what was chosen in it, as far as there is
    room, the first first.

    Args:
        tabs: Name -> (number, word).
    """
    line: list[Span] = [Span(" ")]
    for name, (number, word) in tabs.items():
        style = "accent bold underline" if name == shown else "muted"
        line += [Span(f"{number} {word}", style), Span("  ")]
    room = cells - line_width(line) - 2
    right: list[Span] = []
    for part in chosen:
        if line_width(right) + line_width(part) + (3 if right else 0) > room:
            break
        right += [Span("   "), *part] if right else part
    if right:
        line += [Span(" " * (room + 1 - line_width(right))), *right, Span(" ")]
    return clip_line(line, cells)
