"""The keys of a screen, as they are bound here and now, and how to read what it shows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from textual import events
from textual.screen import Screen

from traindeck.console.present.cells import Line, Span
from traindeck.console.present.help import HelpEntry, help_lines
from traindeck.console.tui import keys

from .base import DeckScreen, active_actions
from .overlay import Overlay


class HelpScreen(Overlay[None]):
    """Help for the screen below. `/` narrows it; moving scrolls it if it is longer than the screen.

    It lists what is bound, not what was planned; what has nothing to act on just now is faint.
    """

    wanted_cells = 104

    def __init__(self, below: Screen[Any]) -> None:
        super().__init__()
        self._title = str(getattr(below, "title_words", "") or "")
        self._entries = help_entries(below)
        self._notes: Sequence[Line] = getattr(below, "reading_notes", lambda: ())()
        self._notes_first = bool(getattr(below, "explains_line", False))
        self._query: str | None = None
        self._top = 0

    def lines(self, cells: int) -> list[Line]:
        glyphs = self.deck.painter.glyphs
        every = help_lines(
            self._title,
            self._entries,
            self._query,
            self._notes,
            cells,
            glyphs,
            notes_first=self._notes_first,
        )
        room = self.inner_rows
        self._top = max(0, min(self._top, len(every) - room))
        return [every[0], *every[1 + self._top : self._top + room]]

    def context(self) -> Line:
        if self._query is None:
            return ()
        return (Span("search ", "muted"), Span(self._query, "strong"), Span("▏", "accent"))

    def footer_keys(self) -> list[tuple[str, str]]:
        return [("/", "search keys"), ("j k", "scroll"), ("esc", "close")]

    def take_key(self, event: events.Key) -> None:
        closes = ("q", "question_mark", "f1")  # what opened it closes it
        if event.key in ("escape", "ctrl+c") or (self._query is None and event.key in closes):
            if self._query:
                self._query = None
            else:
                self.dismiss(None)
                return
        elif event.key in ("down", "pagedown") or (self._query is None and event.key == "j"):
            self._top += 1 if event.key != "pagedown" else 10
        elif event.key in ("up", "pageup") or (self._query is None and event.key == "k"):
            self._top -= 1 if event.key != "pageup" else 10
        elif self._query is None:
            if event.key == "slash":
                self._query = ""
        elif event.key == "backspace":
            self._query = self._query[:-1]
        elif event.key == "enter":
            self._query = self._query or None
        elif event.character and event.is_printable:
            self._query += event.character
        self.changed()


def help_entries(screen: Screen[Any]) -> list[HelpEntry]:
    """What the keys of a screen do now, in the order of the tables."""
    usable = active_actions(screen)
    bound = active_actions(screen, resting=True)
    entries = []
    deck = getattr(screen, "deck", None)
    ascii_only = deck is not None and deck.painter.glyphs.name == "ascii"
    keys_now = screen.keys_now if isinstance(screen, DeckScreen) else list
    order = [action for scope in ("runs", *keys.SCOPES) for action in keys.SCOPES.get(scope, ())]
    for action in dict.fromkeys(order):
        if action.id in bound and action.section:
            here = keys_now(bound[action.id])
            shown = keys.shown_keys(action, here or bound[action.id])
            if ascii_only:
                shown = keys.in_words(shown)
            able = bool(here) and action.id in usable
            entries.append(HelpEntry(action.section, shown, action.help, action.id, able))
    return entries
