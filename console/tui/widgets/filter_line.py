"""A line in which a filter is typed: it takes effect while it is typed, enter keeps it, esc takes
it back. Up and down choose a row meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from textual import events
from textual.app import ComposeResult
from textual.suggester import Suggester

from traindeck.console.present.cells import Line, Span

from .field import Field
from .lines import Lines


class Filtered(Protocol):
    """Whose list it is that a line filters."""

    def end(self, text: str) -> None:
        """Leave the line with this filter."""
        ...

    async def keep(self) -> None:
        """Leave it with what is typed."""
        ...

    def move(self, step: int) -> None:
        """Choose another row without leaving it."""
        ...


class FilterLine(Lines):
    """The line.

    Args:
        hint: What stands in it while it is empty.
        suggester: Completes what is being typed.
    """

    DEFAULT_CSS = """
    FilterLine { layout: horizontal; height: 1; background: $select; }
    FilterLine Input { margin: 0 0 0 10; }
    """

    def __init__(self, owner: Filtered, hint: str, suggester: Suggester | None = None) -> None:
        super().__init__(id="filter", ground="select")
        self._owner = owner
        self._before = ""
        self._field = Field(placeholder=hint, suggester=suggester)

    def compose(self) -> ComposeResult:
        yield self._field

    @property
    def text(self) -> str:
        """What is typed."""
        return self._field.value.strip()

    @property
    def typed(self) -> str:
        """The same, with the blank behind a word that is whole."""
        return self._field.value

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        glyph = self.deck.painter.glyphs.cursor
        return [(Span(glyph, "accent"), Span(" filter ", "accent bold"))]

    def ask(self, text: str) -> None:
        """Begin with this text, selected: typing replaces it."""
        self._before = text
        self._field.value = text
        self._field.select_all()
        # At once and not when it is convenient: the next key is text already.
        self.screen.set_focus(self._field, scroll_visible=False)

    async def take_typed(self, event: events.Key) -> bool:
        """A key, in order. Called by the application."""
        if event.key == "escape":
            self._owner.end(self._before)
        elif event.key == "enter":
            await self._owner.keep()
        elif event.key in ("down", "up"):
            self._owner.move(1 if event.key == "down" else -1)
        else:
            return self._field.take(event)
        return True

    def take_paste(self, text: str) -> None:
        """Text that was pasted: its first line."""
        self._field.enter_text(next(iter(text.splitlines()), ""))
