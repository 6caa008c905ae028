"""A line of text to edit. Whatever is put into it, typed, pasted or given, is text and no command:
Textual's own field would pass an escape sequence in its value on to the terminal."""

from __future__ import annotations

from textual import events
from textual.suggester import Suggester
from textual.widgets import Input

from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import clean
from traindeck.console.tui.typed import typed


class Field(Input):
    """An `Input` without a border whose value holds only what can be shown."""

    def __init__(
        self,
        value: str = "",
        *,
        placeholder: str = "",
        id: str | None = None,
        suggester: Suggester | None = None,
    ) -> None:
        super().__init__(
            clean(value), placeholder=placeholder, id=id, select_on_focus=False, suggester=suggester
        )
        self.cursor_blink = False  # over a slow link nothing is written that says nothing new
        self._given = self.value

    @property
    def changed(self) -> bool:
        """Whether it holds something else than it was given."""
        return self.value != self._given

    def take(self, event: events.Key) -> bool:
        """A key that edits the line as it does in every field; False leaves it to what is bound."""
        mark, at = self.selection
        offers = self.suggester is not None and mark == at == len(self.value)
        if offers and event.key in ("right", "ctrl+f", "tab"):
            self.action_cursor_right()  # takes what completes the line, if that is shown
            return True
        caret = Caret(self.value, at, None if mark == at else mark)
        after = typed(caret, event.key, event.character)
        if after is None:
            return False
        self.value, self.cursor_position = after.text, after.at
        return True

    def enter_text(self, text: str) -> None:
        """Put text where the cursor is, in place of what is selected."""
        self.replace(text, *self.selection)

    def replace(self, text: str, start: int, end: int) -> None:
        super().replace(clean(text), start, end)

    def validate_value(self, value: str) -> str:
        """Every way to set the value goes through here."""
        return clean(value)
