"""A screen that is a list above all: what the keys of `keys.MOVES` do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .base import DeckScreen

if TYPE_CHECKING:
    from traindeck.console.tui.widgets.virtual_table import VirtualTable


class ListScreen(DeckScreen):
    """A screen with a list.

    Attributes:
        table: The list.
    """

    table: VirtualTable
    _pending_g = False

    def action_move(self, step: int) -> None:
        self.table.move(step)

    def action_page(self, step: int) -> None:
        self.table.page(step)

    def action_half(self, step: int) -> None:
        self.table.page(step / 2)

    def action_first(self) -> None:
        self.table.first()

    def action_last(self) -> None:
        self.table.last()

    def action_prefix_g(self) -> None:
        """`g g` goes to the top; one `g` alone waits a second for the other."""
        if self._pending_g:
            self._pending_g = False
            self.table.first()
            return
        self._pending_g = True
        self.set_timer(1.0, self._forget_g)

    def _forget_g(self) -> None:
        self._pending_g = False
