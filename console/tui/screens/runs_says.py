"""What the Runs screen says around its list, and in place of it, each from what is shown now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from traindeck.console.present.cells import Line, Span, clean
from traindeck.console.present.chrome import context
from traindeck.console.present.runs_counts import (
    list_context,
    listed_meanwhile,
    nothing_listed,
    refused_filter,
    window_words,
)
from traindeck.console.present.runs_footer import fitting_words, selection
from traindeck.console.tui.services import View

if TYPE_CHECKING:
    from .runs import RunsScreen


def is_unusual(screen: RunsScreen) -> bool:
    """Whether the list is not the usual one, and nothing but the line above it says so. In which
    groups it stands can be seen."""
    model, usual = screen.model, View(window=screen.deck.settings.window)
    view = replace(model.view, group=usual.group)
    return view != usual or model.frozen or model.error is not None


def above(screen: RunsScreen, cells: int) -> Line:
    """The line below the header: what is listed, and how."""
    model = screen.model
    if model.error is not None:
        glyph = screen.deck.painter.glyphs.failed
        return (Span(f"  {glyph} ", "failed"), Span(clean(str(model.error)), "text"))
    if not model.loaded:
        return ()
    archived = model.listing.counts.archived
    clauses = list_context(
        len(model.listing.keys),
        model.listing.counts.total,
        model.filter,
        model.view.group,
        (*model.listing.order, *model.view.order),
        cells,
        frozen=model.frozen,
        archived=0 if model.filter or model.listing.window is None else archived,
    )
    usual = model.listing.window == screen.deck.settings.window
    return context(clauses, window_words(model.listing.window, usual=usual), cells)


def refused(screen: RunsScreen, cells: int) -> Sequence[Line]:
    """Why what is typed is no filter yet, below the line it is typed in."""
    error = screen.model.refused if screen.filtering.asking else None
    return refused_filter(error, cells) if error is not None else ()


def in_place_of_rows(screen: RunsScreen, *, slow: bool) -> Sequence[Line]:
    """Why nothing is listed. `slow`: the list has been waited for."""
    model = screen.model
    if not model.loaded:
        return ((), (Span("  reading the runs", "muted"),)) if slow else ()
    listing = model.listing
    return nothing_listed(model.filter, model.view.window, listing.counts.total, listing.beyond)


def in_place_of_the_list(screen: RunsScreen, cells: int, rows: int) -> Sequence[Line]:
    """When there are no runs: what is possible here, and the key for it."""
    if not screen.model.loaded:
        return ()
    from traindeck.console.present.first_start import first_start

    return first_start(cells, rows, screen.able(), screen.deck.painter.glyphs)


def below(screen: RunsScreen) -> Line:
    """The left of the footer."""
    model, table = screen.model, screen.table
    if screen.is_empty:
        return (Span("no runs" if model.loaded else "", "muted"),)
    if screen.filtering.asking and (words := screen.filtering.fitting):
        return fitting_words(words, screen.app.size.width // 3, screen.deck.painter.glyphs)
    if screen.filtering.asking and model.refused is not None:
        return listed_meanwhile(model.filter)
    marked, waiting = len(table.marked), len(table.waiting)
    return selection(marked, waiting, table.position, len(table.keys), marking=table.in_range)
