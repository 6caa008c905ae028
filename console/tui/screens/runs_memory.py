"""What the Runs screen keeps for another day: how the list is shown, and where the cursor was."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traindeck.console.tui.services import View
from traindeck.console.tui.state import UiState

if TYPE_CHECKING:
    from .runs import RunsScreen


def restore(ui: UiState, screen: RunsScreen) -> View:
    """Show the list as on another day, its columns, its folds and the cursor; gives the view, in
    which there is no filter."""
    screen.rows.columns = ui.strings("runs", "columns") or []
    screen.table.folded = set(ui.strings("runs", "folded") or [])
    screen.going.saved = ui.get("runs", "cursor", str, None)
    # What the menu called newest first was kept as `-created` once.
    order = [kept.replace("created", "latest") for kept in ui.strings("runs", "order") or ()]
    group = ui.get("runs", "group", str, "state")
    usual = screen.deck.settings.window
    return View(
        order=tuple(order) if order else View().order,
        group=group if group in ("state", "backend", "") else "state",
        window=None if ui.get("runs", "all", bool, False) else usual,
    )


def keep(ui: UiState, screen: RunsScreen) -> None:
    """Keep what is shown now."""
    selected, view = screen.selected, screen.model.view
    ui.put(
        "runs",
        order=list(view.order),
        group=view.group,
        all=view.window is None,
        columns=screen.rows.columns,
        folded=sorted(screen.table.folded),
        cursor=selected.id if selected else screen.going.saved,
    )
