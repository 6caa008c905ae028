"""What became of a run's attempts, a line each, as the Overview and `show` say it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from traindeck.backends.states import State, Status
from traindeck.console.store.records import Progress, RunRecord, with_status

from .ages import age, spoken
from .cells import Line, Span, fit
from .glyphs import Glyphs
from .sentences import ended, exit_words, fitted
from .states import state_mark

MOST = 6
FORGOTTEN = "how the earlier attempts ended is not known: their records were removed"
"""What is said where nothing was noted of them."""

_BAD = (State.FAILED, State.LOST, State.TIMEOUT, State.PREEMPTED)


def attempt_lines(
    run: RunRecord, attempts: Sequence[Status], now: float, cells: int, glyphs: Glyphs
) -> Iterator[Line]:
    """The last attempts, the newest first: number, state, and why it ended so."""
    for status in list(reversed(attempts))[:MOST]:
        sign = state_mark(status.state)
        # How far the run is now says nothing of an earlier attempt.
        tried = replace(with_status(run, status), progress=Progress())
        clauses = ended(tried, "text") if status.state in _BAD else []
        if status.state is State.CANCELLED and (how := exit_words(tried)):
            clauses.append((Span(how, "text"),))
        if status.started and status.ended:
            clauses.append(
                (Span(f"ran {spoken(status.ended - status.started, exact=True)}", "text"),)
            )
        if status.ended:
            clauses.append((Span(f"{age(now - status.ended)} ago", "muted"),))
        yield (
            Span(f"{status.attempt:>3}  ", "text"),
            Span(f"{sign.glyph(glyphs)} {fit(sign.word, 10)} ", sign.style),
            *fitted(clauses, cells - 18),
        )
