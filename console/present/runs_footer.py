"""What the footer of Runs says on its left: what is marked and selected, and where a run went."""

from __future__ import annotations

from collections.abc import Sequence

from traindeck.console.store.records import RunRecord

from .cells import Line, Span, clean, width
from .glyphs import BEST, Glyphs
from .numbers import plural
from .states import mark


def selection(marked: int, hidden: int, position: int, listed: int, *, marking: bool) -> Line:
    """How many runs are marked, and which row of how many the cursor is on.

    Args:
        hidden: How many more are marked and filtered or folded away; nothing is done to them.
        marking: Moving marks.
    """
    clauses: list[Line] = []
    if marked or hidden:
        count = (Span(f"{marked + hidden:,} marked", "accent bold"),)
        clauses.append((*count, Span(f", {hidden:,} hidden", "warn")) if hidden else count)
    if marking:
        clauses.append((Span("marking", "accent"),))
    if position:
        where = Span(f"{position:,}", "text"), Span(f"/{listed:,}", "muted")
        clauses.append((Span("selected ", "muted"), *where))
    return _joined(clauses)


def fitting_words(words: Sequence[str], cells: int, glyphs: Glyphs = BEST) -> Line:
    """What a word of a filter could become: as many as there is room for."""
    shown = list(words)
    while len(shown) > 1 and width(" ".join(shown)) > cells - 2:
        shown.pop()
    more = f" {glyphs.ellipsis}" if len(shown) < len(words) else ""
    return (Span(" ".join(shown) + more, "muted"),)


def seen_words(names: Sequence[str], group: str) -> Line:
    """What needed a person is seen now. `group`: the title of the group that it stands in since;
    "" if it moved to none."""
    what = clean(names[0]) if len(names) == 1 else plural(len(names), "run")
    return _joined([(Span("seen: ", "muted"), Span(what, "text")), *_now_in(group)])


def gone_words(run: RunRecord, group: str, glyphs: Glyphs = BEST) -> Line:
    """The run that was under the cursor has left for a group that is out of sight."""
    sign = mark(run)
    state = (
        Span(f"{sign.glyph(glyphs)} ", sign.style),
        Span(f"{clean(run.name or run.id)}: {sign.word}", "text"),
    )
    return _joined([state, *_now_in(group)])


def _now_in(group: str) -> list[Line]:
    return [(Span("now in ", "muted"), Span(clean(group), "text"))] if group else []


def _joined(clauses: Sequence[Line]) -> Line:
    line: list[Span] = []
    for clause in clauses:
        line += [Span(" · ", "muted"), *clause] if line else clause
    return tuple(line)
