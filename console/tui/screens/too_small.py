"""Shown instead of everything while the terminal is too small: the counts, and how to get out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.screen import Screen

from traindeck.console.present.cells import Line
from traindeck.console.present.chrome import too_small
from traindeck.console.tui.widgets.lines import Lines


class SmallNote(Lines):
    """The few lines that fit."""

    DEFAULT_CSS = "SmallNote { height: 1fr; }"

    def on_mount(self) -> None:
        self.set_interval(0.5, self.update)

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        return too_small(cells, rows, self._counts(), self.deck.painter.glyphs)

    def _counts(self) -> Sequence[Line]:
        for screen in self.app.screen_stack:
            counts = getattr(screen, "sign_counts", None)
            if counts is not None:
                found: Sequence[Line] = counts()
                return found
        return ()


class TooSmallScreen(Screen[Any]):
    """Covers the screen below, which keeps its state. `q` quits; nothing else does anything."""

    AUTO_FOCUS = ""

    def __init__(self) -> None:
        super().__init__()
        self._over = False

    def compose(self) -> ComposeResult:
        yield SmallNote()

    def leave(self) -> None:
        """Go when there is room again: now, or when what lies on top has gone."""
        if self.is_current:
            self.app.pop_screen()
        else:
            self._over = True

    def on_screen_resume(self) -> None:
        if self._over:
            self.app.pop_screen()

    def take_key(self, event: events.Key) -> None:
        """The only key there is."""
        if event.key in ("q", "ctrl+c"):
            self.app.exit()
