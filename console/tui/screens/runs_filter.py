"""The line in which Runs takes a filter: it acts while it is typed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from textual import events
from textual.app import ComposeResult

from traindeck.console.present.cells import Line, Span
from traindeck.console.tui.widgets.field import Field
from traindeck.console.tui.widgets.lines import Lines


class Filtered(Protocol):
    """What a filter line belongs to."""

    async def keep_filter(self) -> None:
        """Enter: keep what is typed."""

    def end_filter(self, text: str) -> None:
        """Leave the line with this filter."""

    def move_while_asking(self, step: int) -> None:
        """Up and down choose a row without leaving the line."""


class FilterLine(Lines):
    """Where a filter is typed: takes effect while typing; enter keeps it, esc takes it back."""

    DEFAULT_CSS = """
    FilterLine { layout: horizontal; height: 1; background: $select; }
    FilterLine Input { margin: 0 0 0 10; }
    """

    def __init__(self, owner: Filtered) -> None:
        super().__init__(id="filter", ground="select")
        self._owner = owner
        self._before = ""
        self._field = Field(placeholder="say state:running tag:sft name:*lora* lr>1e-4 since:2d")

    def compose(self) -> ComposeResult:
        yield self._field

    @property
    def text(self) -> str:
        """What is typed."""
        return self._field.value.strip()

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
            self._owner.end_filter(self._before)
        elif event.key == "enter":
            await self._owner.keep_filter()
        elif event.key in ("down", "up"):
            self._owner.move_while_asking(1 if event.key == "down" else -1)
        elif event.is_printable and event.character:
            self._field.enter_text(event.character)
        else:
            return False
        return True

    def take_paste(self, text: str) -> None:
        """Text that was pasted: its first line."""
        self._field.enter_text(next(iter(text.splitlines()), ""))
