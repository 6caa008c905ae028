"""A name under which the form is kept as a recipe of the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual import events

from traindeck.backends.errors import TraindeckError
from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import Line, Span
from traindeck.console.present.dialogs import wrapped
from traindeck.console.tui.typed import put, typed

from .overlay import Overlay

if TYPE_CHECKING:
    from traindeck.console.runs.drafting import Draft


class SaveScreen(Overlay[None]):
    """Asks for the name. A name that cannot be is refused in words and stays to be changed."""

    wanted_cells = 60

    def __init__(self, draft: Draft) -> None:
        super().__init__()
        self._draft = draft
        name = f"{draft.recipe}-mine"
        self._caret = Caret(name, len(name))
        self._problem = ""
        self._saving = False

    def lines(self, cells: int) -> list[Line]:
        text, at = self._caret.text, self._caret.at
        glyphs = self.deck.painter.glyphs
        rows: list[Line] = [
            (Span("Save as a recipe", "accent bold"),),
            (),
            (
                Span("name  ", "muted"),
                Span(text[:at], "strong"),
                Span(text[at : at + 1] or " ", "on_accent @accent"),
                Span(text[at + 1 :], "strong"),
                Span(".yaml", "faint"),
            ),
            (),
        ]
        if self._problem:
            return rows + wrapped(f"{glyphs.failed} {self._problem}", cells, "failed")
        words = "Its values are kept in your recipes folder; the place and the run's name are not."
        return rows + wrapped(words, cells, "faint")

    def footer_keys(self) -> list[tuple[str, str]]:
        return [("enter", "save"), ("esc", "leave it")]

    def take_key(self, event: events.Key) -> None:
        if event.key in ("escape", "ctrl+c"):
            self.dismiss(None)
        elif event.key == "enter":
            if not self._saving:
                self._saving = True
                self.deck.start(self._save(self._caret.text.strip()), "saving")
        elif (after := typed(self._caret, event.key, event.character)) is not None:
            self._caret, self._problem = after, ""
            self.changed()

    def take_paste(self, text: str) -> None:
        """Text that was pasted. Called in the order of typing."""
        self._caret = put(self._caret, text)
        self.changed()

    async def _save(self, name: str) -> None:
        try:
            path = await self.deck.services.save_recipe(self._draft, name)
        except TraindeckError as error:
            self._problem, self._saving = str(error), False
            self.changed()
            return
        self.deck.notice(f"saved {path}")
        if self.is_current:  # it may have been left meanwhile
            self.dismiss(None)
