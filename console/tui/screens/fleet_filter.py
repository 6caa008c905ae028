"""Finding devices by typing: the line, and where the cursor goes meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traindeck.console.tui.widgets.filter_line import FilterLine

if TYPE_CHECKING:
    from .fleet import FleetScreen


class FleetFilter:
    """The filter of the Fleet screen. It acts while it is typed.

    Attributes:
        line: Where it is typed.
        asking: Whether it is being typed.
    """

    def __init__(self, screen: FleetScreen) -> None:
        self._screen = screen
        self.line = FilterLine(self, "words of a host, GPU, user, run; free, idle, busy, slowed")
        self.asking = False

    def begin(self) -> None:
        """Ask for one."""
        self.asking = True
        self._screen.place_parts()
        self.line.ask(self._screen.list.shown.text)
        self._screen.update_chrome()

    def typed(self) -> None:
        """Something else stands in the line."""
        if self.asking:
            self._screen.show(text=self.line.text)

    def move(self, step: int) -> None:
        self._screen.table.move(step)

    async def keep(self) -> None:
        self.end(self.line.text)

    def end(self, text: str) -> None:
        self.asking = False
        self._screen.set_focus(self._screen.table, scroll_visible=False)
        self._screen.show(text=text)
        self._screen.place_parts()
