"""The two halves of the Launch screen: the form, and the plan of what it says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from textual import events

from traindeck.console.present.caret import Caret
from traindeck.console.present.cells import Line, Span
from traindeck.console.present.form import TALL, help_lines, window_over
from traindeck.console.present.launch_fields import flat
from traindeck.console.present.launch_view import below_form, launch_form, plan_pane
from traindeck.console.tui.widgets.lines import Lines

if TYPE_CHECKING:
    from .launch import LaunchScreen

ROOMY = 36
"""Rows of a form from which on its help may be long."""
LONG = 12
"""Rows of a help that is long."""


class FormPane(Lines):
    """The form, scrolled so that the focused field is in sight, and the help for it below."""

    DEFAULT_CSS = "FormPane { height: 1fr; width: 1fr; }"

    def __init__(self) -> None:
        super().__init__(id="form")
        self._top = 0

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        screen = cast("LaunchScreen", self.screen)
        airy = rows >= TALL - 2
        glyphs = self.deck.painter.glyphs
        entry = screen.entry
        below = 7 if airy else 4
        if rows >= ROOMY and entry is not None:
            below = max(below, len(help_lines(entry, cells, LONG, glyphs)))
        lines, at = launch_form(
            screen.form, screen.focus_key, screen.caret, screen.launch_places, cells,
            airy=airy, line=screen.place_line, glyphs=glyphs,
        )  # fmt: skip
        room = rows - below - (2 if airy else 1)
        lead: list[Line] = [()] if airy else []
        self._top = window_over(len(lines), at, room, self._top)
        shown = [*lead, *lines[self._top : self._top + room]]
        shown += [()] * (len(lead) + room - len(shown))
        more = len(lines) - self._top - room
        note = f"{glyphs.ellipsis} {more} more " if more > 0 else ""
        shown.append((Span(" "), Span(glyphs.rule * max(0, cells - 2 - len(note)), "rule"),
                      Span(note, "faint")))  # fmt: skip
        helps = list(help_lines(entry, cells, below, glyphs)) if entry else []
        if not screen.plan_visible:
            while helps and not helps[-1]:
                helps.pop()
            free = max(1, below - len(helps))
            said = below_form(screen.plan_state, cells, free, glyphs)
            helps = [*helps[: below - len(said)], *said]
        return [*shown, *helps]

    def on_click(self, event: events.Click) -> None:
        """A click on a line focuses the field there."""
        key = self._field_at(self._top + event.y)
        if key is not None:
            cast("LaunchScreen", self.screen).go_to(key)

    def _field_at(self, line: int) -> str | None:
        """The field of a line; None if there is none, or if it is the focused one."""
        screen = cast("LaunchScreen", self.screen)
        cells, rows = self.size
        airy = rows >= TALL - 2

        def lines_of(key: str, caret: Caret | None = None) -> range:
            return launch_form(screen.form, key, caret, screen.launch_places, cells, airy=airy)[1]

        line -= 1 if airy else 0
        own = lines_of(screen.focus_key, screen.caret)
        if line in own:
            return None
        if line >= own.stop:
            line -= len(own) - len(lines_of(screen.focus_key))  # a long text has pushed it down
        return next((e.key for e in flat(screen.form) if line in lines_of(e.key)), None)


class PlanPane(Lines):
    """The plan."""

    ground = "surface"
    DEFAULT_CSS = "PlanPane { height: 1fr; width: 1fr; }"

    def content(self, cells: int, rows: int) -> Sequence[Line]:
        screen = cast("LaunchScreen", self.screen)
        return plan_pane(screen.plan_state, cells, rows, self.deck.painter.glyphs)
