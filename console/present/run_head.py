"""What stands at the top of a run's screen beside its name: its state, age and end. Pure."""

from __future__ import annotations

from traindeck.console.store.records import RunRecord

from .ages import age, spoken
from .cells import Line, Span, clean
from .glyphs import BEST, Glyphs
from .numbers import percent
from .runs_table import run_age, where
from .sentences import exit_words
from .states import is_unknown, mark


def state_words(run: RunRecord, now: float, glyphs: Glyphs = BEST) -> list[Line]:
    """Clauses for the header, the most important first."""
    sign = mark(run)
    clauses: list[Line] = [(Span(f"{sign.glyph(glyphs)} {sign.word}", sign.style),)]
    if is_unknown(run):
        seen = age(now - run.observed_at) if run.observed_at else "never"
        clauses.append((Span(f"{glyphs.queued} {seen}", "stale"),))
    if run.active:
        clauses.append((Span(age(run_age(run, now)), "text"),))
        if run.progress.fraction is not None:
            clauses.append((Span(percent(run.progress.fraction), "strong"),))
        if run.progress.eta is not None:
            clauses.append((Span(f"{age(run.progress.eta)} left", "text"),))
    else:
        how = exit_words(run)
        if how:
            clauses.append((Span(how, "text"),))
        if run.started and run.ended:
            clauses.append((Span(f"ran {spoken(run.ended - run.started)}", "text"),))
        clauses.append((Span(f"{age(run_age(run, now))} ago", "muted"),))
    if run.attempt:
        clauses.append((Span(f"attempt {run.attempt}", "muted"),))
    clauses.append((Span(clean(where(run)), "muted"),))
    return clauses
