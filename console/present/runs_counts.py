"""How many runs there are, in the words of the header and of the small screen."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from traindeck.backends.errors import TraindeckError

from .ages import window as window_text
from .cells import Line, Span, clean, clip
from .glyphs import BEST, Glyphs
from .numbers import plural


def header_counts(running: int, queued: int, needs_you: int) -> list[Line]:
    """Clauses for the header; what is zero is not said, but for running."""
    clauses: list[Line] = [(Span(f"{running:,}", "running"), Span(" running", "muted"))]
    if queued:
        clauses.append((Span(f"{queued:,}", "queued"), Span(" queued", "muted")))
    if needs_you:
        words = " needs you" if needs_you == 1 else " need you"
        clauses.append((Span(f"{needs_you:,}", "failed"), Span(words, "muted")))
    return clauses


def sign_counts(running: int, queued: int, needs_you: int, glyphs: Glyphs = BEST) -> list[Line]:
    """The same with signs."""
    parts: list[Line] = [(Span(f"{running:,}", "running"), Span(" running", "muted"))]
    for sign, style, count in (
        (glyphs.queued, "queued", queued),
        (glyphs.failed, "failed", needs_you),
    ):
        if count:
            parts.append((Span(f"{sign} {count:,}", style),))
    return parts


_ORDERS = {
    "-latest": "newest first",
    "latest": "oldest first",
    "-created": "by creation, newest first",
    "created": "by creation, oldest first",
    "name": "by name",
    "-name": "by name, z first",
}


def order_words(order: Sequence[str]) -> str:
    """A sort order as a person would say it."""
    key = order[0] if order else "-latest"
    if key in _ORDERS:
        return _ORDERS[key]
    name = key.removeprefix("-")
    for kind in ("value.", "metric.", "param."):
        name = name.removeprefix(kind)
    return f"by {clean(name)}, {'highest' if key[0] == '-' else 'lowest'} first"


def list_context(
    shown: int,
    total: int,
    filter_text: str,
    group: str,
    order: Sequence[str],
    cells: int,
    *,
    frozen: bool,
    archived: int = 0,
) -> list[Line]:
    """What the list shows and how, as clauses: what is not as usual first, for it is said nowhere
    else. A long filter leaves room for the order. `archived`: how many are left out for that."""
    usual = order_words(order) == order_words(())
    clauses: list[Line] = []
    if frozen:
        clauses.append((Span("frozen", "accent bold"),))
    if filter_text:
        text = clip(clean(filter_text), max(20, cells - (34 if usual else 58)))
        clauses.append((Span("filter ", "muted"), Span(text, "accent")))
    if not usual:
        clauses.append((Span(order_words(order), "text"),))
    clauses.append((Span(f"{shown:,}", "text"), Span(f" of {plural(total, 'run')}", "muted")))
    if archived:
        left_out = (Span(f"{archived:,} archived: ", "muted"), Span("a", "accent bold"))
        clauses.append((*left_out, Span(f" shows {'it' if archived == 1 else 'them'}", "muted")))
    by = f"grouped by {group}" if group else "not grouped"
    clauses.append((Span(f"{by}, {order_words(order)}" if usual else by, "muted"),))
    return clauses


def refused_filter(error: TraindeckError, cells: int) -> list[Line]:
    """Why what is typed is no filter, and what would be one: two lines at most."""
    words = str(error).removeprefix("Filter, ")
    lines = textwrap.wrap(clean(words), max(20, cells - 4), max_lines=2, placeholder=" …")
    return [(Span(f"  {line}", "muted"),) for line in lines]


def listed_meanwhile(filter_text: str) -> Line:
    """Which runs are listed while what is typed is no filter."""
    if not filter_text:
        return (Span("all are listed meanwhile", "muted"),)
    return (Span("listed meanwhile: ", "muted"), Span(clean(filter_text), "text"))


def window_words(seconds: float | None, *, usual: bool) -> Span:
    """Which finished runs are listed."""
    words = window_text(seconds) if seconds is None else f"finished: last {window_text(seconds)}"
    return Span(words, "faint" if usual else "text")


def beyond_words(older: int, archived: int) -> str:
    """Which runs a filter fits that are not listed: `3 older and 1 archived run fit`."""
    counted = [(n, kind) for n, kind in ((older, "older"), (archived, "archived")) if n]
    if not counted:
        return ""
    words = " and ".join(f"{n:,} {kind}" for n, kind in counted)
    last = counted[-1][0]
    return f"{words} run{'' if last == 1 else 's'} fit{'s' if older + archived == 1 else ''}"


def nothing_listed(
    filter_text: str, window: float | None, total: int, beyond: tuple[int, int] = (0, 0)
) -> list[Line]:
    """What the list says when no run is in it, and the key that changes that.

    Args:
        beyond: How many older and how many archived runs fit the filter.
    """
    lines: list[Line] = [()]
    if filter_text:
        fits = f"Only {beyond_words(*beyond)}" if any(beyond) else "No run fits"
        lines.append((Span(f"  {fits} ", "muted"), Span(clean(filter_text), "text")))
        lines.append((Span("  esc", "accent bold"), Span(" takes the filter away", "muted")))
    elif window is not None and total:
        words = f"  Nothing is active, and nothing ended in the last {window_text(window)}."
        lines.append((Span(words, "muted"),))
    if window is not None and total:
        lines.append(
            (Span("  a", "accent bold"), Span(f" looks at all {plural(total, 'run')}", "muted"))
        )
    return lines
