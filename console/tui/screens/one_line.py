"""A question whose answer is one line: a name, a folder."""

from __future__ import annotations

from collections.abc import Sequence

from textual import events

from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import Line, Span, fit
from traindeck.console.present.dialogs import wrapped
from traindeck.console.tui.typed import put, typed

from .overlay import Overlay


class OneLineScreen(Overlay[None]):
    """Asks for it. An answer that cannot be is refused in words and stays to be changed."""

    title_words = ""
    label = ""
    suffix = ""
    """What stands behind what is typed, and is part of it without being typed."""
    words = ""
    """What comes of it."""
    does = ""
    """What enter does."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self._caret = Caret(text, len(text))
        self._problem = ""

    def about(self, cells: int) -> Sequence[Line]:
        """What it is asked for."""
        return ()

    def take(self, text: str) -> None:
        """The answer, without the white space around it."""
        raise NotImplementedError

    def refuse(self, problem: str) -> None:
        """Say why an answer is none."""
        self._problem = problem
        self.changed()

    def lines(self, cells: int) -> list[Line]:
        room = max(8, cells - len(self.label) - len(self.suffix) - 3)
        text, at = self._caret.text, self._caret.at
        start = max(0, at - room + 1)
        rows: list[Line] = [
            (Span(fit(self.title_words, cells), "accent bold"),),
            *self.about(cells),
            (),
            (
                Span(f"{self.label}  ", "muted"),
                Span(text[start:at], "strong"),
                Span(text[at : at + 1] or " ", "on_accent @accent"),
                Span(text[at + 1 : start + room], "strong"),
                Span(self.suffix, "faint"),
            ),
            (),
        ]
        if self._problem:
            sign = self.deck.painter.glyphs.failed
            return rows + wrapped(f"{sign} {self._problem}", cells, "failed")
        return rows + wrapped(self.words, cells, "faint")

    def footer_keys(self) -> list[tuple[str, str]]:
        return [("enter", self.does), ("esc", "leave it")]

    def take_key(self, event: events.Key) -> None:
        if event.key in ("escape", "ctrl+c"):
            self.dismiss(None)
        elif event.key == "enter":
            self.take(self._caret.text.strip())
        elif (after := typed(self._caret, event.key, event.character)) is not None:
            self._caret, self._problem = after, ""
            self.changed()

    def take_paste(self, text: str) -> None:
        """Text that was pasted. Called in the order of typing."""
        self._caret = put(self._caret, text)
        self.changed()
