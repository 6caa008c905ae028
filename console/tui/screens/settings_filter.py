"""Finding settings by typing: the line, and where the cursor goes meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

from traindeck.console.present.launch_fields import flat
from traindeck.console.tui.widgets.filter_line import FilterLine

if TYPE_CHECKING:
    from .settings import SettingsScreen


class SettingsFilter:
    """The filter of the Settings screen.

    Attributes:
        line: Where it is typed.
        text: What is filtered for; "" shows all.
        asking: Whether it is being typed.
    """

    def __init__(self, screen: SettingsScreen) -> None:
        self._screen = screen
        self.line = FilterLine(self, "words of a name, of what it does, or of its value")
        self.text = ""
        self.asking = False
        self._from = ""

    def begin(self) -> None:
        """Ask for one."""
        self._from = self._screen.focus_key
        self.asking = self.line.display = True
        self.line.ask(self.text)
        self._screen.update_chrome()

    def typed(self) -> None:
        """Something else stands in the line."""
        if self.asking:
            self.text = self.line.text
            self._screen.look_again()

    def move(self, step: int) -> None:
        if self._screen.form:
            self._screen.action_row(step)
            self._from = self._screen.focus_key

    async def keep(self) -> None:
        self.end(self.line.text)

    def end(self, text: str) -> None:
        self.text = text
        self._screen.place_cursor()
        self.asking = self.line.display = False
        self._screen.set_focus(None)
        self._screen.look_again()

    @property
    def row(self) -> str:
        """The row that the cursor is to be on: where one was, or the first of what is found."""
        found = [entry.key for entry in flat(self._screen.form)]
        if self.asking and self._from in found:
            return self._from
        here = self._screen.focus_key
        return here if here in found or not found else found[0]
